#!/usr/bin/env bash
# run.sh [ARGUMENT...]: Kontiki and an upstream API server (KUBE_APISERVER), asked the same thousands of requests.
#
# Arguments go to differential.py (see there): `--only pods --out pods.jsonl`. Everything is made anew and goes at the end.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}
kontiki=${KONTIKI_BIN:-$target/release/kontiki}
work=$(mktemp -d)
pids=()
end() {
  kill -TERM "${pids[@]}" 2>/dev/null || true
  wait "${pids[@]}" 2>/dev/null || true
  rm -rf "$work"
}
trap end EXIT
trap 'exit 1' INT TERM
. tests/bench/peers.sh
trap end EXIT
upstream_is_there || exit 1

# ready FILE PID: until a line of it says so.
ready() {
  for _ in $(seq 600); do
    if grep -q '^ready' "$1"; then return 0; fi
    kill -0 "$2" 2>/dev/null || break
    sleep 0.2
  done
  cat "$1" >&2
  exit 1
}
# Nothing of ours is to change what was created: no controller that does runs.
"$kontiki" up --data-dir "$work/ours" --port-base 27100 --replicas 1 --node none --no-sample \
  --controllers bootstrapsigner > "$work/ours.out" 2>&1 &
pids+=($!)
ready "$work/ours.out" "${pids[0]}"
mkdir "$work/theirs"
tests/bench/upstream.sh "$work/theirs" 28200 1 > "$work/theirs.out" 2>&1 &
pids+=($!)
ready "$work/theirs.out" "${pids[1]}"
python3 tests/differential/differential.py "$work/ours/admin-1.kubeconfig" "$work/theirs/admin-1.kubeconfig" "$@"
