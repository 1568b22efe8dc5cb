#!/usr/bin/env bash
# Installs the system packages that are missing; does nothing where all are there.
#   setup.sh build    what compiling Tidemill takes: a C++ compiler, libclang, zlib, OpenSSL
#   setup.sh test     the same and Java 17, Maven and Python 3, for the tests with a real Kafka;
#                     Prometheus and Node, for those of metrics, rules and dashboards; Chromium, for
#                     those of the page
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

say() { printf '%s\n' "$*" >&2; }
fail() { say "setup: $1"; shift; for line in "$@"; do say "       $line"; done; exit 1; }

has_command() { command -v "$1" > /dev/null 2>&1; }
# The library alone is not enough: bindgen reads the headers that come with the -dev package.
has_libclang() {
  [ -n "${LIBCLANG_PATH:-}" ] || dpkg -s libclang-dev > /dev/null 2>&1 ||
    compgen -G '/usr/lib/llvm-*/lib/libclang.so' > /dev/null
}
has_zlib() { [ -e /usr/include/zlib.h ] || pkg-config --exists zlib 2> /dev/null; }
has_openssl() { pkg-config --exists openssl 2> /dev/null || [ -e /usr/include/openssl/ssl.h ]; }
has_java() { has_command java && has_command javac; }

# Prints the Debian packages that are missing for the purpose in $1.
missing_packages() {
  { has_command cc && has_command c++ && has_command make; } || echo build-essential
  has_command pkg-config || echo pkg-config
  has_libclang || echo libclang-dev
  has_zlib || echo zlib1g-dev
  has_openssl || echo libssl-dev
  [ "$1" = test ] || return 0
  has_java || echo openjdk-17-jdk-headless
  has_command mvn || echo maven
  has_command python3 || echo python3
  { has_command prometheus && has_command promtool; } || echo prometheus
  { has_command node && has_command npm; } || printf '%s\n' nodejs npm
  has_command chromium || echo chromium
  python3 -c 'import ensurepip' > /dev/null 2>&1 || echo python3-venv
}

install_packages() {
  local as_root=()
  has_command apt-get ||
    fail "these packages are missing: $*" \
      "They are Debian's names and there is no apt-get here; install their equivalents and try again."
  if [ "$(id -u)" -ne 0 ]; then
    has_command sudo ||
      fail "these packages are missing: $*" \
        "This user is not root and there is no sudo. Ask an administrator to run:" \
        "  apt-get update && apt-get install --no-install-recommends $*"
    as_root=(sudo)
  fi
  say "setup: installing $*"
  "${as_root[@]}" apt-get update -q
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
  # Prometheus is for the tests alone; where there are services, its package starts one.
  if [[ " $* " == *" prometheus "* ]] && [ -d /run/systemd/system ]; then
    "${as_root[@]}" systemctl disable --now prometheus
  fi
}

check_rust() {
  has_command cargo ||
    fail "there is no cargo" "Install Rust with rustup (https://rustup.rs) and open a new shell."
}

# RocksDB is compiled from source, once; without this a newcomer would think that the build hangs.
announce_first_build() {
  compgen -G "$CARGO_TARGET_DIR/release/build/librocksdb-sys-*/out/librocksdb.a" > /dev/null && return
  say ""
  say "The first build compiles RocksDB and librdkafka from source: about 25 minutes on 2 cores,"
  say "most of it while cargo shows librocksdb-sys(build). It happens once on this machine: the"
  say "result is kept in $CARGO_TARGET_DIR"
  say ""
}

purpose="${1:-build}"
case "$purpose" in
  build | test) ;;
  *) fail "unknown purpose $purpose; build or test" ;;
esac
check_rust
mapfile -t missing < <(missing_packages "$purpose")
[ "${#missing[@]}" -eq 0 ] || install_packages "${missing[@]}"
mkdir -p "$CARGO_TARGET_DIR"
announce_first_build
