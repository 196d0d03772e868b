# shellcheck shell=bash
# A private Postgres below $DIR/postgres. Durable unless LONGSHORE_PG_FSYNC=off.

postgres_given() {
    [ -n "${DATABASE_URL:-}" ]
}

postgres_given_env() {
    printf 'export DATABASE_URL=%q\n' "$DATABASE_URL"
}

# The directory with initdb, pg_ctl and psql; the newest where there are several.
postgres_find() {
    local dir
    PG_BIN="${PG_BIN:-}"
    [ -z "$PG_BIN" ] || return 0
    for dir in "$(command -v initdb 2>/dev/null)" $(printf '%s\n' /usr/lib/postgresql/*/bin/initdb \
        /usr/pgsql-*/bin/initdb /opt/homebrew/opt/postgresql*/bin/initdb \
        /usr/local/opt/postgresql*/bin/initdb | sort -rV); do
        [ -x "$dir" ] || continue
        dir="$(dirname "$(readlink -f "$dir" 2>/dev/null || echo "$dir")")"
        if [ -x "$dir/pg_ctl" ] && [ -x "$dir/psql" ]; then
            PG_BIN="$dir"
            return 0
        fi
    done
    return 1
}

postgres_require() {
    postgres_find && return 0
    can_install || missing Postgres DATABASE_URL
    install_packages postgresql || missing Postgres DATABASE_URL
    postgres_find || missing Postgres DATABASE_URL
}

# Runs a command as the user the server runs as: ourselves, or an unprivileged one when we are root.
as_postgres() {
    if [ "$(id -u)" -ne 0 ]; then
        (cd / && "$@")
    elif command -v runuser >/dev/null 2>&1; then
        (cd / && runuser -u "$(postgres_user)" -- "$@")
    else
        (cd / && setpriv --reuid "$(postgres_user)" --regid "$(id -g "$(postgres_user)")" --clear-groups "$@")
    fi
}

postgres_user() {
    if id postgres >/dev/null 2>&1; then echo postgres; else echo nobody; fi
}

postgres_pid() {
    head -n 1 "$DIR/postgres/data/postmaster.pid" 2>/dev/null || true
}

postgres_is_up() {
    is_ours "$(postgres_pid)" "$DIR/postgres/data"
}

postgres_sql() {
    as_postgres env -u PGHOST -u PGPORT -u PGUSER -u PGDATABASE -u PGSERVICE PGCONNECT_TIMEOUT=10 \
        "$PG_BIN/psql" -XAtq -v ON_ERROR_STOP=1 \
        "postgres://postgres@127.0.0.1:$(cat "$DIR/postgres/port")/postgres" -c "$1"
}

postgres_init() {
    local home="$DIR/postgres"
    rm -rf "$home" # a leftover without its mark: an earlier run was killed half-way
    mkdir -p "$home"
    [ "$(id -u)" -ne 0 ] || chown "$(postgres_user)" "$home"
    as_postgres test -x "$home" || die "user \`$(postgres_user)\` may not enter \`$home\`, and Postgres does not
    run as root: set LONGSHORE_RUN_DIR to a directory that everybody may enter, e.g. /tmp"
    as_postgres "$PG_BIN/initdb" -D "$home/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync \
        --no-instructions >"$home/initdb.log" 2>&1 ||
        as_postgres "$PG_BIN/initdb" -D "$home/data" -U postgres -A trust -E UTF8 --locale=C --no-sync \
            >>"$home/initdb.log" 2>&1 || {
        tail_log "$home/initdb.log"
        die "initdb failed"
    }
    as_postgres sh -c "echo \"include 'longshore.conf'\" >>'$home/data/postgresql.conf'"
    free_port >"$home/port"
    echo "${LONGSHORE_PG_FSYNC:-on}" >"$home/fsync"
    touch "$home/initialised"
}

postgres_configure() {
    local fsync
    fsync="$(cat "$DIR/postgres/fsync")"
    as_postgres tee "$DIR/postgres/data/longshore.conf" >/dev/null <<CONF
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
port = $(cat "$DIR/postgres/port")
max_connections = 200
shared_buffers = 256MB
max_wal_size = 2GB
fsync = $fsync
full_page_writes = $fsync
synchronous_commit = on
timezone = 'UTC'
log_timezone = 'UTC'
log_min_messages = warning
log_line_prefix = '%m [%p] '
CONF
}

postgres_start() {
    postgres_require
    postgres_is_up && return 0
    rm -f "$DIR/postgres/data/postmaster.pid" # of a server that was killed: nobody of that name lives
    postgres_configure
    as_postgres "$PG_BIN/pg_ctl" -D "$DIR/postgres/data" -l "$DIR/postgres/server.log" -w -t 60 start \
        >/dev/null 2>&1 </dev/null || return 1
    # The server that answers must be the one that was started.
    [ "$(postgres_sql 'SHOW data_directory')" = "$DIR/postgres/data" ]
}

postgres_up() {
    local try
    postgres_require
    postgres_is_up && return 0
    [ -f "$DIR/postgres/initialised" ] || postgres_init
    for try in 1 2 3 4 5; do
        if postgres_start; then
            [ "$(postgres_sql "SELECT count(*) FROM pg_database WHERE datname = 'longshore'")" != 0 ] ||
                postgres_sql 'CREATE DATABASE longshore'
            return 0
        fi
        postgres_stop immediate
        free_port >"$DIR/postgres/port" # somebody took it between looking and starting
    done
    tail_log "$DIR/postgres/server.log"
    die "Postgres did not start after $try tries; its log is \`$DIR/postgres/server.log\`"
}

postgres_stop() {
    local signal=INT # Postgres' own word for a fast stop
    [ "$1" != immediate ] || signal=QUIT
    end_process "$(postgres_pid)" "$DIR/postgres/data" "$signal"
}

postgres_env() {
    local port
    port="$(cat "$DIR/postgres/port")"
    echo "export DATABASE_URL='postgres://postgres@127.0.0.1:$port/longshore'"
    echo "export LONGSHORE_TEST_POSTGRES_PID='$(postgres_pid)'"
}
