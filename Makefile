# The one list of tasks. CI calls the same ones (see .ci/run).

CARGO ?= cargo
# Kills per database in `make torture`; the normal tests do three.
ROUNDS ?= 30
# How long `make fuzz` fuzzes each of its targets.
SECONDS ?= 60

.DEFAULT_GOAL := help
.PHONY: help run test test-programs lint deny bench bench-quick bench-growth bench-soak bench-expiry bench-gateway bench-cleanup bench-idempotency bench-micro torture fuzz docs

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## run the daemon in dev mode: no config, SQLite, loopback only
	$(CARGO) run --locked

test: test-programs ## install what the tests need, then run every test on SQLite and PostgreSQL
	$(CARGO) test --workspace --locked
	$(CARGO) test --locked --features kafka --lib kafka

test-programs: ## install the programs that the tests start (Debian, as root or with sudo)
	@scripts/install-test-programs

lint: ## formatting, clippy, the documentation's links, dependency rules, the benchmark's arithmetic
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) clippy --lib --features kafka --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --package hookonce --lib --no-deps --locked --quiet
	@scripts/check-dependencies
	@scripts/bench --self-check

deny: ## install cargo-deny and check licences, bans and sources
	$(CARGO) install --locked cargo-deny
	$(CARGO) deny --locked check bans licenses sources

bench: ## hookonce against other receivers, and its targets; 20 minutes once built (ROUNDS=5 ONLY=pattern HOOKONCE=binary)
	@scripts/bench full

bench-quick: ## one short round of `make bench`: under 3 minutes once it is built
	@scripts/bench quick

bench-growth: ## deliveries and intake with millions of rows in the tables; 30 minutes, 20 GB of disk
	@scripts/bench growth

bench-soak: ## half the highest rate for MINUTES=20: memory, bloat, p99 a minute
	@scripts/bench soak

bench-expiry: ## 5 million expired events and 2 million bodies, deleted three ways beside intake; 40 minutes, 30 GB of disk
	@scripts/bench expiry

bench-gateway: ## requests through a gateway, next to nginx, HAProxy and none
	@scripts/bench gateway

bench-cleanup: ## cleanup of expired events under load, on both databases
	@scripts/bench cleanup

bench-idempotency: ## concurrent retries, the cache of answers, and two naive recipes
	@scripts/bench idempotency

bench-micro: ## times and instructions of verifying, reading ids and encoding batches; 15 minutes to build
	@scripts/bench micro

torture: test-programs ## kill -9 the daemon and PostgreSQL ROUNDS times each under load
	HOOKONCE_TORTURE_ROUNDS=$(ROUNDS) $(CARGO) test --locked --test it -- torture --nocapture --test-threads=1
	HOOKONCE_STORM_EVENTS=10000 $(CARGO) test --locked --test it -- storm --nocapture --test-threads=1

fuzz: ## fuzz the readers, requests and events with any bytes, SECONDS=60 each; needs a C++ compiler, 15 minutes to build
	@scripts/fuzz $(SECONDS)

docs: ## write docs/providers.md anew, and build the library's documentation, warnings as errors
	$(CARGO) run --quiet --locked -- provider list --markdown > docs/providers.md
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked
