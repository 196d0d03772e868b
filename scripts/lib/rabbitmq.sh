# shellcheck shell=bash
# A private RabbitMQ node below $DIR/rabbitmq, with its own Erlang port mapper: two processes to end.

rabbitmq_given() {
    [ -n "${LONGSHORE_TEST_AMQP_URL:-${AMQP_URL:-}}" ]
}

rabbitmq_given_env() {
    local url="${LONGSHORE_TEST_AMQP_URL:-${AMQP_URL:-}}"
    printf 'export LONGSHORE_TEST_AMQP_URL=%q\nexport AMQP_URL=%q\n' "$url" "${AMQP_URL:-$url}"
}

# The server's own script: the one in Debian's sbin is a wrapper that switches user.
rabbitmq_find() {
    local file
    for file in ${RABBITMQ_BIN:+"$RABBITMQ_BIN/rabbitmq-server"} /usr/lib/rabbitmq/bin/rabbitmq-server \
        /opt/homebrew/opt/rabbitmq/sbin/rabbitmq-server /usr/local/opt/rabbitmq/sbin/rabbitmq-server \
        "$(command -v rabbitmq-server 2>/dev/null)"; do
        if [ -x "$file" ] && command -v epmd >/dev/null 2>&1; then
            RABBITMQ_SERVER="$file"
            return 0
        fi
    done
    return 1
}

rabbitmq_require() {
    rabbitmq_find && return 0
    can_install || missing RabbitMQ LONGSHORE_TEST_AMQP_URL
    install_packages rabbitmq-server || missing RabbitMQ LONGSHORE_TEST_AMQP_URL
    rabbitmq_find || missing RabbitMQ LONGSHORE_TEST_AMQP_URL
}

rabbitmq_pid() {
    cat "$DIR/rabbitmq/pid" 2>/dev/null || true
}

rabbitmq_is_up() {
    is_ours "$(rabbitmq_pid)" "$DIR/rabbitmq/home"
}

rabbitmq_port() {
    cut -d ' ' -f "$1" "$DIR/rabbitmq/ports"
}

rabbitmq_choose_ports() {
    echo "$(free_port) $(free_port) $(free_port)" >"$DIR/rabbitmq/ports"
}

rabbitmq_configure() {
    mkdir -p "$DIR/rabbitmq/home"
    cat >"$DIR/rabbitmq/rabbitmq.conf" <<'CONF'
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 100MB
log.file.level = warning
log.console = true
log.console.level = info
CONF
    echo '[].' >"$DIR/rabbitmq/enabled_plugins"
}

# rabbitmq_launch AMQP DIST EPMD SCRIPT: both processes in the background, in process groups of their own so that
# Ctrl-C at the terminal leaves the order of stopping to us.
rabbitmq_launch() (
    set -m
    cd "$DIR/rabbitmq" || exit
    unset "${!RABBITMQ_@}"
    export HOME="$DIR/rabbitmq/home" \
        ERL_EPMD_PORT="$3" ERL_EPMD_ADDRESS=127.0.0.1 \
        RABBITMQ_NODENAME="longshore-$1@localhost" \
        RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT="$1" RABBITMQ_DIST_PORT="$2" \
        RABBITMQ_MNESIA_BASE="$DIR/rabbitmq/data" RABBITMQ_LOG_BASE="$DIR/rabbitmq/log" \
        RABBITMQ_CONFIG_FILE="$DIR/rabbitmq/rabbitmq.conf" RABBITMQ_CONF_ENV_FILE=/dev/null \
        RABBITMQ_ENABLED_PLUGINS_FILE="$DIR/rabbitmq/enabled_plugins" \
        RABBITMQ_GENERATED_CONFIG_DIR="$DIR/rabbitmq/generated" \
        RABBITMQ_PID_FILE="$DIR/rabbitmq/pid" \
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}'
    epmd -port "$3" -address 127.0.0.1 >/dev/null 2>&1 </dev/null &
    echo "$!" >"$DIR/rabbitmq/epmd.pid"
    "$4" >"$DIR/rabbitmq/server.log" 2>&1 </dev/null &
    describe_process "$!" >"$DIR/rabbitmq/launcher"
)

