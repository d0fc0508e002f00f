#!/usr/bin/env bash
# density.sh [NODES] [PODS]: how fast a Deployment fills hollow nodes, and what that costs.
#
# Starts `kontiki up` with NODES (200) hollow nodes, makes a Deployment of PODS (2000) replicas, waits until all
# are Ready, and prints pods/s, latency per verb (p50, p99, from the servers' own histograms) and resident memory
# per replica. All of it shares this machine: load figures are printed with the result.
set -euo pipefail
cd "$(dirname "$0")/../.."
nodes=${1:-200} pods=${2:-2000}
target=$(realpath "${CARGO_TARGET_DIR:-target}")
kontiki=${KONTIKI_BIN:-$target/release/kontiki}
. tests/bench/peers.sh
start_peer kontiki 16443 --hollow-nodes "$nodes"
python3 tests/bench/density.py "$peer_dir" "$pods"
