# The two commands of the README are `make run` and `make test`.

TARGET := $(or $(CARGO_TARGET_DIR),target)
BIN := $(TARGET)/release/kontiki
# RocksDB is compiled by deploy/rocksdb.sh, once for all profiles; its crate only links it.
export ROCKSDB_LIB_DIR := $(abspath $(TARGET))/rocksdb
export ROCKSDB_STATIC := 1
UP ?=
CHAOS ?=

.PHONY: run test check fix build bench chaos

# The main job: a whole cluster on this machine. Options for it: make run UP="--no-sample --replicas 1"
run:
	@deploy/setup.sh run
	@deploy/rocksdb.sh $(ROCKSDB_LIB_DIR)
	cargo build --locked --release --workspace --bin kontiki
	$(BIN) up $(UP)

# Everything: checks, unit tests, and whole-system tests with real clients.
test:
	@deploy/setup.sh test
	@deploy/rocksdb.sh $(ROCKSDB_LIB_DIR)
	tests/run.sh

build:
	@deploy/rocksdb.sh $(ROCKSDB_LIB_DIR)
	cargo build --locked --release --workspace --bins

# Reads only.
check:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

# Writes what `check` complains of, and golden files.
fix:
	cargo fmt --all
	cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged
	@deploy/rocksdb.sh $(ROCKSDB_LIB_DIR)
	UPDATE_EXPECT=1 cargo test --profile tests --workspace --lib

bench: build
	tests/bench/density.sh
	tests/bench/api.sh

# Faults of every kind against real processes for a quarter of an hour, as root, and one table of what came of it.
# Options for it: make chaos CHAOS="--minutes 3 --faults kill-leader,cut-leader --seed 7"
chaos:
	@deploy/setup.sh test
	@$(MAKE) --no-print-directory build
	$(dir $(BIN))chaos run --out $(TARGET)/chaos $(CHAOS)
