# Vitrine's front door. `make help` lists what it can do; each target installs what it needs (conf/install.sh).

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export PATH := $(PATH):$(HOME)/.cargo/bin
export CARGO_TERM_COLOR ?= auto

TIME ?= 600
CASES ?= 6000
MINUTES ?= 60
HOURS ?= 24
MOBILE_MINUTES ?= 10
LADDER_MINUTES ?= 30
fuzz_targets = $(sort $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs))))

##@ Try it

.PHONY: demo
demo: ## Build, start the daemon and a test broadcast, print the addresses (ports: RTMP_PORT, HTTP_PORT, CONTROL_PORT)
	@conf/install.sh demo
	$(MAKE) assets
	cargo build --release --locked
	exec conf/demo.sh target/release/vitrine

.PHONY: run
run: build-release ## Run the daemon alone (CONFIG=conf/vitrine.toml)
	exec target/release/vitrine --config $(or $(CONFIG),conf/vitrine.toml)

##@ Build

.PHONY: build build-release build-passthrough
build: ## Build everything, tests included (debug)
	@conf/install.sh build
	cargo build --workspace --all-targets --locked

build-release: ## Build the daemon for use
	@conf/install.sh build
	cargo build --release --locked

build-passthrough: ## The same without the ladder: needs no FFmpeg and links none (README: "Licence")
	@conf/install.sh passthrough
	cargo build --release --locked --no-default-features

.PHONY: deb
deb: build-release assets ## Debian package of the daemon, in target/debian
	@conf/install.sh deb
	cargo deb --no-build --locked

.PHONY: assets
assets: examples/player/hls.min.js ## Fetch hls.js from npm and put it beside the player page

examples/player/hls.min.js: examples/package-lock.json
	@conf/install.sh demo
	npm ci --prefix examples --no-progress --silent
	cp examples/node_modules/hls.js/dist/hls.min.js $@
	touch $@

tests/browser/node_modules tests/oracle/node_modules: %/node_modules: %/package-lock.json
	npm ci --prefix $* --no-progress --silent
	touch $@

##@ Test

# One group after another, each timed; the first that fails ends the run. Budget: 30 minutes cold on 2 cores.
.PHONY: test
test: ## Everything: set-up, build, lint, Rust tests, ladder, without FFmpeg, browser, corpora; prints minutes per group
	@report=
	for group in setup build lint rust ladder passthrough browser corpora; do
		printf '\n== %s\n' "$$group"
		began=$$SECONDS
		status=0
		$(MAKE) "test-$$group" || status=$$?
		took=$$((SECONDS - began))
		report+=$$(printf '  %-11s %2d min %02d s' "$$group" $$((took / 60)) $$((took % 60)))
		if ((status)); then
			printf '\n%s  FAILED\n' "$$report"
			exit "$$status"
		fi
		report+=$$'\n'
	done
	printf '\n%s  %-11s %2d min %02d s\nall groups passed\n' "$$report" total $$((SECONDS / 60)) $$((SECONDS % 60))

.PHONY: test-setup test-build test-lint test-rust test-ladder test-passthrough test-browser test-corpora
test-setup:
	@conf/install.sh test
	$(MAKE) assets tests/browser/node_modules tests/oracle/node_modules

test-build:
	cargo test --workspace --locked --no-run

test-lint: lint

# More threads than cores: they wait more than they work.
test-rust: # unit tests, then the real binary driven by ffmpeg, GStreamer and our own publisher
	cargo test --workspace --exclude vitrine-fuzz --locked -- --skip browser:: $(encoded:%=--skip ladder::%::) --test-threads=4

# What has encoders at work is run by itself, so that nothing else takes their CPU; it sees to it that few work at once.
encoded = bitrates carried changes leaks shapes slate sound timed
test-ladder: # modules of the integration tests
	@$(call need_tests,--test it ladder::shapes::)
	cargo test --locked --test it -- $(encoded:%=ladder::%::) --test-threads=8

test-passthrough: # the daemon without FFmpeg: what it links, what it refuses, and that it serves
	@$(call need_tests,--no-default-features --test it passthrough::)
	cargo clippy --no-default-features --all-targets --locked -- -D warnings
	cargo test --no-default-features --locked --lib -- app::
	cargo test --no-default-features --locked --test it -- passthrough:: conf:: control:: publish::

test-browser: # a module of the integration tests
	@$(call need_tests,--test it browser::)
	node --test tests/browser/*.test.mjs
	cargo test --locked --test it browser:: -- --test-threads=1

test-corpora: # the fuzz targets' bodies over every committed input, on stable
	@$(call need_tests,--package vitrine-fuzz)
	cargo test --locked --package vitrine-fuzz

# A group without a single test is a failure, not a success.
need_tests = cargo test --locked $(1) -- --list 2>/dev/null | grep ': test$$' >/dev/null || { echo "no test: $(1)" >&2; exit 1; }

.PHONY: lint
lint: ## Formatting, clippy and docs, warnings are errors; syntax of the scripts
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --workspace --no-deps --locked --document-private-items
	for script in conf/*.sh conf/deb/* tests/it/*.sh .ci/run; do bash -n "$$script"; done
	for script in examples/player/{player,latency,shop,vitrine-events}.js examples/*.mjs tests/*/*.mjs; do node --check "$$script"; done

.PHONY: fuzz $(fuzz_targets:%=fuzz-%)
fuzz: $(fuzz_targets:%=fuzz-%) ## Fuzz each target for TIME seconds (600), or one of them: make fuzz-<target>

