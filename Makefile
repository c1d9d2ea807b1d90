# `make help` lists what there is.

.DEFAULT_GOAL := help
.PHONY: help run check test

help: ## Lists these commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1	\2/' | expand -t 16

run: ## Builds and starts the whole chat in one process, at http://127.0.0.1:3000
	cargo run --release

check: ## Format, lints and docs
	@echo "== format"; cargo fmt --all --check
	@echo "== clippy"; cargo clippy --workspace --all-targets --locked -- -D warnings
	@echo "== docs"; RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --document-private-items

test: ## All tests; installs redis-server from Debian's packages if it is missing and it may
	@command -v redis-server >/dev/null || { echo "== installing redis-server"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq redis-server >/dev/null; } \
		|| { echo "redis-server is needed for the tests: apt-get install redis-server"; exit 1; }
	@echo "== rust"; cargo test --workspace --locked
