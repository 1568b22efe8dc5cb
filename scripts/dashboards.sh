#!/usr/bin/env bash
# Makes the Grafana dashboards of dashboards/source with Grafana's own schema, and compares them
# with those in dashboards/.
#   dashboards.sh          check: the sources compile against the schema, and nothing is stale
#   dashboards.sh write    write dashboards/*.json
# The schema comes from npm, by the lock file, into a folder beside cargo's target directory.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$TIDEMILL_ROOT/dashboards"

build="$CARGO_TARGET_DIR/dashboards"
mkdir -p "$build"
cp source/package.json source/package-lock.json source/tsconfig.json "$build/"
rm -f "$build"/*.ts
cp source/*.ts "$build/"
if ! cmp -s "$build/package-lock.json" "$build/installed.json"; then
  (cd "$build" && npm ci --silent --no-audit --no-fund --ignore-scripts)
  cp "$build/package-lock.json" "$build/installed.json"
fi
rm -rf "$build/out" "$build/json"
(cd "$build" && node node_modules/typescript/bin/tsc --outDir out)
mkdir "$build/json"
(cd "$build" && NODE_PATH="$build/node_modules" node out/main.js) | python3 -c '
import json, pathlib, sys
for name, dashboard in json.load(sys.stdin).items():
    text = json.dumps(dashboard, indent=2, ensure_ascii=False)
    pathlib.Path(sys.argv[1], name).write_text(text + "\n")
' "$build/json"
if [ "${1:-check}" = write ]; then
  cp "$build"/json/*.json .
else
  for made in "$build"/json/*.json; do
    name="$(basename "$made")"
    cmp -s "$made" "$name" ||
      { echo "dashboards/$name is not what its source says: run scripts/dashboards.sh write" >&2; exit 1; }
    echo "dashboards/$name: $(grep -c '"expr"' "$name") queries, as Grafana's schema has them"
  done
fi
