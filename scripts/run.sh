#!/usr/bin/env bash
# Brings a cluster up, deploys the demo, prints its URL, and stays until it is interrupted.
#
#   run.sh CORACLE DATA-DIR
set -euo pipefail
coracle=$1 data=$2
cd "$(dirname "$0")/.."
mkdir -p "$data"
kubectl=$PWD/.tools/bin/kubectl
[ -x "$kubectl" ] || kubectl=kubectl
command -v "$kubectl" >/dev/null || { scripts/setup.sh test; kubectl=$PWD/.tools/bin/kubectl; }
export KUBECONFIG=$data/admin.kubeconfig

# The cluster says when it is up; its end, before that, ends the pipe.
coproc UP { exec "$coracle" up --data-dir "$data" "${@:3}"; }
up=$UP_PID
trap 'kill "$up" 2>/dev/null; wait "$up" 2>/dev/null || true' EXIT
while read -r line <&"${UP[0]}"; do
    echo "$line"
    case $line in "export KUBECONFIG="*) ready=yes; break ;; esac
done
[ "${ready:-}" = yes ] || exit 1

"$coracle" image import wasm-examples/target/guests/hello-http.wasm --name coracle.local/hello-http:v1 --data-dir "$data"
"$kubectl" apply -f wasm-examples/hello-http/hello-http.yaml
"$kubectl" rollout status deployment/hello-http --timeout=60s
echo
echo "The demo answers:  curl http://127.0.0.1:30080/"
echo "Your cluster:      export KUBECONFIG=$data/admin.kubeconfig"
echo "Ctrl-C stops it; its state stays in $data"
wait "$up"
