#!/usr/bin/env bash
# run.sh [ARGUMENT...]: Kontiki and an upstream API server (KUBE_APISERVER), asked the same thousands of requests.
#
# Arguments go to differential.py (see there): `--only pods --out pods.jsonl`. Everything is made anew and goes at the end.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}
kontiki=${KONTIKI_BIN:-$target/release/kontiki}
. tests/bench/peers.sh
upstream_is_there || exit 1
work=$(mktemp -d)
pids=()
end() {
  kill -TERM "${pids[@]}" 2>/dev/null || true
  wait "${pids[@]}" 2>/dev/null || true
  rm -rf "$work"
}
trap end EXIT
trap 'exit 1' INT TERM
# Nothing of ours is to change what was created: no controller that does runs. Upstream's default is no privileged pods.
"$kontiki" up --data-dir "$work/ours" --port-base 27100 --replicas 1 --node none --no-sample \
  --controllers bootstrapsigner --allow-privileged=false > "$work/ours.out" 2>&1 &
pids+=($!)
await_ready "$work/ours.out" "${pids[0]}"
mkdir "$work/theirs"
tests/bench/upstream.sh "$work/theirs" 28200 1 > "$work/theirs.out" 2>&1 &
pids+=($!)
await_ready "$work/theirs.out" "${pids[1]}"
python3 tests/differential/differential.py "$work/ours/admin-1.kubeconfig" "$work/theirs/admin-1.kubeconfig" "$@"
