#!/usr/bin/env bash
# Builds and runs every test, goes on after a failure, and ends with a summary.
#   test.sh [STAGE ...]     only these stages: units docs it goldens simulation kafka chaos page deploy
# REQUIRE_DATA=1 makes the absence of the NASDAQ data a failure (see tests/support/data.rs).
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$TIDEMILL_ROOT" || exit 1

logs="$(mktemp -d)"
trap 'rm -rf "$logs"' EXIT
failed=0

# Sums of the test programs' own summaries in the log $1: "passed failed ignored".
count() {
  sed -nE -e 's/^test result: .* ([0-9]+) passed; ([0-9]+) failed; ([0-9]+) ignored.*/\1 \2 \3/p' \
    -e 's/^([0-9]+) passed, ([0-9]+) failed.*/\1 \2 0/p' "$1" |
    awk '{ p += $1; f += $2; i += $3 } END { print p + 0, f + 0, i + 0 }'
}

# A program that died or did not build fails its stage whatever it printed, and so does a stage
# in which nothing ran.
stage() { # name, command...
  local name="$1" log="$logs/$1" status started=$SECONDS passed test_failed ignored not_run verdict=ok
  shift
  printf '\n== %s: %s\n' "$name" "$*"
  "$@" 2>&1 | tee "$log"
  status=${PIPESTATUS[0]}
  read -r passed test_failed ignored <<< "$(count "$log")"
  not_run=$(($(grep -c '^not run: ' "$log") + ignored))
  if [ "$status" -ne 0 ] || [ "$test_failed" -ne 0 ]; then
    verdict=FAILED
  elif [ "$passed" -eq 0 ]; then
    verdict="FAILED (no test ran)"
  fi
  [ "$verdict" = ok ] || failed=1
  printf '%-8s %6d passed %4d failed %3d not run %5d s  %s\n' \
    "$name" "$passed" "$test_failed" "$not_run" $((SECONDS - started)) "$verdict" >> "$logs/summary"
  sed -nE "s/^not run: (.*)/         not run: \1/p" "$log" >> "$logs/summary"
  sed -nE 's/^test (.*) \.\.\. FAILED$/         failed:  \1/p' "$log" >> "$logs/summary"
}

# The same selection of packages each time: another one could resolve other features, and with
# them another RocksDB.
test_of() { cargo test --release --workspace --no-fail-fast "$@"; }

# The tests that start brokers run one at a time; two clusters would starve each other of CPU.
run() {
  case "$1" in
    units) stage units test_of --lib --bins ;;
    docs) stage docs test_of --doc ;;
    it) stage it test_of --test it ;;
    goldens) stage goldens test_of --test goldens ;;
    simulation) stage simulation test_of --test simulation ;;
    kafka)
      scripts/kafka-jars.sh > /dev/null
      stage kafka test_of --test kafka -- --test-threads=1
      ;;
    # A minute of faults; `make chaos` runs the same script for five.
    chaos) stage chaos test_of --test chaos ;;
    page)
      npm ci --prefix tests/page --no-audit --no-fund --loglevel=error > /dev/null
      stage page node tests/page/page.mjs "$CARGO_TARGET_DIR/release/tidemill" "$CARGO_TARGET_DIR/page"
      ;;
    deploy) stage deploy scripts/check-deploy.sh ;;
    *) echo "test.sh: unknown stage $1" >&2; exit 2 ;;
  esac
}

[ $# -gt 0 ] || set -- units docs it goldens simulation kafka chaos page deploy
# All programs are built before the first runs: a test that does not compile is seen at once.
test_of --no-run || { echo "test.sh: the tests do not build" >&2; exit 1; }
for name in "$@"; do run "$name"; done

printf '\n== summary\n'
cat "$logs/summary"
if [ "$failed" -eq 0 ]; then echo "all tests passed"; else echo "SOME TESTS FAILED"; fi
exit "$failed"
