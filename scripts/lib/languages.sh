# shellcheck shell=bash
# Other languages' tools and packages, for examples and for what asks the API: required, fetched, kept once per user.
# Needs process.sh.

# kept NAME WHAT COMMAND…: the directory of that name in the user's cache, with what the command has put into the one that
# it is given as its last argument. The name has a sum of the content that this was made from: another one is made anew.
kept() {
    local home="${LONGSHORE_CACHE_DIR:-$HOME/.cache/longshore}/$1" fresh
    if [ ! -d "$home" ]; then
        say "longshore: fetching $2"
        mkdir -p "$(dirname "$home")"
        fresh="$(mktemp -d "$home.XXXXXX")"
        "${@:3}" "$fresh" >&2 || {
            rm -rf "$fresh"
            die "$2 cannot be had"
        }
        # Whole or not at all; somebody else may have been faster. Its programs may name the old place: run them as modules.
        mv -T "$fresh" "$home" 2>/dev/null || rm -rf "$fresh"
    fi
    echo "$home"
}

# sum_of FILE…: a name for their content.
sum_of() {
    cat "$@" | cksum | tr ' ' -
}

# pip_install FOLDER DIRECTORY: an environment with the packages of the folder's requirements.txt.
pip_install() {
    python3 -m venv "$2" && "$2/bin/python" -m pip -q --disable-pip-version-check install -r "$1/requirements.txt"
}

# npm_install FOLDER DIRECTORY: the packages of the folder's package-lock.json.
npm_install() {
    cp "$1"/package*.json "$2" && npm --prefix "$2" ci --silent --no-audit --no-fund
}

# require_python, require_node, require_go WHO: who needs it.
require_python() {
    python3 -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
        die "$1 needs Python 3.10 or later with venv: install it, e.g. the package python3-venv"
}

require_node() {
    [ "$(node -p 'parseInt(process.versions.node)' 2>/dev/null || echo 0)" -ge 20 ] ||
        die "$1 needs Node.js 20 or later, with npm: install it"
    command -v npm >/dev/null 2>&1 || die "$1 needs npm: install it"
}

require_go() {
    command -v go >/dev/null 2>&1 || PATH="$PATH:/usr/local/go/bin"
    command -v go >/dev/null 2>&1 || die "$1 needs Go 1.26 or later: install it"
}
