# `make help` lists what there is.

.DEFAULT_GOAL := help
.PHONY: bots help run dev check test guard guard-accept http-door deploy-check deploy-test chaos bench web

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

# A test that needs a program from Debian's packages installs it where it may, else says what to install.
define need
	@command -v $(1) >/dev/null || { echo "== installing $(2)"; apt-get update -qq \
		&& DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(2) >/dev/null; } \
		|| { echo "$(1) is needed for the tests: apt-get install $(2)"; exit 1; }
endef

# Python's own packages come into a folder of their own under target/.
define need-venv
	@python3 -c 'import venv, ensurepip' 2>/dev/null || { apt-get update -qq \
		&& apt-get install -y -qq python3-venv >/dev/null; } || { echo "apt-get install python3-venv"; exit 1; }
endef

# The bot in Python, and what it is tested with.
bots-python := $(or $(CARGO_TARGET_DIR),target)/bots-python
$(bots-python): bots/python/requirements.txt proto/chat/v1/chat.proto
	$(need-venv)
	@echo "== bots: packages"; python3 -m venv $@ && $@/bin/pip install --quiet -r bots/python/requirements.txt
	@mkdir -p $@/gen && $@/bin/python -m grpc_tools.protoc -I proto --python_out=$@/gen --grpc_python_out=$@/gen \
		chat/v1/chat.proto
	@touch $@

bots: $(bots-python) ## Sets up the bot in Python, for its test and to try it

test: web bots ## All tests; installs redis-server, chromium and valgrind from Debian's packages if they are missing and it may
	$(call need,redis-server,redis-server)
	$(call need,chromium,chromium fonts-noto-core fonts-noto-color-emoji)
	@echo "== rust"; cargo test --workspace --locked
	@$(MAKE) --no-print-directory guard
	@$(MAKE) --no-print-directory http-door
	@echo "== web"; cd web && npm run --silent test
	@echo "== browsers"; cargo build --workspace --bins --locked && cd web && npm run --silent e2e
	@echo "== chaos, the short form"; cargo run --quiet --locked -p chaos -- --short

guard: ## Whether a message costs more instructions than is written down in bench/cost.txt
	$(call need,valgrind,--no-install-recommends valgrind)
	@echo "== guard"; tools/guard

guard-accept: ## Writes down what a message costs now
	$(call need,valgrind,--no-install-recommends valgrind)
	@tools/guard accept

deploy-check: ## What deploy/ says, checked without a cluster; its tools go into target/deploy
	$(need-venv)
	$(call need,redis-server,redis-server)
	@echo "== deploy"; deploy/tests/tools target/deploy && cargo build --quiet --locked -p gateway -p room-service --bins
	@PYTHONDONTWRITEBYTECODE=1 target/deploy/venv/bin/python -m pytest -q -rs -p no:cacheprovider deploy/tests

deploy-test: web ## compose.yaml brought up, broken and rolled while a crowd talks; needs Docker, or root to start it. LONG=1: also 9,000 idle clients
	$(call need,redis-server,redis-server)
	$(call need,haproxy,haproxy)
	$(call need,nginx,nginx-light)
	@echo "== deploy, for real"; deploy/tests/run $(if $(LONG),--long) $(if $(ONLY),--only "$(ONLY)")

target/schemathesis/ready: e2e/schemathesis/requirements.txt
	$(need-venv)
	@echo "== http: packages"; python3 -m venv target/schemathesis \
		&& target/schemathesis/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

http-door: target/schemathesis/ready ## Requests made up from /openapi.json, against a real parlor; part of make test
	@echo "== http: what /openapi.json says"; cargo build --quiet --locked -p parlor \
		&& e2e/schemathesis/run $${CARGO_TARGET_DIR:-target}/debug/parlor target/schemathesis/bin/schemathesis

chaos: ## Every fault, injected for real under load, with a table; SEED=n repeats a run
	$(call need,redis-server,redis-server)
	$(call need,iptables,iptables iproute2)
	@ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || { apt-get update -qq \
		&& apt-get install -y -qq libfaketime >/dev/null; } || { echo "apt-get install libfaketime"; exit 1; }
	cargo build --workspace --bins --locked && cargo run --quiet --locked -p chaos -- $(if $(SEED),--seed $(SEED))

bench/sample/node_modules: bench/sample/package-lock.json
	@echo "== bench: packages of the sample"; cd bench/sample && npm ci --ignore-scripts --no-fund --no-audit --loglevel=error
	@touch bench/sample/node_modules

bench: bench/sample/node_modules ## What a delivery costs beside the floor of this machine; ONLY=one-room measures only that
	$(call need,redis-server,redis-server)
	@echo "== building"; cargo build --release --locked -p gateway -p room-service --bins --example append
	cargo run --release --quiet --locked -p bench -- $(if $(ONLY),--only $(ONLY))
