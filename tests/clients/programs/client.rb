# What users of the gem stomp rely on. Arguments: port, login, passcode, `ours` or `theirs`.
require 'securerandom'
require 'stomp'
require 'timeout'

PORT, LOGIN, PASSCODE, WHOSE = ARGV

class Session
  attr_reader :conn, :version

  def initialize(version = '1.2', beats = '0,0')
    @version = version
    @conn = Stomp::Connection.new(
      hosts: [{ login: LOGIN, passcode: PASSCODE, host: '127.0.0.1', port: PORT.to_i }],
      reliable: false,
      connect_headers: { 'accept-version' => version, 'host' => '/', 'heart-beat' => beats },
    )
    raise "not connected: #{@conn.connection_frame}" unless @conn.connection_frame.command == 'CONNECTED'
  end

  def receipted(&action)
    receipt = SecureRandom.uuid
    action.call(receipt)
    came = receive
    raise "no receipt, but #{came}" unless came.command == 'RECEIPT' && came.headers['receipt-id'] == receipt
  end

  def subscribe(destination, ack = 'auto')
    receipted { |receipt| @conn.subscribe(destination, { 'id' => '1', 'ack' => ack, 'receipt' => receipt }) }
  end

  def publish(destination, body, headers = {})
    receipted { |receipt| @conn.publish(destination, body, headers.merge('receipt' => receipt)) }
  end

  def receive
    Timeout.timeout(20) { @conn.receive }
  end

  def message
    came = receive
    raise "no message, but #{came}" unless came.command == 'MESSAGE'

    came
  end

  def ack(message, headers = {})
    @conn.ack(*key(message, headers))
  end

  def nack(message)
    @conn.nack(*key(message, {}))
  end

  def key(message, headers)
    case version
    when '1.2' then [message.headers['ack'], headers]
    when '1.1' then [message.headers['message-id'], headers.merge('subscription' => '1')]
    else [message.headers['message-id'], headers]
    end
  end

  def leave
    @conn.disconnect('receipt' => SecureRandom.uuid)
  end
end

def same(got, wanted)
  raise "got #{got.inspect[0, 200]}, wanted #{wanted.inspect[0, 200]}" unless got == wanted
end

def fresh(kind)
  "/#{kind}/ruby-#{SecureRandom.uuid}"
end

def acked(mode, wanted)
  lambda do |version|
    name = fresh('queue')
    session = Session.new(version)
    %w[one two three].each { |body| session.publish(name, body) }
    session.subscribe(name, mode)
    messages = Array.new(3) { session.message }
    same(messages.map(&:body), %w[one two three])
    session.ack(messages[1]) unless mode == 'auto'
    session.leave
    after = Session.new(version)
    after.publish(name, 'last')
    after.subscribe(name)
    bodies = []
    while (body = after.message.body) != 'last'
      bodies << body
    end
    same(bodies, wanted)
    after.leave
  end
end

steps = {
  'connect' => lambda do |version|
    session = Session.new(version)
    headers = session.conn.connection_frame.headers
    same(headers['version'], version)
    same(headers['user-name'], LOGIN) if WHOSE == 'ours'
    session.leave
  end,
  'topic' => lambda do |version|
    name = fresh('topic')
    reader = Session.new(version)
    reader.subscribe(name)
    Session.new(version).tap { |writer| writer.publish(name, 'Grüße', 'kind' => 'plain', 'content-type' => 'text/plain') }.leave
    message = reader.message
    same(message.body.dup.force_encoding('UTF-8'), 'Grüße')
    same([message.headers['kind'], message.headers['content-type']], %w[plain text/plain])
    reader.leave
  end,
  'auto' => acked('auto', []),
  'client' => acked('client', %w[three]),
  'client-individual' => acked('client-individual', %w[one three]),
  'nack' => lambda do |version|
    next if version == '1.0'

    name = fresh('queue')
    session = Session.new(version)
    session.publish(name, 'one')
    session.subscribe(name, 'client-individual')
    session.nack(session.message)
    again = session.message
    same(again.headers['redelivered'], 'true')
    session.ack(again)
    session.leave
  end,
  'transactions' => lambda do |version|
    source = fresh('queue')
    target = fresh('queue')
    session = Session.new(version)
    reader = Session.new(version)
    reader.subscribe(target)
    session.publish(source, 'work')
    session.subscribe(source, 'client-individual')
    work = session.message
    %w[abort commit].each do |finish|
      session.conn.begin(finish)
      session.conn.publish(target, finish, 'transaction' => finish)
      session.ack(work, 'transaction' => finish)
      session.publish(target, "before #{finish}")
      same(reader.message.body, "before #{finish}")
      session.receipted { |receipt| session.conn.public_send(finish, finish, 'receipt' => receipt) }
    end
    same(reader.message.body, 'commit')
    session.leave
    reader.publish(source, 'last')
    reader.leave
    after = Session.new(version)
    after.subscribe(source)
    same(after.message.body, 'last')
    after.leave
  end,
  'large' => lambda do |version|
    name = fresh('queue')
    session = Session.new(version)
    session.publish(name, 'stentor ' * 131_072)
    session.subscribe(name)
    same(session.message.body, 'stentor ' * 131_072)
    session.leave
  end,
  'binary' => lambda do |version|
    name = fresh('queue')
    octets = ((0..255).to_a * 16).pack('C*')
    session = Session.new(version)
    session.publish(name, octets, 'content-type' => 'application/octet-stream')
    session.subscribe(name)
    same(session.message.body.b, octets)
    session.leave
  end,
  'heart-beats' => lambda do |version|
    next if version == '1.0'

    session = Session.new(version, '1000,1000')
    # The gem notices them where nobody reads; its own are due each 30 seconds, as the server asks.
    Timeout.timeout(30) { sleep 0.1 until session.conn.hbrecv_count >= 3 }
    session.publish(fresh('topic'), 'still there')
    session.leave
  end,
  'error' => lambda do |version|
    session = Session.new(version)
    session.conn.publish('/nowhere/at-all', 'x')
    came = session.receive
    same(came.command, 'ERROR')
    raise 'an ERROR without a word' if came.headers['message'].to_s.empty? || came.body.empty?

    begin
      same(Timeout.timeout(10) { session.conn.receive }, nil) if WHOSE == 'ours'
    rescue Stomp::Error::ConnectionClosedError, Stomp::Error::NoCurrentConnection, SystemCallError, EOFError
      # The end, as the gem has it.
    end
  end,
}
$stdout.sync = true
steps.each do |name, step|
  %w[1.0 1.1 1.2].each { |version| step.call(version) }
  puts "ok #{name}"
end
