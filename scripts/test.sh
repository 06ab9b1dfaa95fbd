#!/usr/bin/env bash
# Runs all tests: units beside the code, then the end-to-end tests over the real binary.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo test --locked --workspace --lib --bins --quiet
cargo test --locked --workspace --test e2e
