#!/usr/bin/env bash
# Builds the program and runs several nodes of it on this machine's loopback, joined by a RabbitMQ of their own, behind a proxy
# that gives each request to another node. All of it ends with this script, and nothing of it is kept.
# Arguments go to each `stentor serve`. The environment may say:
#   CLUSTER_PORT   the proxy's port; those of the nodes, and RabbitMQ's, follow it (8080)
#   CLUSTER_NODES  how many nodes (3)
#   STENTOR_BIN    a program that is there already, instead of building one
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

port=${CLUSTER_PORT:-8080}
nodes=${CLUSTER_NODES:-3}
# Behind the nodes, with room for some more.
rabbit_port=$((port + 20)) page_port=$((port + 21)) epmd_port=$((port + 22)) erlang_port=$((port + 23))
# Erlang takes its time on a busy machine.
patience=120

# What was started, by name.
declare -A pids=()
folder=''

main() {
    [[ $nodes =~ ^[1-9]$ ]] || die "CLUSTER_NODES is '$nodes'" 'give a number from 1 to 9'
    [[ $port =~ ^[0-9]+$ ]] && ((port >= 1024 && port <= 65000)) ||
        die "CLUSTER_PORT is '$port'" 'give a number from 1024 to 65000'
    set_up
    trap stop EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    folder=$(mktemp -d "${TMPDIR:-/tmp}/stentor-cluster-XXXXXX")
    are_free
    start_rabbit
    say "starting $nodes nodes"
    for ((i = 1; i <= nodes; i++)); do start_node "$i" "$@"; done
    for ((i = 1; i <= nodes; i++)); do until_up "n$i" $((port + i)) /health; done
    start_proxy
    until_up proxy "$port" /health
    say_where
    keep "$@"
}

