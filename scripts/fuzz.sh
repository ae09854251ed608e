#!/usr/bin/env bash
# Tries each fuzz target for SECONDS_EACH seconds (600 unless set), one after the other, on one core; with `short`
# as first argument for 10. Further arguments name targets. SANITIZER=address looks for misuse of memory too, at
# a third of the speed. An input that fails is left below fuzz/artifacts/.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

seconds=600
if [ "${1:-}" = short ]; then
    seconds=10
    shift
fi
seconds=${SECONDS_EACH:-$seconds}
sanitizer=${SANITIZER:-none}

need_cargo_fuzz() {
    need_rust
    command -v c++ >/dev/null || apt_install g++ # libFuzzer is C++
    PATH="$HOME/.cargo/bin:$PATH"
    cargo fuzz --version >/dev/null 2>&1 && return
    say 'installing cargo-fuzz with cargo, which takes a minute or two'
    cargo install --quiet --locked cargo-fuzz || die 'cargo-fuzz could not be installed' 'cargo install cargo-fuzz'
}

# Sanitizers, and the coverage that guides libFuzzer, count as unstable options of rustc.
cargo_fuzz() { RUSTC_BOOTSTRAP=1 cargo fuzz "$@"; }

# dictionary TARGET: the option that gives libFuzzer its words, where there are such
dictionary() {
    local words
    case $1 in
        stomp_*) words=stomp ;;
        sockjs_message) words=json ;;
        *) words=$1 ;;
    esac
    [ ! -e "fuzz/dictionaries/$words.dict" ] || echo "-dict=fuzz/dictionaries/$words.dict"
}

# fuzz TARGET: new inputs that reach something new are kept below fuzz/corpus/ for the next time
fuzz() {
    local target=$1 log options
    log=fuzz/target/$target.log
    read -r -a options <<<"$(dictionary "$target")"
    mkdir -p "fuzz/corpus/$target"
    if nice -n 10 env RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer "$sanitizer" "$target" \
        "fuzz/corpus/$target" "fuzz/seeds/$target" -- -max_total_time="$seconds" -timeout=30 -rss_limit_mb=2048 \
        -print_final_stats=1 "${options[@]}" >"$log" 2>&1; then
        awk -v target="$target" '
            /\tDONE/ { coverage = $4 }
            /^stat::number_of_executed_units/ { inputs = $2 }
            /^stat::average_exec_per_sec/ { rate = $2 }
            END { printf "  %-16s %12d inputs, %7d a second, %5d edges reached\n", target, inputs, rate, coverage }' "$log"
    else
        tail -n 40 "$log" >&2
        die "$target failed; the whole log is $log" 'the log ends with the input and the command that repeats it'
    fi
}

need_cargo_fuzz
say 'building the fuzz targets'
mkdir -p fuzz/target
cargo_fuzz build --sanitizer "$sanitizer" >fuzz/target/build.log 2>&1 || {
    cat fuzz/target/build.log >&2
    die 'the fuzz targets could not be built' 'see above'
}

targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cargo_fuzz list)
say "fuzzing, $seconds seconds each"
for target in "${targets[@]}"; do fuzz "$target"; done
