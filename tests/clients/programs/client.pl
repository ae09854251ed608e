# What users of Net::Stomp rely on. Arguments: port, login, passcode, `ours` or `theirs`. It escapes nothing, and knows
# neither versions nor heart-beats; a user adds headers by hand.
use strict;
use warnings;
use Net::Stomp;

my ($port, $login, $passcode, $whose) = @ARGV;
my $count = 0;
$| = 1;

sub fresh { return '/' . shift() . "/perl-$$-" . time() . '-' . ++$count }
sub same { my ($got, $wanted) = @_; die 'got ' . substr($got, 0, 200) . ', wanted ' . substr($wanted, 0, 200) . "\n" if $got ne $wanted }

sub session {
    my ($version) = @_;
    my $stomp = Net::Stomp->new({ hostname => '127.0.0.1', port => $port, timeout => 20, receipt_timeout => 20 });
    my $connected = $stomp->connect({ login => $login, passcode => $passcode, host => '/', ($version eq '1.0' ? () : ('accept-version' => $version)) });
    die "not connected\n" unless $connected && $connected->command eq 'CONNECTED';
    same($connected->headers->{version}, $version);
    same($connected->headers->{'user-name'}, $login) if $whose eq 'ours';
    return $stomp;
}

sub frame {
    my ($stomp, $command) = @_;
    my $frame = $stomp->receive_frame({ timeout => 20 }) or die "no $command\n";
    die 'no ' . $command . ', but ' . $frame->as_string . "\n" unless $frame->command eq $command;
    return $frame;
}

sub receipted {
    my ($stomp, $command, $headers) = @_;
    my $receipt = 'receipt-' . ++$count;
    $stomp->send_frame(Net::Stomp::Frame->new({ command => $command, headers => { %$headers, receipt => $receipt } }));
    same(frame($stomp, 'RECEIPT')->headers->{'receipt-id'}, $receipt);
}

sub publish {
    my ($stomp, $destination, $body, %headers) = @_;
    $stomp->send_with_receipt({ destination => $destination, body => $body, bytes_message => 1, %headers }) or die "no RECEIPT for a SEND\n";
}

sub subscribe {
    my ($stomp, $destination, $ack) = @_;
    receipted($stomp, 'SUBSCRIBE', { destination => $destination, id => '1', ack => $ack // 'auto' });
}

# What an ACK says beside message-id.
sub key {
    my ($version, $message) = @_;
    return $version eq '1.2' ? (id => $message->headers->{ack}) : $version eq '1.1' ? (subscription => '1') : ();
}

# Goodbye with a receipt; disconnect() itself closes at once.
sub leave {
    my ($stomp) = @_;
    receipted($stomp, 'DISCONNECT', {});
    $stomp->_close_socket;
}

sub acked {
    my ($mode, @wanted) = @_;
    return sub {
        my ($version) = @_;
        my $name = fresh('queue');
        my $stomp = session($version);
        publish($stomp, $name, $_) for qw(one two three);
        subscribe($stomp, $name, $mode);
        my @messages = map { frame($stomp, 'MESSAGE') } 1 .. 3;
        same(join(' ', map { $_->body } @messages), 'one two three');
        $stomp->ack({ frame => $messages[1], key($version, $messages[1]) }) unless $mode eq 'auto';
        leave($stomp);
        my $after = session($version);
        publish($after, $name, 'last');
        subscribe($after, $name);
        my @bodies;
        while ((my $body = frame($after, 'MESSAGE')->body) ne 'last') { push @bodies, $body }
        same("@bodies", "@wanted");
        leave($after);
    };
}

my @steps = (
    connect => sub { leave(session(shift)) },
    topic => sub {
        my ($version) = @_;
        my $name = fresh('topic');
        my ($reader, $writer) = (session($version), session($version));
        subscribe($reader, $name);
        publish($writer, $name, "Gr\xc3\xbc\xc3\x9fe", kind => 'plain', 'content-type' => 'text/plain');
        my $message = frame($reader, 'MESSAGE');
        same($message->body, "Gr\xc3\xbc\xc3\x9fe");
        same("$message->{headers}{kind} $message->{headers}{'content-type'}", 'plain text/plain');
        leave($_) for $reader, $writer;
    },
    auto => acked('auto'),
    client => acked('client', 'three'),
    'client-individual' => acked('client-individual', 'one', 'three'),
    nack => sub {
        my ($version) = @_;
        return if $version eq '1.0';
        my $name = fresh('queue');
        my $stomp = session($version);
        publish($stomp, $name, 'one');
        subscribe($stomp, $name, 'client-individual');
        my $message = frame($stomp, 'MESSAGE');
        $stomp->nack({ frame => $message, key($version, $message) });
        my $again = frame($stomp, 'MESSAGE');
        same($again->headers->{redelivered}, 'true');
        $stomp->ack({ frame => $again, key($version, $again) });
        leave($stomp);
    },
    transactions => sub {
        my ($version) = @_;
        my ($source, $target) = (fresh('queue'), fresh('queue'));
        my ($stomp, $reader) = (session($version), session($version));
        subscribe($reader, $target);
        publish($stomp, $source, 'work');
        subscribe($stomp, $source, 'client-individual');
        my $work = frame($stomp, 'MESSAGE');
        for my $end (qw(ABORT COMMIT)) {
            $stomp->send_frame(Net::Stomp::Frame->new({ command => 'BEGIN', headers => { transaction => $end } }));
            $stomp->send({ destination => $target, body => $end, transaction => $end });
            $stomp->ack({ frame => $work, key($version, $work), transaction => $end });
            publish($stomp, $target, "before $end");
            same(frame($reader, 'MESSAGE')->body, "before $end");
            receipted($stomp, $end, { transaction => $end });
        }
        same(frame($reader, 'MESSAGE')->body, 'COMMIT');
        # Its own way: the RECEIPT is asked for within the transaction.
        $stomp->send_transactional({ destination => $target, body => 'its own way' }) or die "not sent\n" if $whose eq 'ours';
        same(frame($reader, 'MESSAGE')->body, 'its own way') if $whose eq 'ours';
        leave($stomp);
        publish($reader, $source, 'last');
        leave($reader);
        my $after = session($version);
        subscribe($after, $source);
        same(frame($after, 'MESSAGE')->body, 'last');
        leave($after);
    },
    large => sub {
        my $stomp = session(shift);
        my $name = fresh('queue');
        publish($stomp, $name, 'stentor ' x 131072);
        subscribe($stomp, $name);
        same(frame($stomp, 'MESSAGE')->body, 'stentor ' x 131072);
        leave($stomp);
    },
    binary => sub {
        my $stomp = session(shift);
        my $name = fresh('queue');
        my $octets = pack('C*', 0 .. 255) x 16;
        publish($stomp, $name, $octets, 'content-type' => 'application/octet-stream');
        subscribe($stomp, $name);
        same(frame($stomp, 'MESSAGE')->body, $octets);
        leave($stomp);
    },
    error => sub {
        my $stomp = session(shift);
        $stomp->send({ destination => '/nowhere/at-all', body => 'x' });
        my $error = frame($stomp, 'ERROR');
        die "an ERROR without a word\n" unless length $error->headers->{message} && length $error->body;
        if ($whose eq 'ours') {
            $stomp->socket->blocking(1);
            same(sysread($stomp->socket, my $more, 1) // 'an error', 0);
        }
        $stomp->_close_socket;
    },
);
while (my ($name, $step) = splice @steps, 0, 2) {
    $step->($_) for qw(1.0 1.1 1.2);
    print "ok $name\n";
}
