#!/usr/bin/env bash
# Builds what is compared and what compares: the broker's jars, the Kafka Streams application, and
# the Rust programs.
#   build.sh            all
#   build.sh app        only the Kafka Streams application
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
what="${1:-all}"

mkdir -p "$PEER_CACHE"
if [ ! -e "$PEER_LIB/.complete" ]; then
  mvn -q -B -Dstyle.color=never -f "$SIDE_BY_SIDE/java/pom.xml" dependency:copy-dependencies \
    -Dkafka.version="$KAFKA_VERSION" -DincludeScope=runtime -DoutputDirectory="$PEER_LIB"
  touch "$PEER_LIB/.complete"
fi
mvn -q -B -Dstyle.color=never -f "$SIDE_BY_SIDE/java/pom.xml" -Dkafka.version="$KAFKA_VERSION" -Dpeer.build="$PEER_BUILD" package
[ "$what" = all ] || exit 0
"$TIDEMILL_ROOT/scripts/kafka-jars.sh" > /dev/null
cargo build --release --workspace --bins --examples --manifest-path "$TIDEMILL_ROOT/Cargo.toml"
