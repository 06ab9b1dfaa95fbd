#!/usr/bin/env bash
# Builds the guests of wasm-examples into wasm-examples/target/guests/NAME.wasm.
set -euo pipefail
cd "$(dirname "$0")/../wasm-examples"
export CARGO_TARGET_DIR=${GUEST_TARGET_DIR:-$PWD/target}
out=$PWD/target/guests
mkdir -p "$out"

put() { cmp -s "$1" "$out/$2" || install -m 644 "$1" "$out/$2"; }

cargo build --quiet --release --target wasm32-wasip2 -p hello-http -p tcp-echo -p probe -p probe-http
cargo build --quiet --release --target wasm32-wasip1 -p counter-cli -p probe
p1=$CARGO_TARGET_DIR/wasm32-wasip1/release p2=$CARGO_TARGET_DIR/wasm32-wasip2/release
put "$p2/hello_http.wasm" hello-http.wasm
put "$p2/tcp-echo.wasm" tcp-echo.wasm
put "$p2/probe_http.wasm" probe-http.wasm
put "$p2/probe.wasm" probe.wasm
put "$p1/probe.wasm" probe-p1.wasm
put "$p1/counter-cli.wasm" counter-cli.wasm
if [ fortune-c/fortune.c -nt "$out/fortune-c.wasm" ]; then
    PYTHONPATH=../.tools/python python3 -m ziglang cc -target wasm32-wasi -O2 -s -o "$out/fortune-c.wasm" fortune-c/fortune.c
fi
