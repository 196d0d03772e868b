# shellcheck shell=bash
# A private Pub/Sub server below $DIR/pubsub: Google's pstest, made a server by scripts/lib/pubsub. It keeps everything
# in memory: a restart keeps the port and loses every topic, subscription and message.

pubsub_given() {
    [ -n "${LONGSHORE_TEST_PUBSUB_ENDPOINT:-}" ]
}

pubsub_given_env() {
    printf 'export LONGSHORE_TEST_PUBSUB_ENDPOINT=%q\n' "$LONGSHORE_TEST_PUBSUB_ENDPOINT"
}

pubsub_missing() {
    die "Pub/Sub's test server needs Go 1.26 or later${1:+ and the Go module proxy ($1)}. Install it, or name a
    server that runs with LONGSHORE_TEST_PUBSUB_ENDPOINT=host:port, e.g. Google's emulator"
}

# Builds the server unless these very sources were built before. Sets PUBSUB_SERVER.
pubsub_require() {
    local cache="${LONGSHORE_CACHE_DIR:-$HOME/.cache/longshore}" sources="$lib/pubsub" key scratch
    key="$(cat "$sources"/go.mod "$sources"/go.sum "$sources"/*.go | cksum | tr ' ' -)"
    PUBSUB_SERVER="$cache/pubsub-$key/pubsub"
    [ ! -x "$PUBSUB_SERVER" ] || return 0
    command -v go >/dev/null 2>&1 || PATH="$PATH:/usr/local/go/bin"
    command -v go >/dev/null 2>&1 || pubsub_missing
    say "longshore: building Pub/Sub's test server (once)"
    mkdir -p "$cache"
    scratch="$(mktemp -d "$cache/pubsub.XXXXXX")"
    if ! (cd "$sources" && go build -trimpath -o "$scratch/pubsub" .) >"$scratch/log" 2>&1; then
        tail_log "$scratch/log"
        rm -rf "$scratch"
        pubsub_missing "the build failed"
    fi
    rm -f "$scratch/log"
    # Whole or not at all; somebody else may have been faster.
    mv -T "$scratch" "$cache/pubsub-$key" 2>/dev/null || rm -rf "$scratch"
    [ -x "$PUBSUB_SERVER" ] || pubsub_missing
}

pubsub_pid() {
    cat "$DIR/pubsub/pid" 2>/dev/null || true
}

pubsub_is_up() {
    is_ours "$(pubsub_pid)" "$DIR/pubsub/ready"
}

# The server writes the file itself once it listens: no other server can be meant.
pubsub_wait() {
    local tick=0
    until [ -s "$DIR/pubsub/ready" ]; do
        tick=$((tick + 1))
        [ "$tick" -lt 200 ] && pubsub_is_up || return 1
        sleep 0.05
    done
}

# In a process group of its own, so that Ctrl-C at the terminal leaves the order of stopping to us.
pubsub_launch() (
    set -m
    "$PUBSUB_SERVER" -listen "127.0.0.1:$(cat "$DIR/pubsub/port")" -ready "$DIR/pubsub/ready" \
        >"$DIR/pubsub/log" 2>&1 </dev/null &
    echo "$!" >"$DIR/pubsub/pid"
)

pubsub_start() {
    pubsub_require
    pubsub_is_up && return 0
    rm -f "$DIR/pubsub/ready"
    pubsub_launch
    pubsub_wait
}

pubsub_up() {
    local try
    pubsub_is_up && return 0
    mkdir -p "$DIR/pubsub"
    for try in 1 2 3; do
        [ -f "$DIR/pubsub/port" ] || free_port >"$DIR/pubsub/port"
        pubsub_start && return 0
        pubsub_stop immediate # one that was slow would be taken for the next, which has another port
        rm -f "$DIR/pubsub/port"
    done
    tail_log "$DIR/pubsub/log"
    die "Pub/Sub's test server did not start after $try tries; its log is \`$DIR/pubsub/log\`"
}

pubsub_stop() {
    local signal=TERM
    [ "$1" != immediate ] || signal=KILL
    end_process "$(pubsub_pid)" "$DIR/pubsub/ready" "$signal"
}

pubsub_env() {
    echo "export LONGSHORE_TEST_PUBSUB_ENDPOINT='127.0.0.1:$(cat "$DIR/pubsub/port")'"
    echo "export LONGSHORE_TEST_PUBSUB_PID='$(pubsub_pid)'"
}