$(fuzz_targets:%=fuzz-%): fuzz-%: # libFuzzer wants unstable flags: a nightly toolchain, or the stable one told to accept them
	@conf/install.sh fuzz
	if rustup toolchain list 2>/dev/null | grep -q ^nightly; then nightly=+nightly; else nightly=; export RUSTC_BOOTSTRAP=1; fi
	cargo $$nightly fuzz run --features libfuzzer $* -- -max_total_time=$(TIME) -timeout=10 -rss_limit_mb=2048

##@ Measure

.PHONY: soak soak-ladder soak-memcheck model
soak: ## HOURS (24) of the core on a virtual clock, then MINUTES (60) of publishers, viewers and hostile neighbours: flat?
	@conf/install.sh proof
	MODEL_HOURS=$(HOURS) cargo test --locked --package vitrine-core --lib -- day::an_hour --nocapture
	cargo bench --locked --bench proof -- soak $(MINUTES)

soak-ladder: ## LADDER_MINUTES (30) with encoders at work: sizes that change each minute, lost packets, reconnects: flat?
	@conf/install.sh proof
	cargo bench --locked --bench proof -- soak-ladder $(LADDER_MINUTES)

soak-memcheck: ## The same small, for two minutes, with the unoptimized daemon under valgrind: clean?
	@conf/install.sh proof
	cargo bench --locked --profile dev --bench proof -- soak-memcheck 2

model: ## Random broadcasts against the model player, about a hundred a minute (CASES=6000: about an hour)
	@conf/install.sh build
	MODEL_CASES=$(CASES) cargo test --locked --package vitrine-core --lib -- model::every_playlist --nocapture

.PHONY: bench
bench: ## Criterion benchmarks
	@conf/install.sh build
	cargo bench --locked

.PHONY: proof-latency
proof-latency: build-release assets tests/browser/node_modules ## Part and glass-to-glass latency, measured (README: "Measured")
	@conf/install.sh test
	node tests/proof/latency.mjs

.PHONY: proof-ladder
proof-ladder: build-release assets tests/browser/node_modules ## The ladder beside ffmpeg commands: CPU, SSIM, delay, then glass to glass (ARGS="cost sources=1080")
	@conf/install.sh proof
	cargo bench --locked --bench proof -- ladder $(ARGS)
	[[ -n "$(ARGS)" ]] || node tests/proof/latency.mjs ladder 20

# Code of FFmpeg's is too long for valgrind's buffers in one piece.
valgrind = valgrind --vex-guest-max-insns=20 --error-exitcode=9 --leak-check=full --show-leak-kinds=definite
.PHONY: proof-decode
proof-decode: ## Mutated access units into the ladder for MINUTES (30); one round again: ARGS="rounds=1 seed=N"; VALGRIND=1
	@conf/install.sh proof
	cargo bench --locked --profile dev --bench proof $(if $(VALGRIND),--config 'target."cfg(all())".runner = "$(valgrind)"') -- \
		decode minutes=$(if $(filter file,$(origin MINUTES)),30,$(MINUTES)) $(ARGS)

.PHONY: proof-mobile
proof-mobile: assets tests/browser/node_modules ## hls.js through a narrow, shaky link (MOBILE_MINUTES=10 per row; README: "For phones")
	@conf/install.sh proof
	cargo bench --locked --bench proof -- mobile $(MOBILE_MINUTES)

.PHONY: proof-edge
proof-edge: ## 500 viewers through Varnish, nginx and none: requests at the origin, added latency, CPU (VIEWERS=500)
	@conf/install.sh proof
	ulimit -n $$(ulimit -H -n)
	cargo bench --locked --bench proof -- edge $(or $(VIEWERS),500)

.PHONY: proof-outbox
proof-outbox: ## Durable callbacks a second beside synced appends; first attempts beside dead endpoints (ARGS="runs=5 seconds=20")
	@conf/install.sh proof
	cargo bench --locked --bench proof -- outbox $(ARGS)

.PHONY: proof-admission
proof-admission: ## 200 publishers ask a backend in one second; 5,000 wrong keys beside good ones (ARGS="rush=200 flood=5000")
	@conf/install.sh proof
	cargo bench --locked --bench proof -- admission $(ARGS)

.PHONY: proof-events
proof-events: assets tests/browser/node_modules ## Events: once and at their pictures in hls.js, all tellings alike, answers, cost (ARGS="answers seconds=5")
	@conf/install.sh proof
	cargo bench --locked --bench proof -- events $(ARGS)

# Rushls, a peer, is installed outside the tree unless RUSHLS names it.
peers_dir = $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/vitrine/peers

.PHONY: proof-peers
proof-peers: ## Beside nginx-rtmp and Rushls: ingest, viewers, floods, files, waiters (ARGS="viewers runs=5")
	@conf/install.sh proof
	if [[ -z $${RUSHLS:-} && ! -x $(peers_dir)/bin/rushls ]]; then
		cargo install rushls --version '^0.2' --locked --ignore-rust-version --root $(peers_dir)
	fi
	cargo bench --locked --bench proof -- peers $(ARGS)

##@ House

.PHONY: clean
clean: ## Remove everything that was built or fetched
	cargo clean
	rm -rf examples/node_modules examples/player/hls.min.js tests/browser/node_modules tests/oracle/node_modules

.PHONY: help
help: ## This list
	@awk 'BEGIN { FS = ":.*## "; print "usage: make <target>" }
	/^##@/ { printf "\n%s\n", substr($$0, 5) }
	/^[a-z-]+:.*## / { printf "  \033[1m%-17s\033[0m %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
