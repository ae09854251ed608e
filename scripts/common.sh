# shellcheck shell=bash
# What the scripts share: how they speak, and how they get what a fresh machine lacks. Sourced from the root of the
# repository, never run.

say() { printf '==> %s\n' "$*"; }

# die WHAT FIX
die() {
    printf 'error: %s\n  fix: %s\n' "$1" "$2" >&2
    exit 1
}

# apt_install PACKAGE...
apt_install() {
    command -v apt-get >/dev/null || die "missing: $*" "install it with this system's package manager"
    say "installing from Debian: $*"
    local as_root=()
    if [ "$(id -u)" != 0 ]; then
        as_root=(sudo)
        command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; } ||
            die "missing: $*, and neither root nor sudo is at hand" "as root: apt-get install $*"
    fi
    "${as_root[@]}" sh scripts/apt-install.sh "$@" || die "apt-get could not install $*" "install it by hand"
}

# at_least WANTED HAVE: whether version HAVE is WANTED or later
at_least() { [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

need_rust() {
    command -v cargo >/dev/null || PATH="$HOME/.cargo/bin:$PATH"
    command -v cargo >/dev/null || die 'there is no cargo' 'install Rust with rustup, see rustup.rs'
    local wanted have
    wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
    have=$(rustc --version | sed 's/^rustc \([0-9.]*\).*/\1/')
    at_least "$wanted" "$have" || die "Rust is $have, and $wanted is needed" 'rustup update stable'
    command -v cc >/dev/null || apt_install gcc libc6-dev # rustc links with it
}

need_node() {
    command -v node >/dev/null || die 'there is no Node' 'install Node 20 or later, see nodejs.org'
    local have
    have=$(node --version)
    at_least 20 "${have#v}" || die "Node is ${have#v}, and 20 is needed" 'install Node 20 or later, see nodejs.org'
    command -v npm >/dev/null || apt_install npm
}

# npm_packages DIRECTORY: runs `npm ci` unless the lock file is the one that was last installed
npm_packages() {
    local installed=$1/node_modules/.installed-from
    cmp -s "$1/package-lock.json" "$installed" && return
    say "installing the npm packages of $1"
    (cd "$1" && npm ci --include=dev --no-audit --no-fund) && cp "$1/package-lock.json" "$installed"
}

# Bundles the dashboard unless nothing in it has changed since.
build_dashboard() {
    local built=dashboard/node_modules/.built changed
    if [ -d dashboard/dist ] && [ -e "$built" ]; then
        changed=$(find dashboard -mindepth 1 \( -path dashboard/node_modules -o -path dashboard/dist \) -prune \
            -o -newer "$built" -print -quit)
        [ -n "$changed" ] || return 0
    fi
    say 'building the dashboard'
    touch "$built.begun" && (cd dashboard && npm run --silent build) && mv "$built.begun" "$built"
}

# Builds the program as it is shipped; the dashboard must be there to be embedded.
build_server() {
    say 'building the server'
    cargo build --release --locked --bin stentor
    # That the tests compare with sockjs-node.
    cargo build --release --locked --package sockjs --example test_server
}

# Where build_server puts what it builds, wherever cargo is told to keep its output.
release() {
    cargo metadata --format-version 1 --no-deps --locked |
        sed -n 's/.*"target_directory":"\([^"]*\)".*/\1\/release/p'
}

server() { echo "$(release)/stentor"; }

# The packages of the real clients, and the browser: its path is in CHROMIUM then.
set_up_clients() {
    need_node
    CHROMIUM=$(find_chromium) || { apt_install chromium fonts-dejavu-core && CHROMIUM=$(find_chromium); } || return
    export CHROMIUM
    install_peers || return
    npm_packages tests/clients
}

# What the tests of real clients start themselves: a proxy, a broker to compare with, and clients in other languages.
install_peers() {
    local packages=()
    [ -x /usr/sbin/nginx ] || packages+=(nginx)
    [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || packages+=(rabbitmq-server)
    python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
    ruby -e 'require "stomp"' 2>/dev/null || packages+=(ruby-stomp)
    perl -e 'use Net::Stomp' 2>/dev/null || packages+=(libnet-stomp-perl)
    php -r 'exit(extension_loaded("stomp") ? 0 : 1);' 2>/dev/null || packages+=(php-cli php-stomp)
    [ ${#packages[@]} = 0 ] || apt_install "${packages[@]}"
}

find_chromium() { command -v "${CHROMIUM:-chromium}" || command -v chromium-browser || command -v google-chrome; }
