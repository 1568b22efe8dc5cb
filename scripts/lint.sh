#!/usr/bin/env bash
# Format, clippy, documentation and dependency checks; every warning is an error.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$TIDEMILL_ROOT"

step() { printf '\n== %s\n' "$*"; "$@"; }

cargo fmt --version > /dev/null 2>&1 && cargo clippy --version > /dev/null 2>&1 ||
  rustup component add rustfmt clippy
step cargo fmt --all --check
# --release: in another profile RocksDB would be built a second time.
step cargo clippy --release --workspace --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" step cargo doc --release --workspace --no-deps

# Installed beside the build cache, once: compiling cargo-deny takes some minutes.
deny="$(command -v cargo-deny || echo "$TIDEMILL_CACHE/tools/bin/cargo-deny")"
if [ ! -x "$deny" ]; then
  echo "installing cargo-deny into $TIDEMILL_CACHE/tools"
  env -u CARGO_TARGET_DIR cargo install cargo-deny --locked --root "$TIDEMILL_CACHE/tools"
fi
# The advisories are left out: their database is cloned from GitHub, which a build machine may
# not reach. `cargo deny check advisories` runs them where it can be.
step "$deny" check licenses bans sources