# rabbitmq_ctl ARGUMENT…: the node's own command line, which finds it by name, port mapper and cookie.
rabbitmq_ctl() (
    rabbitmq_require
    local ctl
    ctl="$(dirname "$RABBITMQ_SERVER")/rabbitmqctl"
    unset "${!RABBITMQ_@}"
    export HOME="$DIR/rabbitmq/home" RABBITMQ_CONF_ENV_FILE=/dev/null
    ERL_EPMD_PORT="$(rabbitmq_port 3)" "$ctl" -q -n "longshore-$(rabbitmq_port 1)@localhost" "$@"
)

# Waits for the line the node itself writes when every listener is open: no other server can be meant.
rabbitmq_wait() {
    local tick=0
    until grep -q 'Server startup complete' "$DIR/rabbitmq/server.log" 2>/dev/null; do
        tick=$((tick + 1))
        [ "$tick" -lt 600 ] || return 1
        # The node writes its PID early; after that, no node means that it gave up.
        [ ! -s "$DIR/rabbitmq/pid" ] || rabbitmq_is_up || return 1
        [ "$tick" -lt 100 ] || [ -s "$DIR/rabbitmq/pid" ] || return 1
        sleep 0.2
    done
    rabbitmq_is_up
}

rabbitmq_start() {
    rabbitmq_require
    rabbitmq_is_up && return 0
    rabbitmq_stop_epmd
    rm -f "$DIR/rabbitmq/pid" "$DIR/rabbitmq/server.log"
    rabbitmq_launch "$(rabbitmq_port 1)" "$(rabbitmq_port 2)" "$(rabbitmq_port 3)" "$RABBITMQ_SERVER"
    rabbitmq_wait
}

rabbitmq_up() {
    local try
    rabbitmq_require
    rabbitmq_is_up && return 0
    if [ ! -f "$DIR/rabbitmq/initialised" ]; then
        rm -rf "$DIR/rabbitmq"
        rabbitmq_configure
        rabbitmq_choose_ports
    fi
    for try in 1 2 3; do
        if rabbitmq_start; then
            touch "$DIR/rabbitmq/initialised"
            return 0
        fi
        rabbitmq_stop immediate
        # A node's name holds its port, so a first start that failed leaves nothing behind to keep.
        [ -f "$DIR/rabbitmq/initialised" ] || rabbitmq_choose_ports
    done
    tail_log "$DIR/rabbitmq/server.log"
    die "RabbitMQ did not start after $try tries; its log is \`$DIR/rabbitmq/server.log\`"
}

# A start that was interrupted has no node yet, only the script that is about to become one.
rabbitmq_stop_launcher() {
    local pid
    [ -f "$DIR/rabbitmq/launcher" ] || return 0
    if is_described_process_alive "$DIR/rabbitmq/launcher"; then
        read -r pid _ <"$DIR/rabbitmq/launcher"
        kill -KILL -- "-$pid" 2>/dev/null || true
    fi
}

rabbitmq_stop_epmd() {
    [ ! -f "$DIR/rabbitmq/epmd.pid" ] ||
        end_process "$(cat "$DIR/rabbitmq/epmd.pid")" "-port $(rabbitmq_port 3)" TERM
}

rabbitmq_stop() {
    local signal=TERM
    [ "$1" != immediate ] || signal=KILL
    end_process "$(rabbitmq_pid)" "$DIR/rabbitmq/home" "$signal"
    rabbitmq_stop_launcher
    rabbitmq_stop_epmd
}

rabbitmq_env() {
    local url
    url="amqp://guest:guest@127.0.0.1:$(rabbitmq_port 1)/%2f"
    echo "export LONGSHORE_TEST_AMQP_URL='$url'"
    echo "export AMQP_URL='$url'"
    echo "export LONGSHORE_TEST_RABBITMQ_PID='$(rabbitmq_pid)'"
}
