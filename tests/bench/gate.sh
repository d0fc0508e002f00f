#!/usr/bin/env bash
# gate.sh [ROUNDS]: what the gate in front of the store costs. Two clusters of three replicas beside each other, both with
# 500 roles, 2,000 bindings and a quota: one records requests and encrypts Secrets and ConfigMaps, the other does neither.
# They are loaded in turns, ROUNDS (7) times each, by a ServiceAccount with a token.
set -euo pipefail
cd "$(dirname "$0")/../.."
kontiki=${KONTIKI_BIN:-$(realpath "${CARGO_TARGET_DIR:-target}")/release/kontiki}
dir=$(mktemp -d)
cat > "$dir/encryption.yaml" <<END
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets, configmaps]
  providers: [{secretbox: {keys: [{name: a, secret: $(head -c 32 /dev/urandom | base64)}]}}]
END
start() {
  "$kontiki" up --data-dir "$dir/$1" --port-base "$2" --node none --no-sample "${@:3}" > "$dir/$1.up" 2>&1 &
  ups+=($!)
}
ups=()
trap 'kill -INT "${ups[@]}" 2>/dev/null; wait "${ups[@]}" 2>/dev/null; rm -rf "$dir"' EXIT
start all 17443 --encryption-provider-config "$dir/encryption.yaml"
start bare 27443 --audit-log-path ""
for one in all bare; do
  for _ in $(seq 600); do grep -q '^ready' "$dir/$one.up" && break; sleep 0.2; done
  grep '^ready' "$dir/$one.up" || { cat "$dir/$one.up"; exit 1; }
done
python3 tests/bench/gate.py "$dir/all" "$dir/bare" "${1:-7}"
