#!/usr/bin/env bash
# density.sh [NODES] [PODS]: how fast a Deployment fills hollow nodes, and what that costs.
#
# Starts `kontiki up` with NODES (200) hollow nodes, makes a Deployment of PODS (2000) replicas, waits until all
# are Ready, and prints pods/s, latency per verb (p50, p99, from the servers' own histograms) and resident memory
# per replica. All of it shares this machine: load figures are printed with the result.
set -euo pipefail
cd "$(dirname "$0")/../.."
nodes=${1:-200} pods=${2:-2000}
kontiki=${KONTIKI_BIN:-$(realpath "${CARGO_TARGET_DIR:-target}")/release/kontiki}
dir=$(mktemp -d)
"$kontiki" up --data-dir "$dir" --port-base 16443 --node none --hollow-nodes "$nodes" --no-sample > "$dir.up" 2>&1 &
up=$!
trap 'kill -INT $up 2>/dev/null; wait $up 2>/dev/null; rm -rf "$dir" "$dir.up"' EXIT
for _ in $(seq 600); do grep -q '^ready' "$dir.up" && break; kill -0 $up || { cat "$dir.up"; exit 1; }; sleep 0.2; done
grep '^ready' "$dir.up" || { cat "$dir.up"; exit 1; }
python3 tests/bench/density.py "$dir" "$pods"
