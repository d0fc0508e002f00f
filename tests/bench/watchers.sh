#!/usr/bin/env bash
# watchers.sh [--minutes N] [--pods N] [--watchers N] [--changes N] [--protobuf]: 500 clients watch 10,000 pods of which
# 20 a second change, for half an hour: 10,000 events a second. Prints whether all arrived, how soon, and what it cost.
#
# Three replicas of Kontiki, and, where KUBE_APISERVER names upstream's API server, then three of those with an etcd
# each (ETCD, or Debian's). One after the other: both take what the machine has. Neither runs controllers, unless
# CONTROLLERS names some of ours ('*': all).
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$(realpath "${CARGO_TARGET_DIR:-target}")
kontiki=${KONTIKI_BIN:-$target/release/kontiki}
load=${WATCH_LOAD_BIN:-$target/release/watch-load}
. tests/bench/peers.sh
for program in "$kontiki" "$load"; do
  [ -x "$program" ] || { echo "watchers.sh: $program is not there: make build first" >&2; exit 1; }
done
ulimit -n "$(ulimit -Hn)"
failed=0
for peer in kontiki upstream; do
  start_peer "$peer" 17643 --controllers "${CONTROLLERS-}" || continue
  "$load" --dir "$peer_dir" --name "$peer" "$@" || failed=1
  end_peer
done
exit $failed
