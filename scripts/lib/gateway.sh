# shellcheck shell=bash
# One gateway for a script that asks its API: a database of its own in a private or given Postgres, free ports, nothing
# left behind. Needs process.sh, packages.sh, toolchain.sh and postgres.sh, and the checkout as the working directory.

gateway_process=""
gateway_database=""
gateway_dir=""

# gateway_prepare NAME: $longshore is the program, with an empty database and its addresses in the environment;
# $gateway_address is where the API will be, $gateway_psql asks the database.
gateway_prepare() {
    require_toolchain
    scripts/servers sweep
    gateway_dir="$(LONGSHORE_OWNER_PID=$$ scripts/servers dir "$1")"
    scripts/servers up "$gateway_dir" --no-fsync postgres
    eval "$(scripts/servers env "$gateway_dir" postgres)"
    SQLX_OFFLINE=true cargo build -q -p longshore --bin longshore
    longshore="$(cd "${CARGO_TARGET_DIR:-target}/debug" && pwd)/longshore"
    postgres_require
    gateway_psql="$PG_BIN/psql"
    "$gateway_psql" -Xq -d "$DATABASE_URL" -c "CREATE DATABASE longshore_$1_$$"
    gateway_database="longshore_$1_$$"
    local base="${DATABASE_URL%%\?*}" query=""
    [ "$base" = "$DATABASE_URL" ] || query="?${DATABASE_URL#*\?}"
    case "${base#*://}" in */*) base="${base%/*}" ;; esac
    export LONGSHORE__DATABASE__URL="$base/$gateway_database$query"
    export LONGSHORE__SECURITY__MASTER_KEY=AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=
    export LONGSHORE__API__RATE_LIMIT=0
    gateway_address="127.0.0.1:$(free_port)"
    LONGSHORE__OPS__BIND="127.0.0.1:$(free_port)"
    export LONGSHORE__HTTP__BIND="$gateway_address" LONGSHORE__OPS__BIND
    "$longshore" migrate up >/dev/null
}

# gateway_start LOG: serves, and returns when it is ready.
gateway_start() {
    local tick=0
    "$longshore" serve >"$1" 2>&1 </dev/null &
    gateway_process=$!
    until curl -fsS -o /dev/null "http://$LONGSHORE__OPS__BIND/readyz" 2>/dev/null; do
        tick=$((tick + 1))
        if [ "$tick" -ge 300 ] || ! kill -0 "$gateway_process" 2>/dev/null; then
            tail_log "$1"
            die "the gateway does not get ready"
        fi
        sleep 0.1
    done
}

# For the script's end, however far it came.
gateway_finish() {
    if [ -n "$gateway_process" ]; then
        kill "$gateway_process" 2>/dev/null || true
        wait "$gateway_process" 2>/dev/null || true
    fi
    [ -z "$gateway_database" ] ||
        "$gateway_psql" -Xq -d "$DATABASE_URL" -c "DROP DATABASE IF EXISTS $gateway_database WITH (FORCE)" 2>/dev/null || true
    [ -z "$gateway_dir" ] || scripts/servers down "$gateway_dir"
}
