# Every target sets up what it needs; `make` alone lists them.
# DEMO_SECONDS=20 make demo ends by itself. CARGO_TARGET_DIR and XDG_CACHE_HOME are respected.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup demo test chaos soak join fuzz lint bench side-by-side kafka kafka-stop env

KAFKA_DATA ?= /tmp/tidemill-kafka
WITH_ENV := source scripts/env.sh &&

help: ## List the targets
	@sed -nE -e 's/\$$\$$/$$/g' -e 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 22

setup: ## Install the system packages that building and testing need (nothing where they are there)
	@scripts/setup.sh test

demo: ## Run the exchange on an in-process broker with generated orders (no Kafka needed)
	@scripts/setup.sh build
	@$(WITH_ENV) cargo build --release --bin tidemill
	@$(WITH_ENV) exec "$$CARGO_TARGET_DIR/release/tidemill" demo

test: ## Run every test: units, documentation, goldens of Kafka Streams, a real Apache Kafka
	@scripts/setup.sh test
	@scripts/test.sh

chaos: ## Five minutes of faults on three brokers, and every result compared (CHAOS_SEED repeats a run, CHAOS_KEEP=1 keeps its logs)
	@scripts/setup.sh test
	@$(WITH_ENV) cargo test --release --workspace --test chaos -- \
	  --seconds "$${CHAOS_SECONDS:-300}" $${CHAOS_SEED:+--seed "$$CHAOS_SEED"} $${CHAOS_KEEP:+--keep}

soak: ## Twenty minutes at a steady rate; writes docs/soak.md (SOAK_SECONDS, SOAK_RATE)
	@scripts/setup.sh test
	@$(WITH_ENV) cargo test --release --workspace --test chaos -- soak \
	  --seconds "$${SOAK_SECONDS:-1200}" --rate "$${SOAK_RATE:-1000}"

join: ## Let a cold instance join two that have 2 GiB of state, restart all, under load (JOIN_MIB)
	@scripts/setup.sh test
	@$(WITH_ENV) cargo test --release --workspace --test chaos -- join --mib "$${JOIN_MIB:-2048}"

lint: ## Check formatting, clippy, documentation and dependencies; a warning is an error
	@scripts/setup.sh build
	@scripts/lint.sh

bench: ## Measure each layer, then beside Kafka Streams; writes docs/performance.md (hours; options: ARGS=)
	@scripts/setup.sh test
	@scripts/bench.sh $(ARGS)

side-by-side: ## Measure Tidemill beside Kafka Streams on a local Kafka (about an hour; options: ARGS=--help)
	@scripts/setup.sh test
	@benches/side_by_side/compare.py $(ARGS)

fuzz: ## Fuzz every parser that meets bytes from outside, 5 minutes each (options: ARGS='--seconds 60 http')
	@scripts/setup.sh build
	@$(WITH_ENV) cargo run --release --example fuzz -- $(ARGS)

kafka: ## Start a local Apache Kafka on 127.0.0.1:9092 and leave it running (data: KAFKA_DATA)
	@scripts/setup.sh test
	@scripts/kafka.sh start "$(KAFKA_DATA)"

kafka-stop: ## Stop the broker that `make kafka` started and delete its data
	@scripts/kafka.sh wipe "$(KAFKA_DATA)"

env: ## Print what cargo needs by hand: eval "$$(make -s env)", then cargo test --release
	@$(WITH_ENV) echo "export CARGO_TARGET_DIR=$$CARGO_TARGET_DIR"
