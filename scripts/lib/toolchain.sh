# shellcheck shell=bash
# What building needs besides the checkout: Rust with rustfmt and clippy, a C compiler for the cryptography, and
# what the Kafka client is built from: make, pkg-config, and OpenSSL's and zlib's headers. Needs packages.sh and
# process.sh.

require_toolchain() {
    command -v cargo >/dev/null 2>&1 || PATH="$HOME/.cargo/bin:$PATH"
    command -v cargo >/dev/null 2>&1 || die "cargo is missing: install Rust 1.94 or later with rustup"
    command -v cc >/dev/null 2>&1 || {
        can_install && install_packages build-essential
    } || die "a C compiler (cc) is missing: install one, e.g. the package build-essential or gcc"
    require_kafka_client
}

require_kafka_client() {
    local wanted=()
    command -v make >/dev/null 2>&1 || wanted+=(make)
    command -v c++ >/dev/null 2>&1 || wanted+=(g++)
    command -v pkg-config >/dev/null 2>&1 || wanted+=(pkg-config)
    has_header openssl/ssl.h || wanted+=(libssl-dev)
    has_header zlib.h || wanted+=(zlib1g-dev)
    [ "${#wanted[@]}" -gt 0 ] || return 0
    { can_install && install_packages "${wanted[@]}"; } ||
        die "the Kafka client needs ${wanted[*]} to be built: install them, or their like on this system"
}

# has_header NAME: whether the compiler finds it; pkg-config knows places that the compiler is not told of.
has_header() {
    # shellcheck disable=SC2046  # flags are words
    echo "#include <$1>" | cc -E $(pkg-config --cflags openssl zlib 2>/dev/null) - >/dev/null 2>&1
}

# require_component NAME COMMAND: a part of the Rust toolchain.
require_component() {
    cargo "$2" --version >/dev/null 2>&1 && return 0
    command -v rustup >/dev/null 2>&1 || die "cargo $2 is missing: install the component $1 of your Rust"
    rustup component add "$1" >&2
}
