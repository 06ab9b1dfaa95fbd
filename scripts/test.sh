#!/usr/bin/env bash
# Runs all tests: by cargo-nextest where it is there (quicker), else by cargo itself.
set -euo pipefail
cd "$(dirname "$0")/.."
if cargo nextest --version >/dev/null 2>&1; then
    exec cargo nextest run --locked --workspace --no-fail-fast "$@"
fi
exec cargo test --locked --workspace --no-fail-fast "$@"
