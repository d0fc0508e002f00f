#!/usr/bin/env bash
# api.sh [OPERATIONS]: what the API's operations cost three replicas in processor time, and how long they take.
#
# Starts `kontiki up` without nodes, makes pods of 5 and 10 KB, and measures each operation OPERATIONS (500) times from
# one client, large lists less often, and writes of fifty clients at once; the replicas' idle use is taken off. Beside it
# stands what an upstream API server with its etcd needed on a machine of two cores for one client (3 replicas each;
# processor time of both together).
set -euo pipefail
cd "$(dirname "$0")/../.."
kontiki=${KONTIKI_BIN:-$(realpath "${CARGO_TARGET_DIR:-target}")/release/kontiki}
dir=$(mktemp -d)
"$kontiki" up --data-dir "$dir" --port-base 17443 --node none --no-sample > "$dir.up" 2>&1 &
up=$!
trap 'kill -INT $up 2>/dev/null; wait $up 2>/dev/null; rm -rf "$dir" "$dir.up"' EXIT
for _ in $(seq 600); do grep -q '^ready' "$dir.up" && break; kill -0 $up || { cat "$dir.up"; exit 1; }; sleep 0.2; done
grep '^ready' "$dir.up" || { cat "$dir.up"; exit 1; }
python3 tests/bench/api.py "$dir" "${1:-500}"