set_up() {
    local packages=()
    [ -x /usr/sbin/nginx ] || packages+=(nginx)
    [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || packages+=(rabbitmq-server)
    [ ${#packages[@]} = 0 ] || apt_install "${packages[@]}"
    if [ -n "${STENTOR_BIN:-}" ]; then
        program=$(realpath "$STENTOR_BIN")
    else
        scripts/build.sh
        need_rust
        program=$(server)
    fi
    [ -x "$program" ] || die "there is no program at $program" 'build it with make build'
}

are_free() {
    local each
    for ((each = port; each <= port + nodes; each++)); do is_free "$each"; done
    for each in "$rabbit_port" "$page_port" "$epmd_port" "$erlang_port"; do is_free "$each"; done
}

is_free() {
    ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null || die "port $1 is in use" 'set CLUSTER_PORT to another one'
}

# begin NAME COMMAND...: a child with a log of its own, out of reach of the terminal's ctrl-c, which this script passes on in
# order, and killed should the script be. The functions that call it leave the child's id in `pids`.
begin() {
    local name=$1
    shift
    setsid setpriv --pdeathsig KILL "$@" >>"$folder/$name.log" 2>&1 </dev/null &
    pids[$name]=$!
}

# As Debian has it, but for folders, name, ports and an epmd (Erlang's registry of nodes) of its own.
start_rabbit() {
    say 'starting RabbitMQ'
    local home=$folder/rabbitmq
    mkdir "$home"
    echo '[rabbitmq_management].' >"$home/enabled_plugins"
    cat >"$home/rabbitmq.conf" <<-END
	listeners.tcp.1 = 127.0.0.1:$rabbit_port
	management.tcp.ip = 127.0.0.1
	management.tcp.port = $page_port
	disk_free_limit.absolute = 50MB
	log.console = true
	log.console.level = warning
	log.file = false
	END
    begin epmd env "HOME=$home" epmd -port "$epmd_port" -address 127.0.0.1
    until_listens epmd "$epmd_port"
    begin rabbitmq env -C "$home" \
        "HOME=$home" ERL_EPMD_PORT="$epmd_port" ERL_EPMD_ADDRESS=127.0.0.1 RUNNING_UNDER_SYSTEMD=yes \
        RABBITMQ_NODENAME="stentor-$port@localhost" RABBITMQ_DIST_PORT="$erlang_port" \
        RABBITMQ_CONF_ENV_FILE="$home/rabbitmq-env.conf" RABBITMQ_CONFIG_FILE="$home/rabbitmq.conf" \
        RABBITMQ_ADVANCED_CONFIG_FILE="$home/advanced.config" RABBITMQ_ENABLED_PLUGINS_FILE="$home/enabled_plugins" \
        RABBITMQ_MNESIA_BASE="$home/mnesia" RABBITMQ_LOG_BASE="$home/log" RABBITMQ_SCHEMA_DIR="$home/schema" \
        RABBITMQ_GENERATED_CONFIG_DIR="$home/config" RABBITMQ_PID_FILE="$home/pid" \
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}' \
        /usr/lib/rabbitmq/bin/rabbitmq-server
    until_listens rabbitmq "$rabbit_port"
}

# start_node NUMBER ARGUMENT...
start_node() {
    local name=n$1 at=127.0.0.1:$((port + $1))
    shift
    mkdir -p "$folder/$name"
    # These would be settings that it does not know.
    begin "$name" env -u STENTOR_BIN -u STENTOR_CLUSTER -C "$folder/$name" STENTOR_TRUSTED_PROXIES=127.0.0.1 \
        "$program" serve --listen "$at" --node "$name" --amqp "amqp://guest:guest@127.0.0.1:$rabbit_port" "$@"
}

# Each request goes to the node after the one before: nothing here keeps a client in place.
start_proxy() {
    local home=$folder/nginx each servers='' temporary=''
    mkdir "$home"
    for ((each = 1; each <= nodes; each++)); do servers+="server 127.0.0.1:$((port + each)) max_fails=0; "; done
    for each in client_body proxy fastcgi uwsgi scgi; do temporary+="${each}_temp_path $home/$each; "; done
    cat >"$home/nginx.conf" <<-END
	daemon off; master_process off; pid $home/nginx.pid; error_log stderr error;
	events { worker_connections 4096; }
	http {
	    access_log off; client_max_body_size 8m; $temporary
	    map \$http_upgrade \$connection_upgrade { default upgrade; '' ''; }
	    upstream nodes { $servers }
	    server {
	        listen 127.0.0.1:$port;
	        location / {
	            proxy_pass http://nodes;
	            proxy_http_version 1.1;
	            proxy_set_header Host \$http_host;
	            proxy_set_header Upgrade \$http_upgrade;
	            proxy_set_header Connection \$connection_upgrade;
	            proxy_set_header X-Forwarded-For \$proxy_add_x_forwarded_for;
	            proxy_buffering off;
	            proxy_read_timeout 1h;
	            proxy_send_timeout 1h;
	        }
	    }
	}
	END
    begin proxy /usr/sbin/nginx -p "$home" -c "$home/nginx.conf" -e stderr
}

is_alive() { kill -0 "${pids[$1]}" 2>/dev/null; }

# until_true NAME WHAT COMMAND...: asks until COMMAND succeeds, while the child NAME lives
until_true() {
    local name=$1 what=$2 end=$((SECONDS + patience))
    shift 2
    until "$@"; do
        is_alive "$name" || died "$name" 'ended at start'
        ((SECONDS < end)) || died "$name" "did not $what within $patience s"
        sleep 0.1
    done
}

until_listens() { until_true "$1" listen listens "$2"; }
until_up() { until_true "$1" answer answers "$2" "$3"; }

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# answers PORT PATH: whether that is answered by a 200
answers() {
    local code=''
    {
        exec 3<>"/dev/tcp/127.0.0.1/$1" && printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$2" >&3 &&
            read -r -t 5 _ code _ <&3
        exec 3>&-
    } 2>/dev/null
    [ "$code" = 200 ]
}

died() {
    tail -n 20 "$folder/$1.log" >&2
    die "$1 $2" 'the end of its output is above'
}

say_where() {
    local each
    printf '\n'
    printf '  %-10s %s\n' dashboard "http://127.0.0.1:$port/"
    printf '  %-10s %s\n' SockJS "http://127.0.0.1:$port/ws, each request to the next node"
    for ((each = 1; each <= nodes; each++)); do
        printf '  %-10s %s\n' "n$each" "http://127.0.0.1:$((port + each))/, process ${pids[n$each]}"
    done
    printf '  %-10s %s\n' RabbitMQ "amqp://guest:guest@127.0.0.1:$rabbit_port, http://127.0.0.1:$page_port/ (guest, guest)"
    printf '  %-10s %s\n\n' logs "$folder/*.log, until this ends"
    say 'running; ctrl-c ends all of it, and a node that is killed comes back'
}

# Starts nodes anew that end, until something else does.
keep() {
    local gone name each
    while :; do
        { wait -n -p gone "${pids[@]}" || true; } 2>/dev/null
        name=''
        for each in "${!pids[@]}"; do [ "${pids[$each]}" != "$gone" ] || name=$each; done
        case $name in
        n[0-9])
            say "$name ended; starting it again"
            # One that ends at once is not to keep the machine busy.
            sleep 1
            start_node "${name#n}" "$@"
            say "$name is process ${pids[$name]}"
            ;;
        *) died "${name:-something}" 'ended' ;;
        esac
    done
}

# Ends what was started, and waits for it: the proxy first, then the nodes, which say goodbye to their clients, then RabbitMQ,
# of which nothing is kept.
stop() {
    trap '' INT TERM HUP
    trap - EXIT
    [ ${#pids[@]} = 0 ] || say 'stopping'
    local name
    end TERM proxy
    for name in "${!pids[@]}"; do [[ $name != n[0-9] ]] || kill -TERM "${pids[$name]}" 2>/dev/null || true; done
    for name in "${!pids[@]}"; do [[ $name != n[0-9] ]] || end TERM "$name"; done
    end KILL rabbitmq
    end KILL epmd
    # What RabbitMQ's helpers still write goes too.
    [ -z "$folder" ] || rm -rf "$folder" || { sleep 1 && rm -rf "$folder"; }
}

# end SIGNAL NAME: gives it 15 seconds, and then no more
end() {
    local pid=${pids[$2]:-} end=$((SECONDS + 15))
    [ -n "$pid" ] || return 0
    # Bash itself would tell of each that was killed.
    {
        kill -"$1" "$pid" || true
        while kill -0 "$pid" && ((SECONDS < end)); do sleep 0.05; done
        kill -KILL "$pid" || true
        wait "$pid" || true
    } 2>/dev/null
}

main "$@"
