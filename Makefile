# The index of commands. CI calls the same ones.

.PHONY: help run dist chat cluster faults attack servers test fuzz lint fmt bench measure lab k6 doc clean

help: ## This list
	@grep -E '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9]+):.*## /\1|/' | column -t -s '|'

run: ## Start one node on http://127.0.0.1:8080 with its data in ./data
	cargo run --release --locked -p pabal-cli --no-default-features -- serve --listen 127.0.0.1:8080 --data data

PACKAGE = $(or $(CARGO_TARGET_DIR),target)/package

dist: ## The program for packages and images, its line tables in a file beside it: target/package/pabal, pabal.debug
	cargo build --profile dist --locked -p pabal-cli
	mkdir -p $(PACKAGE)
	objcopy --only-keep-debug --compress-debug-sections $(PACKAGE)/../dist/pabal $(PACKAGE)/pabal.debug
	objcopy --strip-debug --add-gnu-debuglink=$(PACKAGE)/pabal.debug $(PACKAGE)/../dist/pabal $(PACKAGE)/pabal

chat: ## The terminal client on that node: make chat ARGS="--user ann --sign-up"
	cargo run --release --locked -p pabal-cli --no-default-features --features chat -- chat $(ARGS)

cluster: servers ## Redis, PostgreSQL, Cassandra and three nodes on loopback, until Ctrl-C
	cargo build --release --locked -p pabal-cli
	cargo run --release --locked -p pabal-tests --bin cluster

faults: servers ## A cluster under load meets faults: make faults SEED=1 DURATION=60s (without: each kind once)
	cargo run --locked -p pabal-tests --bin faults -- $(if $(SEED),--seed $(SEED)) \
		$(if $(DURATION),--duration $(DURATION)) $(if $(CORRUPTION),--corruption $(CORRUPTION))

attack: ## Attacks on one node, and 1,000 damaged disks; the table is for docs/reliability.md: make attack ATTACKS=typing (12 minutes)
	$(if $(ATTACKS),,PABAL_DAMAGE_TRIALS=1000 cargo test --locked -p pabal-storage --test damage -- --nocapture)
	cargo run --profile dist --locked -p pabal-tests --bin attack -- $(ATTACKS)

servers: ## Install what tests run against: Redis, PostgreSQL, Cassandra (as root, on Debian; else says what to do), k6
	tests/servers/install.sh

# Each of these is run once by the tests, so that none breaks unseen; `ports` needs servers.
BENCHES = codec ids session log_and_store fanout transports

test: servers ## Everything that must hold: unit, contract, property, end-to-end, server and crash tests
	cargo test --workspace --locked
	cargo test --locked --quiet -p pabal-cli --no-default-features --test small_build
	cargo test --locked --quiet -p pabal-benches $(BENCHES:%=--bench %)

# A target is a module `fuzz`, or several, whose tests begin with its name.
FUZZ = commands stored configuration websocket readers
FUZZ_TESTS = --lib --test api --test commands --test config

fuzz: ## Each fuzz target for a minute, side by side (PABAL_FUZZ_SECONDS=… for another time)
	cargo test --workspace --locked $(FUZZ_TESTS) --no-run
	@$(MAKE) --no-print-directory --jobs=$(words $(FUZZ)) $(FUZZ:%=fuzz-%)

fuzz-%:
	PABAL_FUZZ_SECONDS=$${PABAL_FUZZ_SECONDS:-60} \
		cargo test --workspace --locked $(FUZZ_TESTS) --quiet \
		fuzz::$* -- --test-threads=8 --nocapture

CARGO_DENY = 0.20.2

lint: ## Format, clippy, documentation and dependency policy, warnings denied
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
	cargo clippy --locked -p pabal-cli --no-default-features -- -D warnings
	@cargo deny --version 2>/dev/null | grep -qx "cargo-deny $(CARGO_DENY)" || \
		cargo install --quiet --debug --force --locked cargo-deny --version $(CARGO_DENY)
	cargo deny --all-features check bans licenses sources
	@# The RustSec database, and which crates were yanked, come from elsewhere.
	@if timeout 60 cargo deny fetch db index >/dev/null 2>&1; then \
		cargo deny --all-features check advisories; \
	else \
		echo "advisories and yanked crates not checked: the RustSec database cannot be fetched"; \
	fi

fmt: ## Format everything
	cargo fmt --all

bench: ## criterion: codec, ids, mailbox, log and store, ports embedded and on servers, fan-out, read paths
	cargo bench --locked -p pabal-benches

measure: ## The whole server against the figures it promises, with progress (about 12 minutes)
	cargo build --profile dist --locked -p pabal-cli
	cargo run --profile dist --locked -p pabal-benches --bin measure -- all

lab: ## What each transport costs: measures all of them side by side, and draws lab/report.html (15 minutes; QUICK=1: 2)
	cargo run --profile dist --locked -p pabal-cli -- lab $(if $(QUICK),--quick)

k6: ## k6 on every transport, on a node of its own: make k6 SCENARIO=spike VUS=100 (BASE_URL=… for another)
	$(if $(BASE_URL),,cargo build --profile dist --locked -p pabal-cli)
	benches/k6/run.sh $(SCRIPTS)

doc: ## The documentation of the crates
	cargo doc --workspace --no-deps --locked --open

clean: ## Remove what builds made; the data of `make run` stays
	cargo clean
