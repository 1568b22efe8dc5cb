# Sourced by the other scripts: where things are. No path of a machine is fixed here.
# shellcheck shell=bash
TIDEMILL_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# Everything downloaded or built goes below this folder, outside the clone, so that a second
# clone starts where the first one stopped.
TIDEMILL_CACHE="${TIDEMILL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tidemill}"
KAFKA_VERSION=4.3.1
KAFKA_LIB="$TIDEMILL_CACHE/kafka-$KAFKA_VERSION"
# One target folder and one profile for demo, tests and benches: RocksDB is compiled once.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$TIDEMILL_CACHE/target}"
export TIDEMILL_ROOT TIDEMILL_CACHE KAFKA_VERSION KAFKA_LIB
# `make -j` would hand its job server to cargo through variables that name closed files.
unset MAKEFLAGS MFLAGS MAKELEVEL
