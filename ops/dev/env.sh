# shellcheck shell=bash
# Settings that every script under ops/ shares. Sourced, never run.
#
# Build output lives outside the checkout, so that a clean checkout stays clean and `git clean`
# costs nothing. Set CARGO_TARGET_DIR or XDG_CACHE_HOME to move it.

ENTENTE_ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
ENTENTE_CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/entente

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$ENTENTE_CACHE/target}
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}
export PYTHONDONTWRITEBYTECODE=1

# Tools that ops/test builds for itself stay apart from what the user has installed.
ENTENTE_TOOLS=$ENTENTE_CACHE/tools
export PATH=$PATH:$ENTENTE_TOOLS/bin
[ ! -d "$HOME/.cargo/bin" ] || PATH=$HOME/.cargo/bin:$PATH

export ENTENTE_ROOT ENTENTE_CACHE ENTENTE_TOOLS
