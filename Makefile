# make run     builds Coracle, brings a cluster up and deploys the demo
# make test    passes the tests
# make verify  what a reviewer wants to know, reads only: format, lints, docs, dependency edges
# make fix     rewrites what a tool can put right
# make bench   measures the cluster that `make run` brought up
#
# Compiled code goes outside the checkout, so that clones share it.
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/coracle/target
export GUEST_TARGET_DIR ?= $(CARGO_TARGET_DIR)/guests
CORACLE := $(CARGO_TARGET_DIR)/debug/coracle
DATA ?= $(CURDIR)/data

.PHONY: run build guests test verify fix bench clean

run: build guests
	@scripts/run.sh "$(CORACLE)" "$(DATA)"

build:
	@scripts/setup.sh build
	@cargo build --locked --workspace

guests:
	@scripts/setup.sh build
	@scripts/guests.sh

test:
	@scripts/setup.sh test
	@scripts/guests.sh
	@scripts/test.sh

verify:
	@cargo fmt --all --check
	@cargo clippy --locked --workspace --all-targets --quiet -- -D warnings
	@RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet

fix:
	@cargo fmt --all
	@cargo clippy --locked --workspace --all-targets --fix --allow-dirty --allow-staged

# Measures a cluster that runs (`make run` in another terminal): its figures go to bench/results.
bench:
	@cargo build --locked --workspace
	@"$(CARGO_TARGET_DIR)/debug/bench" first-answer crash pods api idle --kubeconfig "$(DATA)/admin.kubeconfig"

clean:
	@rm -rf "$(DATA)"
