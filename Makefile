# make run     builds Coracle and runs a server
# make test    passes the tests
# make verify  what a reviewer wants to know, reads only: format, lints, docs, dependency edges
# make fix     rewrites what a tool can put right
#
# Compiled code goes outside the checkout, so that clones share it.
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/coracle/target
export GUEST_TARGET_DIR ?= $(CARGO_TARGET_DIR)/guests
CORACLE := $(CARGO_TARGET_DIR)/debug/coracle
DATA ?= $(CURDIR)/data

.PHONY: run build guests test verify fix clean

run: build
	@"$(CORACLE)" server --data-dir "$(DATA)"

build:
	@scripts/setup.sh build
	@cargo build --locked

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

clean:
	@rm -rf "$(DATA)"
