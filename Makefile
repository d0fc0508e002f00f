# The two commands of the README are `make run` and `make test`. Both use the release profile, so that
# RocksDB, most of a cold build, is compiled once for both.

BIN := $(or $(CARGO_TARGET_DIR),target)/release/kontiki
UP ?=

.PHONY: run test check fix build bench

# The main job: a whole cluster on this machine. Options for it: make run UP="--no-sample --replicas 1"
run:
	@deploy/setup.sh run
	cargo build --locked --release --package kontiki --bin kontiki
	$(BIN) up $(UP)

# Everything: checks, unit tests, and whole-system tests with real clients.
test:
	@deploy/setup.sh test
	tests/run.sh

build:
	cargo build --locked --release --workspace --bins

# Reads only.
check:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

# Writes what `check` complains of, and golden files.
fix:
	cargo fmt --all
	cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged
	UPDATE_EXPECT=1 cargo test --release --workspace --lib

bench: build
	tests/bench/density.sh
