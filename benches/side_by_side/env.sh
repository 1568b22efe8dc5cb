# Sourced by the scripts beside it: where things are.
# shellcheck shell=bash
SIDE_BY_SIDE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$SIDE_BY_SIDE/../../scripts/env.sh"
PEER_CACHE="$TIDEMILL_CACHE/side-by-side"
PEER_LIB="$PEER_CACHE/lib"
PEER_BUILD="$PEER_CACHE/build"
harness="$CARGO_TARGET_DIR/release/harness"
gen="$CARGO_TARGET_DIR/release/orders_gen"
peer="$SIDE_BY_SIDE/peer.sh"
plain="$CARGO_TARGET_DIR/release/rdkafka_plain"
tidemill="$CARGO_TARGET_DIR/release/examples/bench_processor"
export harness gen peer plain tidemill
