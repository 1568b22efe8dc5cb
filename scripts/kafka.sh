#!/usr/bin/env bash
# A local Apache Kafka (KRaft) cluster of 1 or 3 brokers, loopback only.
#   kafka.sh start DATA_DIR [BROKERS=1] [BASE_PORT=9092]    prints the bootstrap address
#   kafka.sh stop  DATA_DIR
#   kafka.sh wipe  DATA_DIR                                 stop, then delete DATA_DIR
# Broker i listens on BASE_PORT + 10*(i-1), its controller one port above. BROKER_HEAP: default 1g.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

usage() { sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }
[ $# -ge 2 ] || usage
command="$1"; data="$(mkdir -p "$2" && cd "$2" && pwd)"; brokers="${3:-1}"; base_port="${4:-9092}"
heap="${BROKER_HEAP:-1g}"
# Any fixed id will do: the cluster is alone on its ports.
cluster_id=dGlkZW1pbGwtbG9jYWwtMQ

client_port() { echo $((base_port + 10 * ($1 - 1))); }
controller_port() { echo $(($(client_port "$1") + 1)); }

write_properties() { # broker number
  local id="$1" voters="" i
  for i in $(seq "$brokers"); do voters+="${voters:+,}$i@127.0.0.1:$(controller_port "$i")"; done
  sed -e "s|@ID@|$id|" -e "s|@VOTERS@|$voters|" -e "s|@PORT@|$(client_port "$id")|g" \
    -e "s|@CONTROLLER_PORT@|$(controller_port "$id")|" -e "s|@DIR@|$data/broker-$id|" \
    -e "s|@REPLICAS@|$((brokers < 3 ? brokers : 3))|" -e "s|@MIN_INSYNC@|$((brokers > 1 ? 2 : 1))|" \
    "$TIDEMILL_ROOT/tests/support/server.properties" > "$data/broker-$id/server.properties"
}

start() {
  "$TIDEMILL_ROOT/scripts/kafka-jars.sh" > /dev/null
  local i dir
  for i in $(seq "$brokers"); do
    dir="$data/broker-$i"
    mkdir -p "$dir"
    write_properties "$i"
    [ -e "$dir/log/meta.properties" ] ||
      java -cp "$KAFKA_LIB/*" kafka.tools.StorageTool format \
        -t "$cluster_id" -c "$dir/server.properties" > "$dir/format.log" 2>&1 ||
      { cat "$dir/format.log" >&2; exit 1; }
    : > "$dir/broker.log"
    nohup java -Xms"$heap" -Xmx"$heap" -XX:+UseG1GC -cp "$KAFKA_LIB/*" \
      kafka.Kafka "$dir/server.properties" >> "$dir/broker.log" 2>&1 < /dev/null &
    echo $! > "$dir/pid"
  done
  for i in $(seq "$brokers"); do wait_until_started "$i"; done
  echo "127.0.0.1:$base_port"
}

wait_until_started() { # broker number
  local dir="$data/broker-$1"
  for _ in $(seq 300); do
    grep -q "Kafka Server started" "$dir/broker.log" && return
    kill -0 "$(cat "$dir/pid")" 2> /dev/null || { tail -5 "$dir/broker.log" >&2; exit 1; }
    sleep 0.2
  done
  echo "broker $1 did not start within a minute, see $dir/broker.log" >&2
  exit 1
}

stop() {
  local pid_file pid
  for pid_file in "$data"/broker-*/pid; do
    [ -e "$pid_file" ] && kill "$(cat "$pid_file")" 2> /dev/null || true
  done
  for pid_file in "$data"/broker-*/pid; do
    [ -e "$pid_file" ] || continue
    pid="$(cat "$pid_file")"
    for _ in $(seq 150); do kill -0 "$pid" 2> /dev/null || break; sleep 0.2; done
    kill -9 "$pid" 2> /dev/null || true
    rm -f "$pid_file"
  done
}

case "$command" in
  start) start ;;
  stop) stop ;;
  wipe) stop; rm -rf "$data" ;;
  *) usage ;;
esac
