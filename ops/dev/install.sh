# shellcheck shell=bash
# Installs what is missing, and says so. Sourced after env.sh, never run.
#
# ENTENTE_INSTALL=no turns every installation into an error that names what is missing.

# need_commands COMMAND=PACKAGE[,PACKAGE]... installs the Debian packages of the commands that are
# not on the PATH. Needs root or sudo only when something is missing.
need_commands() {
    local pair packages=()
    for pair in "$@"; do
        if ! command -v "${pair%%=*}" >/dev/null 2>&1; then
            local names
            IFS=, read -r -a names <<<"${pair#*=}"
            packages+=("${names[@]}")
        fi
    done
    [ "${#packages[@]}" -gt 0 ] || return 0

    if [ "${ENTENTE_INSTALL:-yes}" = no ]; then
        echo "missing: ${packages[*]}; install them, or run without --no-install" >&2
        return 1
    fi
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "missing: ${packages[*]} (Debian names); there is no apt-get here, install them by hand" >&2
        return 1
    fi
    local sudo=()
    [ "$(id -u)" -eq 0 ] || sudo=(sudo)
    echo "installing Debian packages: ${packages[*]}"
    # Progress is of no interest; errors come on the other stream.
    "${sudo[@]}" apt-get update -qq >/dev/null
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
}

# need_rust checks for cargo. The toolchain itself is pinned in rust-toolchain.toml, and rustup
# fetches it when cargo is first called in the checkout.
need_rust() {
    if ! command -v cargo >/dev/null 2>&1; then
        echo "missing: cargo; install rustup first (https://rustup.rs)" >&2
        return 1
    fi
}

# need_build installs what building the workspace needs beside Rust: a C compiler (ring, mimalloc)
# and protoc (the build script of libsignal; our own .proto files do without).
need_build() {
    need_rust
    need_commands cc=gcc,libc6-dev protoc=protobuf-compiler
}

# need_cargo_tool NAME VERSION builds a cargo subcommand from source unless one is there already.
need_cargo_tool() {
    local name=$1 version=$2 started=$SECONDS
    if command -v "$name" >/dev/null 2>&1; then
        return 0
    fi
    if [ "${ENTENTE_INSTALL:-yes}" = no ]; then
        echo "missing: $name; run: cargo install --locked $name@$version" >&2
        return 1
    fi
    need_rust
    need_commands cc=gcc,libc6-dev
    echo "building $name $version into $ENTENTE_TOOLS (once, some minutes)"
    cargo install --locked --quiet --root "$ENTENTE_TOOLS" \
        --target-dir "$ENTENTE_CACHE/tools-build" "$name@$version"
    rm -rf -- "$ENTENTE_CACHE/tools-build"
    echo "built $name in $((SECONDS - started)) s"
}
