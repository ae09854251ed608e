#!/usr/bin/env bash
# Runs the benches and prints what each costs as a table. Arguments go to Criterion: part of a bench's name, say.
# The last of them compares with the crate of the same name on crates.io, which it has cargo fetch.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

# Reads what Criterion prints: a name, perhaps on a line of its own, then `time: [low estimate high]`, then `thrpt:`.
table() {
    awk '
        function estimate(line, part) {
            sub(/^.*\[/, "", line)
            split(line, part, " ")
            return part[3] " " part[4]
        }
        function flush_row() {
            if (name != "") printf "| %s | %s | %s |\n", name, time, rate
            name = rate = ""
            fflush()
        }
        BEGIN { print "| bench | time | rate |\n| --- | ---: | ---: |" }
        / time: +\[/ {
            flush_row()
            name = $0
            sub(/ *time: +\[.*/, "", name)
            if (name == "") name = before
            time = estimate($0)
        }
        / thrpt: +\[/ && name != "" { rate = estimate($0) }
        { before = $0 }
        END { flush_row() }'
}

need_rust
say 'building the benches'
cargo bench --workspace --locked --no-run
cargo bench --manifest-path benches/peer/Cargo.toml --locked --no-run
say 'running them: nothing else should run meanwhile'
for package in stomp-parser sockjs stentor; do
    printf '\n%s\n\n' "$package"
    cargo bench --package "$package" --locked -- --noplot --quiet "$@" 2>/dev/null | table
done
printf '\nstomp-parser and the crate of that name on crates.io\n\n'
cargo bench --manifest-path benches/peer/Cargo.toml --locked -- --noplot --quiet "$@" 2>/dev/null | table
