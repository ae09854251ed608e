<?php
// What users of PHP's extension stomp rely on. Arguments: port, login, passcode, `ours` or `theirs`. It escapes nothing, and
// waits for the RECEIPT of whatever has a header `receipt`.
[, $port, $login, $passcode, $whose] = $argv;

function fresh($kind) { return "/$kind/php-" . bin2hex(random_bytes(8)); }
function same($got, $wanted) {
    if ($got !== $wanted) throw new Exception('got ' . substr(var_export($got, true), 0, 200) . ', wanted ' . substr(var_export($wanted, true), 0, 200));
}

class Session {
    public Stomp $stomp;
    private int $receipts = 0;

    function __construct(public string $version) {
        global $port, $login, $passcode;
        $this->stomp = new Stomp("tcp://127.0.0.1:$port", $login, $passcode, ['accept-version' => $version, 'host' => '/']);
        $this->stomp->setReadTimeout(20);
        if (!$this->stomp->getSessionId()) throw new Exception('no session');
    }

    function receipt() { return ['receipt' => 'receipt-' . ++$this->receipts]; }

    function did($what) { if (!$what) throw new Exception('refused: ' . $this->stomp->error()); }

    function subscribe($destination, $ack = 'auto') {
        $this->did($this->stomp->subscribe($destination, ['id' => '1', 'ack' => $ack] + $this->receipt()));
    }

    function publish($destination, $body, $headers = []) {
        $this->did($this->stomp->send($destination, $body, $headers + $this->receipt()));
    }

    function message() {
        $frame = $this->stomp->readFrame();
        if (!$frame) throw new Exception('no message: ' . $this->stomp->error());
        same($frame->command, 'MESSAGE');
        return $frame;
    }

    /** With a receipt, which shows that it was done. */
    function ack($message, $headers = []) { $this->did($this->stomp->ack($message, $this->key($message) + $headers + $this->receipt())); }
    function nack($message) { $this->did($this->stomp->nack($message, $this->key($message) + $this->receipt())); }

    private function key($message) {
        return match ($this->version) {
            '1.2' => ['id' => $message->headers['ack'] ?? ''],
            '1.1' => ['subscription' => '1'],
            default => [],
        };
    }

    /** It says DISCONNECT when it is let go of. */
    function leave() { unset($this->stomp); }
}

/** What is left of a queue for a new consumer. What the last one had may take a moment to come back. */
function left($version, $name, $count) {
    $after = new Session($version);
    $after->subscribe($name);
    $bodies = [];
    for ($i = 0; $i < $count; $i++) $bodies[] = $after->message()->body;
    $after->publish($name, 'last');
    $bodies[] = $after->message()->body;
    $after->leave();
    return $bodies;
}

function acked($mode, $wanted) {
    return function ($version) use ($mode, $wanted) {
        $name = fresh('queue');
        $session = new Session($version);
        foreach (['one', 'two', 'three'] as $body) $session->publish($name, $body);
        $session->subscribe($name, $mode);
        $messages = [$session->message(), $session->message(), $session->message()];
        same(array_map(fn($message) => $message->body, $messages), ['one', 'two', 'three']);
        if ($mode !== 'auto') $session->ack($messages[1]);
        // The last message must not go to who is about to leave.
        else $session->stomp->unsubscribe($name, ['id' => '1'] + $session->receipt());
        $session->leave();
        same(left($version, $name, count($wanted)), [...$wanted, 'last']);
    };
}

$steps = [
    'connect' => fn($version) => (new Session($version))->leave(),
    'topic' => function ($version) {
        $name = fresh('topic');
        [$reader, $writer] = [new Session($version), new Session($version)];
        $reader->subscribe($name);
        $writer->publish($name, 'Grüße', ['kind' => 'plain', 'content-type' => 'text/plain']);
        $message = $reader->message();
        same([$message->body, $message->headers['kind'], $message->headers['content-type']], ['Grüße', 'plain', 'text/plain']);
    },
    'auto' => acked('auto', []),
    'client' => acked('client', ['three']),
    'client-individual' => acked('client-individual', ['one', 'three']),
    'nack' => function ($version) {
        if ($version === '1.0') return;
        $name = fresh('queue');
        $session = new Session($version);
        $session->publish($name, 'one');
        $session->subscribe($name, 'client-individual');
        $session->nack($session->message());
        $again = $session->message();
        same($again->headers['redelivered'], 'true');
        $session->ack($again);
    },
    'transactions' => function ($version) {
        [$source, $target] = [fresh('queue'), fresh('queue')];
        [$session, $reader] = [new Session($version), new Session($version)];
        $reader->subscribe($target);
        $session->publish($source, 'work');
        $session->subscribe($source, 'client-individual');
        $work = $session->message();
        foreach (['abort', 'commit'] as $end) {
            $session->did($session->stomp->begin($end, $session->receipt()));
            $session->stomp->send($target, $end, ['transaction' => $end]);
            $session->ack($work, ['transaction' => $end]);
            $session->publish($target, "before $end");
            same($reader->message()->body, "before $end");
            $session->did($session->stomp->$end($end, $session->receipt()));
        }
        same($reader->message()->body, 'commit');
        $session->leave();
        same(left($version, $source, 0), ['last']);
    },
    'large' => function ($version) {
        $name = fresh('queue');
        $session = new Session($version);
        $session->publish($name, str_repeat('stentor ', 131072));
        $session->subscribe($name);
        same($session->message()->body, str_repeat('stentor ', 131072));
    },
    'binary' => function ($version) {
        $name = fresh('queue');
        $octets = str_repeat(implode(array_map('chr', range(0, 255))), 16);
        $session = new Session($version);
        $session->publish($name, $octets, ['content-type' => 'application/octet-stream']);
        $session->subscribe($name);
        same($session->message()->body, $octets);
    },
    'error' => function ($version) use ($whose) {
        $session = new Session($version);
        try {
            $done = $session->stomp->send('/nowhere/at-all', 'x', $session->receipt());
            $said = $session->stomp->error();
        } catch (StompException $exception) {
            [$done, $said] = [false, $exception->getMessage()];
        }
        same($done, false);
        if (!$said) throw new Exception('an ERROR without a word');
    },
];
foreach ($steps as $name => $step) {
    foreach (['1.0', '1.1', '1.2'] as $version) $step($version);
    echo "ok $name\n";
}
