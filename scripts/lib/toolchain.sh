# shellcheck shell=bash
# What building needs besides the checkout: Rust with rustfmt and clippy, and a C compiler for the
# cryptography. Needs packages.sh and process.sh.

require_toolchain() {
    command -v cargo >/dev/null 2>&1 || PATH="$HOME/.cargo/bin:$PATH"
    command -v cargo >/dev/null 2>&1 || die "cargo is missing: install Rust 1.94 or later with rustup"
    command -v cc >/dev/null 2>&1 || {
        can_install && install_packages build-essential
    } || die "a C compiler (cc) is missing: install one, e.g. the package build-essential or gcc"
}

# require_component NAME COMMAND: a part of the Rust toolchain.
require_component() {
    cargo "$2" --version >/dev/null 2>&1 && return 0
    command -v rustup >/dev/null 2>&1 || die "cargo $2 is missing: install the component $1 of your Rust"
    rustup component add "$1" >&2
}
