# What users of stomp.py rely on. Arguments: port, login, passcode, `ours` or `theirs`.
import queue
import sys
import uuid

import stomp

port, login, passcode, whose = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
VERSIONS = {'1.0': stomp.StompConnection10, '1.1': stomp.StompConnection11, '1.2': stomp.StompConnection12}


class Listener(stomp.ConnectionListener):
    def __init__(self):
        self.messages, self.receipts, self.errors, self.ends, self.beats = (queue.Queue() for _ in range(5))
        self.connected = None

    def on_connected(self, frame):
        self.connected = frame.headers

    def on_message(self, frame):
        self.messages.put(frame)

    def on_receipt(self, frame):
        self.receipts.put(frame.headers['receipt-id'])

    def on_error(self, frame):
        self.errors.put(frame)

    def on_heartbeat(self):
        self.beats.put(True)

    def on_disconnected(self):
        self.ends.put(True)


class Session:
    def __init__(self, version='1.2', beats=(0, 0)):
        options = {} if version == '1.0' else {'heartbeats': beats, 'vhost': '/'}
        self.version = version
        self.conn = VERSIONS[version]([('127.0.0.1', port)], auto_decode=False, reconnect_attempts_max=1, **options)
        self.heard = Listener()
        self.conn.set_listener('', self.heard)
        self.conn.connect(login, passcode, wait=True)

    def receipted(self, action):
        receipt = str(uuid.uuid4())
        action(receipt)
        assert self.heard.receipts.get(timeout=10) == receipt

    def subscribe(self, destination, ack='auto'):
        self.receipted(lambda receipt: self.conn.subscribe(destination, id='1', ack=ack, receipt=receipt))

    def send(self, destination, body, **headers):
        self.receipted(lambda receipt: self.conn.send(destination, body, receipt=receipt, **headers))

    def message(self, seconds=10):
        return self.heard.messages.get(timeout=seconds)

    def ack(self, message, **more):
        if self.version == '1.2':
            self.conn.ack(message.headers['ack'], **more)
        elif self.version == '1.1':
            self.conn.ack(message.headers['message-id'], '1', **more)
        else:
            self.conn.ack(message.headers['message-id'], **more)

    def nack(self, message):
        if self.version == '1.2':
            self.conn.nack(message.headers['ack'])
        else:
            self.conn.nack(message.headers['message-id'], '1')

    def leave(self):
        self.conn.disconnect(receipt=str(uuid.uuid4()))
        self.heard.ends.get(timeout=10)


def fresh(kind):
    return f'/{kind}/python-{uuid.uuid4()}'


def connect(version):
    session = Session(version)
    assert session.heard.connected['version'] == version
    if whose == 'ours':
        assert session.heard.connected['user-name'] == login, session.heard.connected
    session.leave()


def topic(version):
    name = fresh('topic')
    reader, writer = Session(version), Session(version)
    reader.subscribe(name)
    writer.send(name, 'Grüße', headers={'kind': 'plain'}, content_type='text/plain')
    message = reader.message()
    assert message.body == 'Grüße'.encode(), message
    assert message.headers['kind'] == 'plain' and message.headers['content-type'] == 'text/plain'
    for session in (reader, writer):
        session.leave()


def acked(mode, wanted):
    def step(version):
        name = fresh('queue')
        session = Session(version)
        for body in ('one', 'two', 'three'):
            session.send(name, body)
        session.subscribe(name, ack=mode)
        messages = [session.message() for _ in range(3)]
        if mode != 'auto':
            session.ack(messages[1])
        session.leave()
        after = Session(version)
        after.send(name, 'last')
        after.subscribe(name)
        bodies = []
        while (body := after.message().body.decode()) != 'last':
            bodies.append(body)
        assert bodies == wanted, bodies
        after.leave()
    return step


def nack(version):
    if version == '1.0':
        return
    name = fresh('queue')
    session = Session(version)
    session.send(name, 'one')
    session.subscribe(name, ack='client-individual')
    session.nack(session.message())
    again = session.message()
    assert again.headers['redelivered'] == 'true'
    session.ack(again)
    session.leave()


def transactions(version):
    source, target = fresh('queue'), fresh('queue')
    session, reader = Session(version), Session(version)
    reader.subscribe(target)
    session.send(source, 'work')
    session.subscribe(source, ack='client-individual')
    work = session.message()
    for end in ('abort', 'commit'):
        transaction = session.conn.begin()
        session.conn.send(target, end, transaction=transaction)
        session.ack(work, transaction=transaction)
        session.send(target, f'before {end}')
        assert reader.message().body.decode() == f'before {end}'
        session.receipted(lambda receipt: getattr(session.conn, end)(transaction, receipt=receipt))
    assert reader.message().body == b'commit'
    session.leave()
    reader.send(source, 'last')
    reader.leave()
    after = Session(version)
    after.subscribe(source)
    assert after.message().body == b'last'
    after.leave()


def large(version):
    name = fresh('queue')
    session = Session(version)
    session.subscribe(name)
    body = 'stentor ' * 131072
    session.send(name, body)
    assert session.message(30).body == body.encode()
    session.leave()


def binary(version):
    name = fresh('queue')
    session = Session(version)
    session.subscribe(name)
    body = bytes(range(256)) * 16
    session.send(name, body, content_type='application/octet-stream')
    assert session.message().body == body
    session.leave()


def heart_beats(version):
    if version == '1.0':
        return
    session = Session(version, beats=(1000, 1000))
    for _ in range(4):
        session.heard.beats.get(timeout=10)
    session.send(fresh('topic'), 'still there')
    session.leave()


def error(version):
    session = Session(version)
    session.conn.send('/nowhere/at-all', 'x')
    frame = session.heard.errors.get(timeout=10)
    assert frame.headers['message'] and frame.body
    if whose == 'ours':
        session.heard.ends.get(timeout=10)


steps = {
    'connect': connect,
    'topic': topic,
    'auto': acked('auto', []),
    'client': acked('client', ['three']),
    'client-individual': acked('client-individual', ['one', 'three']),
    'nack': nack,
    'transactions': transactions,
    'large': large,
    'binary': binary,
    'heart-beats': heart_beats,
    'error': error,
}
for name, step in steps.items():
    for version in VERSIONS:
        step(version)
    print(f'ok {name}')
