#!/usr/bin/env bash
# Measures and writes docs/performance.md: each layer, then, where Java and Maven are, Tidemill
# beside Kafka Streams. Arguments go to compare.py (--repeat 1 --records 300000 is a quick look).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$TIDEMILL_ROOT"

cargo bench --bench layers
if ! command -v java > /dev/null || ! command -v mvn > /dev/null; then
  echo "bench: no Java and Maven here, so nothing was measured beside Kafka Streams (make setup installs them)" >&2
  exec benches/report.py --layers
fi
results="$CARGO_TARGET_DIR/side-by-side.jsonl"
rm -f "$results"
benches/side_by_side/compare.py --results "$results" "$@"
benches/report.py --layers --results "$results"
