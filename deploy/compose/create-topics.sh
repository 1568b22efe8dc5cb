#!/usr/bin/env bash
# Makes the topics of the exchange where they are missing.
set -euo pipefail

topics() { /opt/kafka/bin/kafka-topics.sh --bootstrap-server kafka:19092 --create --if-not-exists "$@"; }

for topic in orders trades order-updates candles positions orders-dlq; do
  topics --topic "$topic" --partitions 4
done
topics --topic assets --partitions 4 --config cleanup.policy=compact
