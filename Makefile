# `make help` lists what there is.

.DEFAULT_GOAL := help
.PHONY: help run dev check test web

help: ## Lists these commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1	\2/' | expand -t 16

web/node_modules: web/package-lock.json
	@echo "== web: packages"; cd web && npm ci --ignore-scripts --no-fund --no-audit --loglevel=error
	@touch web/node_modules

web: web/node_modules ## Builds the web client
	@echo "== web: build"; cd web && npm run --silent build

run: web ## Builds and starts the whole chat in one process, at http://127.0.0.1:3000
	@echo "== building parlor"; cargo run --release

dev: web ## Two gateways, two room services and a private Redis, for hacking
	@tools/dev

check: web/node_modules ## Format, lints, types and docs
	@echo "== format"; cargo fmt --all --check
	@echo "== clippy"; cargo clippy --workspace --all-targets --locked -- -D warnings
	@echo "== docs"; RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --document-private-items
	@echo "== web: types and lints"; cd web && npm run --silent check
	@echo "== web: generated types"; cd web && npm run --silent generate && git diff --exit-code --stat src/gen
	@echo "== proto: lint"; cd web && npx --no-install buf lint ../proto

test: web/node_modules ## All tests; installs redis-server from Debian's packages if it is missing and it may
	@command -v redis-server >/dev/null || { echo "== installing redis-server"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq redis-server >/dev/null; } \
		|| { echo "redis-server is needed for the tests: apt-get install redis-server"; exit 1; }
	@echo "== rust"; cargo test --workspace --locked
	@echo "== web"; cd web && npm run --silent test
