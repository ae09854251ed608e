#!/usr/bin/env bash
# Runs the proofs that take minutes, against the program as it is shipped.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

scripts/build.sh
need_rust
set_up_clients

say '1,000 subscribers, 10,000 messages each'
FANOUT_MESSAGES=10000 cargo test --release --locked --test fanout

say '5,000 polling and 5,000 streaming sessions, a message a second for a minute'
SESSIONS=5000 SESSION_SECONDS=60 cargo test --release --locked --test sessions -- --nocapture

say '1,000 readers of which 300 are slow: ten minutes of a snapshot each second, and a minute of events, twice'
SLOW_READERS=1000 SLOW_SECONDS=600 SLOW_PERIOD_MS=1000 SLOW_RATE=1024 SLOW_EVENTS=600 SLOW_EVENTS_PERIOD_MS=100 \
    cargo test --release --locked --test slow -- --nocapture --test-threads 1

say 'clients that stop for half a minute'
STALL_SECONDS=30 cargo test --release --locked --test stalls -- --nocapture

say 'a resume, 2,000 random runs over each transport in turn'
RESUME_RUNS=2000 cargo test --release --locked --test resume -- --nocapture

say 'what the metrics cost a client, for a minute'
BANDWIDTH_SECONDS=60 cargo test --release --locked --test bandwidth -- --nocapture

say 'a queue of 100,000 messages, 50 consumers of which a third vanish, from five seeds'
for seed in 1 2 3 4 5; do
    QUEUE_SEED=$seed QUEUE_MESSAGES=100000 cargo test --release --locked --test queue_truth -- --nocapture
done

say 'chaos: three nodes and RabbitMQ, killed, stopped and cut off for twenty minutes'
CHAOS_SEED=${CHAOS_SEED:-$RANDOM} CHAOS_SECONDS=1200 cargo test --release --locked --test chaos -- --nocapture

say 'the front-end example for five minutes'
program=$(server)
(cd tests/clients && STENTOR_BIN=$program npm run --silent soak)

say 'pages that are away for half a minute'
(cd tests/clients && AWAY_SECONDS=30 STENTOR_BIN=$program node --test away.test.mjs)
