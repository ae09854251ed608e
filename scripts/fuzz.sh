#!/usr/bin/env bash
# Tries each fuzz target for SECONDS_EACH seconds (600 unless set), one after the other, on one core. With `short` as
# first argument it only gives each its seeds, and some thousand inputs made of them blindly. Further arguments name targets. SANITIZER=address looks for misuse of memory too, at
# a third of the speed. An input that fails is left below fuzz/artifacts/.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

short=
if [ "${1:-}" = short ]; then
    short=1
    shift
fi
seconds=${SECONDS_EACH:-600}
sanitizer=${SANITIZER:-none}

need_cxx() { command -v c++ >/dev/null || apt_install g++; } # libFuzzer is C++

need_cargo_fuzz() {
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

# Without what guides the fuzzer, so that neither cargo-fuzz nor another build of all dependencies is needed.
in_short() {
    local target_dir target
    cargo build --manifest-path fuzz/Cargo.toml --locked --bins
    target_dir=$(cargo metadata --manifest-path fuzz/Cargo.toml --format-version 1 --no-deps --locked |
        sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
    # shellcheck disable=SC2046 # names without spaces
    [ $# -gt 0 ] || set -- $(sed -n '/^\[\[bin\]\]/{n;s/^name = "\(.*\)"/\1/p}' fuzz/Cargo.toml)
    for target in "$@"; do
        "$target_dir/debug/$target" -runs=5000 -seed=1 -timeout=30 -rss_limit_mb=2048 -artifact_prefix=fuzz/ \
            "fuzz/seeds/$target" >fuzz/target/"$target".log 2>&1 || {
            tail -n 40 "fuzz/target/$target.log" >&2
            die "$target failed" 'the log ends with the input'
        }
        printf '  %-16s %s\n' "$target" "$(grep -o 'DONE.*' "fuzz/target/$target.log" || echo done)"
    done
}

need_rust
need_cxx
if [ -n "$short" ]; then
    mkdir -p fuzz/target
    in_short "$@"
    exit
fi
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
