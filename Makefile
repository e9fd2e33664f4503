# The commands that a change must pass, and the ones run by hand.

.PHONY: test bench soak fmt lint

test: ## Everything a change must pass, in every language of the project
	@tools/test

bench: ## All benches; figures are for this machine only
	cargo build --locked --release
	cargo build --locked --release -p skysail-benches --bins
	cargo bench --locked -p skysail-benches
	cargo run --locked --release -p skysail-benches --bin overhead
	cargo run --locked --release -p skysail-benches --bin apis
	cargo run --locked --release -p skysail-benches --bin hostile
	cargo run --locked --release -p skysail-benches --bin footprint
	cargo run --locked --release -p skysail-benches --bin restart
	cargo run --locked --release -p skysail-benches --bin ranges
	cargo run --locked --release -p skysail-benches --bin rpc
	cargo run --locked --release -p skysail-benches --bin idle
	cargo run --locked --release -p skysail-benches --bin gain
	cargo run --locked --release -p skysail-benches --bin batchsim
	cargo run --locked --release -p skysail-benches --bin scenarios
	tools/bench-sdks

FUZZ_SECONDS ?= 300

soak: ## Long runs by hand: 1,000 kills, many more cases, each fuzz target, a million batches in C and Java, Miri, loom; needs nightly and cargo-fuzz
	SKYSAIL_KILLS=1000 cargo test --locked --release -p skysail-server --test kills
	PROPTEST_CASES=100000 cargo test --locked --release -p skysail-rpc -p skysail-core -p skysail-api
	RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom \
		cargo test --locked --release -p skysail-memory --lib ring
	MIRIFLAGS=-Zmiri-disable-isolation CARGO_TARGET_DIR=target/miri \
		cargo +nightly miri test --locked -p skysail-memory
	SKYSAIL_SOAK_BATCHES=1000000 container-sdk/python/tests/python -k memory
	SKYSAIL_SOAK_BATCHES=1000000 container-sdk/c/tests/c test_c.TestLife
	SKYSAIL_SOAK_BATCHES=1000000 container-sdk/jvm/tests/jvm test_jvm.TestLife
	tools/fuzz $(FUZZ_SECONDS)

fmt:
	cargo fmt --all

lint:
	cargo clippy --workspace --all-targets --locked -- -D warnings
