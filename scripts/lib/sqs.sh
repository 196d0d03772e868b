# shellcheck shell=bash
# A private SQS server below $DIR/sqs: ElasticMQ, one Java process. It has long polls, visibility changes, redrive,
# group locks of FIFO queues and per-entry results of batches as the original has them, is quick, and keeps its messages
# over a restart, also over a sudden one. (moto, from PyPI, has the same semantics, but moves some 100 messages a second
# and forgets everything when it ends.)

SQS_POM="$(dirname "${BASH_SOURCE[0]}")/sqs/pom.xml"

sqs_given() {
    [ -n "${LONGSHORE_TEST_SQS_ENDPOINT:-}" ]
}

sqs_given_env() {
    printf 'export LONGSHORE_TEST_SQS_ENDPOINT=%q\n' "$LONGSHORE_TEST_SQS_ENDPOINT"
}

sqs_missing() {
    die "$1. Install it, or name an SQS server that runs with LONGSHORE_TEST_SQS_ENDPOINT=http://host:port"
}

# sqs_require_command COMMAND PACKAGE
sqs_require_command() {
    command -v "$1" >/dev/null 2>&1 && return 0
    { can_install && install_packages "$2" && command -v "$1" >/dev/null 2>&1; } || sqs_missing "\`$1\` is missing"
}

# The server's jars, fetched once per user and version of the list; a fetch that is cut short leaves nothing behind.
sqs_require() {
    local cache="${LONGSHORE_CACHE_DIR:-$HOME/.cache/longshore}" fresh log
    sqs_require_command java default-jre-headless
    SQS_JARS="$cache/sqs-$(cksum <"$SQS_POM" | cut -d ' ' -f 1)"
    [ ! -d "$SQS_JARS" ] || return 0
    sqs_require_command mvn maven
    say "longshore: fetching ElasticMQ (Maven Central)"
    mkdir -p "$cache"
    fresh="$(mktemp -d "$cache/.sqs.XXXXXX")"
    log="$fresh.log"
    if ! mvn -B -q -f "$SQS_POM" dependency:copy-dependencies -DincludeScope=runtime \
        "-DoutputDirectory=$fresh" >"$log" 2>&1 </dev/null; then
        tail_log "$log"
        rm -rf "$fresh" "$log"
        sqs_missing "ElasticMQ could not be fetched"
    fi
    rm -f "$log"
    # Somebody else may have been quicker; theirs is as good.
    mv -T "$fresh" "$SQS_JARS" 2>/dev/null || rm -rf "$fresh"
    [ -d "$SQS_JARS" ] || sqs_missing "ElasticMQ could not be put into \`$cache\`"
}

sqs_pid() {
    cat "$DIR/sqs/pid" 2>/dev/null || true
}

sqs_is_up() {
    is_ours "$(sqs_pid)" "$DIR/sqs/server.conf"
}

sqs_port() {
    cat "$DIR/sqs/port"
}

# sqs_configure PORT. The knob that lets Postgres lose its last writes with the power lets this server keep messages in
# memory only. With a file, ElasticMQ 1.7.1 now and then fails to write a message down that is received at that moment
# (it reads a list that grows): the request is answered after 20 s, by 503, and nothing more is written.
sqs_configure() {
    local keeps=true
    [ "${LONGSHORE_PG_FSYNC:-on}" != off ] || keeps=false
    mkdir -p "$DIR/sqs"
    echo "$1" >"$DIR/sqs/port"
    cat >"$DIR/sqs/server.conf" <<CONF
include classpath("application.conf")
node-address { protocol = http, host = "127.0.0.1", port = $1, context-path = "" }
rest-sqs { enabled = true, bind-hostname = "127.0.0.1", bind-port = $1, sqs-limits = strict }
rest-stats { enabled = false }
aws { region = us-east-1, accountId = "000000000000" }
messages-storage {
    enabled = $keeps
    driver-class = "org.h2.Driver"
    uri = "jdbc:h2:$DIR/sqs/data/messages;WRITE_DELAY=0"
    username = ""
    password = ""
    prune-data-on-init = false
}
CONF
}

# In a process group of its own, so that Ctrl-C at the terminal leaves the order of stopping to us.
sqs_launch() (
    set -m
    cd "$DIR/sqs" || exit
    java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx512m "-Dconfig.file=$DIR/sqs/server.conf" \
        -cp "$SQS_JARS/*" org.elasticmq.server.Main >"$DIR/sqs/server.log" 2>&1 </dev/null &
    echo "$!" >"$DIR/sqs/pid"
)

# Waits for the line the server itself writes when it listens: no other server can be meant.
sqs_wait() {
    local tick=0
    until grep -q 'ElasticMQ server .* started' "$DIR/sqs/server.log" 2>/dev/null; do
        tick=$((tick + 1))
        [ "$tick" -lt 900 ] && sqs_is_up || return 1
        sleep 0.1
    done
}

sqs_start() {
    sqs_require
    sqs_is_up && return 0
    rm -f "$DIR/sqs/pid" "$DIR/sqs/server.log"
    sqs_launch
    sqs_wait
}

sqs_up() {
    local try
    sqs_require
    sqs_is_up && return 0
    for try in 1 2 3; do
        [ -f "$DIR/sqs/initialised" ] || sqs_configure "$(free_port)"
        if sqs_start; then
            touch "$DIR/sqs/initialised"
            return 0
        fi
        sqs_stop immediate
    done
    tail_log "$DIR/sqs/server.log"
    die "the SQS server did not start after $try tries; its log is \`$DIR/sqs/server.log\`"
}

sqs_stop() {
    local signal=TERM
    [ "$1" != immediate ] || signal=KILL
    end_process "$(sqs_pid)" "$DIR/sqs/server.conf" "$signal"
}

sqs_env() {
    echo "export LONGSHORE_TEST_SQS_ENDPOINT='http://127.0.0.1:$(sqs_port)'"
    echo "export LONGSHORE_TEST_SQS_PID='$(sqs_pid)'"
}
