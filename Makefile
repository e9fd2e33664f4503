# The commands that a change must pass, and the ones run by hand.

.PHONY: test bench soak fmt lint

test: ## Everything a change must pass, in every language of the project
	@tools/test

bench: ## All benches; figures are for this machine only
	cargo build --locked --release
	cargo bench --locked -p skysail-benches
	cargo run --locked --release -p skysail-benches --bin overhead
	cargo run --locked --release -p skysail-benches --bin footprint
	cargo run --locked --release -p skysail-benches --bin restart
	cargo run --locked --release -p skysail-benches --bin ranges
	cargo run --locked --release -p skysail-benches --bin rpc

soak: ## Long runs by hand: property tests with many more cases
	PROPTEST_CASES=100000 cargo test --locked --release -p skysail-rpc -p skysail-core -p skysail-api

fmt:
	cargo fmt --all

lint:
	cargo clippy --workspace --all-targets --locked -- -D warnings
