# The two commands of the README are `make run` and `make test`. Both use the release profile and the features
# that the whole workspace asks for, so that RocksDB, most of a cold build, is compiled once for both.

BIN := $(or $(CARGO_TARGET_DIR),target)/release/kontiki
UP ?=
CHAOS ?=

.PHONY: run test check fix build bench chaos

# The main job: a whole cluster on this machine. Options for it: make run UP="--no-sample --replicas 1"
run:
	@deploy/setup.sh run
	cargo build --locked --release --workspace --bin kontiki
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

# Faults of every kind against real processes for a quarter of an hour, as root, and one table of what came of it.
# Options for it: make chaos CHAOS="--minutes 3 --faults kill-leader,cut-leader --seed 7"
chaos:
	@deploy/setup.sh test
	@$(MAKE) --no-print-directory build
	$(dir $(BIN))chaos run --out $(or $(CARGO_TARGET_DIR),target)/chaos $(CHAOS)
