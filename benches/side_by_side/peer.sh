#!/usr/bin/env bash
# Runs the Kafka Streams application in this process; the environment is the README's contract.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
# A window without grace logs a warning for every late record; that log is not the workload.
# shellcheck disable=SC2086 # the options are several words
exec java ${PEER_JAVA_OPTS:--Xms1g -Xmx1g -XX:+UseParallelGC} \
  -Dorg.slf4j.simpleLogger.defaultLogLevel="${LOG_LEVEL:-warn}" \
  -Dorg.slf4j.simpleLogger.log.org.apache.kafka.streams.kstream.internals=error \
  -cp "$PEER_BUILD/peer.jar:$PEER_LIB/*" peer.Main "$@"
