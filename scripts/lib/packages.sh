# shellcheck shell=bash
# Installs Debian packages that are missing, where that is possible without a question; says what is missing
# and what to do otherwise.

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

can_install() {
    [ "${LONGSHORE_INSTALL:-yes}" != no ] || return 1
    command -v apt-get >/dev/null 2>&1 || return 1
    [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null
}

# install_packages PACKAGE…: quiet unless it fails.
install_packages() {
    local log policy=/usr/sbin/policy-rc.d placed=no status=0
    say "longshore: installing $* (Debian packages)"
    log="$(mktemp)"
    # Debian starts a server when its package is installed. We start our own and leave the machine's ports alone.
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
        placed=yes
    fi
    {
        as_root apt-get -q update || true # an old list may still know the packages
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
            --no-install-recommends install "$@"
    } >"$log" 2>&1 </dev/null || status=$?
    [ "$placed" = no ] || as_root rm -f "$policy"
    [ "$status" -eq 0 ] || tail_log "$log"
    rm -f "$log"
    return "$status"
}

# missing SERVER VARIABLE: the one message for a server that is neither given, nor there, nor installable.
missing() {
    die "$1 is missing. Install it, or name one that runs with $2, or run \`docker compose up -d --wait\` and set
    DATABASE_URL=postgres://postgres:longshore@127.0.0.1:5432/postgres
    LONGSHORE_TEST_AMQP_URL=amqp://guest:guest@127.0.0.1:5672/%2f
    LONGSHORE_TEST_KAFKA_BROKERS=127.0.0.1:9092
    LONGSHORE_TEST_SQS_ENDPOINT=http://127.0.0.1:9324
    LONGSHORE_TEST_PUBSUB_ENDPOINT=127.0.0.1:8085"
}
