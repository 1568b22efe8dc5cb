#!/usr/bin/env bash
# Resolves the jars of an Apache Kafka broker into the cache, once, and prints their folder.
# Safe to be run by several processes at a time.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

mkdir -p "$TIDEMILL_CACHE"
exec 9> "$KAFKA_LIB.lock"
flock 9
if [ ! -e "$KAFKA_LIB/.complete" ]; then
  command -v mvn > /dev/null || { echo "there is no Maven (mvn): run scripts/setup.sh test" >&2; exit 1; }
  echo "resolving the jars of Apache Kafka $KAFKA_VERSION into $KAFKA_LIB" >&2
  mvn -q -B -Dstyle.color=never -f "$TIDEMILL_ROOT/tests/support/kafka-pom.xml" dependency:copy-dependencies \
    -Dkafka.version="$KAFKA_VERSION" -DincludeScope=runtime -DoutputDirectory="$KAFKA_LIB" >&2
  touch "$KAFKA_LIB/.complete"
fi
echo "$KAFKA_LIB"
