#!/usr/bin/env bash
# api.sh [OPERATIONS]: what the API's operations cost three replicas in processor time, and how long they take.
#
# Starts three replicas without nodes, makes pods of 5 and 10 KB, and measures each operation OPERATIONS (500) times from
# one client, large lists less often, and writes of fifty clients at once; the replicas' idle use is taken off. Where
# KUBE_APISERVER names upstream's API server, three of those with an etcd each do the same, in turns, twice each, and a
# table compares the medians. Upstream's run no controllers, and so ours run none unless CONTROLLERS names some
# (CONTROLLERS='*': all). Otherwise beside ours stands what upstream needed on another machine of two cores.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$(realpath "${CARGO_TARGET_DIR:-target}")
kontiki=${KONTIKI_BIN:-$target/release/kontiki}
. tests/bench/peers.sh
runs=$(mktemp)
trap 'end_peer; rm -f "$runs"' EXIT
rounds='kontiki'
if upstream_is_there; then rounds='kontiki upstream kontiki upstream'; fi
for peer in $rounds; do
  start_peer "$peer" 17443 --controllers "${CONTROLLERS-}"
  echo "$peer:"
  python3 tests/bench/api.py "$peer_dir" "${1:-500}" "$peer" "$runs"
  end_peer
done
if [ "$rounds" != kontiki ]; then python3 tests/bench/api.py compare "$runs"; fi
