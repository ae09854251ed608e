#!/usr/bin/env bash
# Runs everything that must pass, quick things first, and ends with the time that each took.
# With `quick` as its argument it stops where the long ones begin.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto}

summary=()

# step NAME COMMAND...: a failing one ends the run. The command's own parts must be joined by &&.
step() {
    local name=$1 begun=$SECONDS
    shift
    say "$name"
    if "$@"; then
        summary+=("$(printf '  ok      %-28s %4d s' "$name" $((SECONDS - begun)))")
    else
        summary+=("$(printf '  FAILED  %-28s %4d s' "$name" $((SECONDS - begun)))")
        exit 1
    fi
}

finish() {
    local code=$?
    printf '\n'
    [ ${#summary[@]} = 0 ] || printf '%s\n' "${summary[@]}"
    printf '  %-37s %4d s\n' "$([ $code = 0 ] && echo 'all passed' || echo 'did not pass')" $SECONDS
}
trap finish EXIT

set_up_rust() {
    need_rust
    cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 && return
    say 'installing rustfmt and clippy with rustup'
    rustup component add rustfmt clippy
}

set_up_dashboard() { need_node && npm_packages dashboard; }

dashboard() { (cd dashboard && npm run --silent typecheck && npm test --silent) && build_dashboard; }

docs() { RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked; }

rust_tests() {
    if cargo nextest --version >/dev/null 2>&1; then
        cargo nextest run --workspace --locked --status-level slow && cargo test --workspace --locked --doc --quiet
    else
        cargo test --workspace --locked --quiet
    fi
}

real_clients() {
    local built
    built=$(release) && (cd tests/clients && STENTOR_BIN=$built/stentor \
        SOCKJS_TEST_SERVER=$built/examples/test_server npm test --silent)
}

# Each bench once, to see that it runs.
benches() { cargo bench --workspace --locked --quiet -- --test; }

step 'set-up: Rust' set_up_rust
step 'format' cargo fmt --all --check
step 'set-up: dashboard' set_up_dashboard
# Before anything is compiled, since the program embeds it.
step 'dashboard' dashboard
step 'clippy' cargo clippy --workspace --all-targets --locked -- -D warnings
[ "${1:-}" != quick ] || exit 0
step 'docs' docs
step 'Rust tests' rust_tests
step 'program' build_server
step 'benches, once each' benches
step 'fuzz targets, in short' scripts/fuzz.sh short
step 'set-up: clients, Chromium' set_up_clients
step 'real clients' real_clients
