#!/usr/bin/env bash
# upstream.sh DIR PORT_BASE [REPLICAS]: three upstream API servers, or so many, each with an etcd beside it, as a peer.
#
# KUBE_APISERVER names kube-apiserver's program and ETCD etcd's. Writes DIR/admin-1.kubeconfig and so on and DIR/pids as
# `kontiki up` does, prints a line that begins with `ready`, and stays until it is told to end. Certificates everywhere,
# the standard authorizers and admission plugins, the audit log of our servers' default policy; no controllers, so what a
# pod needs of them the bench makes.
set -euo pipefail
dir=$1 base=$2 replicas=${3:-3}
policy=$(realpath "$(dirname "$0")/../../deploy/audit-policy.yaml")
for name in KUBE_APISERVER ETCD; do
  [ -x "${!name:-}" ] || { echo "upstream.sh: $name names no program" >&2; exit 1; }
done
mkdir -p "$dir/logs"
children=()
# Their data goes with them: nothing is to be ended in order.
trap 'kill -KILL "${children[@]}" 2>/dev/null; wait' EXIT
trap 'exit 0' INT TERM

# certificate NAME SUBJECT: DIR/NAME.crt and .key, for servers and clients.
certificate() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$dir/$1.key" -subj "$2" 2>/dev/null |
    openssl x509 -req -CA "$dir/ca.crt" -CAkey "$dir/ca.key" -days 2 -out "$dir/$1.crt" -extfile <(printf '%s\n' \
      'subjectAltName=IP:127.0.0.1,IP:10.96.0.1,DNS:localhost,DNS:kubernetes.default.svc' \
      'extendedKeyUsage=serverAuth,clientAuth') 2>/dev/null
}
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$dir/ca.key" -subj /CN=bench-ca \
  -days 2 -out "$dir/ca.crt" 2>/dev/null
certificate server /CN=server
certificate admin /O=system:masters/CN=kubernetes-admin
openssl genrsa -out "$dir/accounts.key" 2048 2>/dev/null

peers=
for number in $(seq "$replicas"); do peers+="${peers:+,}m$number=https://127.0.0.1:$((base + 20 + number))"; done
: > "$dir/pids"
for number in $(seq "$replicas"); do
  client=https://127.0.0.1:$((base + 10 + number)) peer=https://127.0.0.1:$((base + 20 + number))
  "$ETCD" --name "m$number" --data-dir "$dir/etcd-$number" --log-level error --initial-cluster "$peers" \
    --listen-client-urls "$client" --advertise-client-urls "$client" \
    --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" \
    --cert-file "$dir/server.crt" --key-file "$dir/server.key" --trusted-ca-file "$dir/ca.crt" --client-cert-auth \
    --peer-cert-file "$dir/server.crt" --peer-key-file "$dir/server.key" --peer-trusted-ca-file "$dir/ca.crt" \
    --peer-client-cert-auth > "$dir/logs/etcd-$number.log" 2>&1 &
  children+=($!)
  echo "replica-$number-etcd $!" >> "$dir/pids"
done
own=$(hostname -I | cut -d' ' -f1)
for number in $(seq "$replicas"); do
  port=$((base + number - 1))
  "$KUBE_APISERVER" --secure-port "$port" --bind-address 127.0.0.1 --advertise-address "$own" \
    --etcd-servers "https://127.0.0.1:$((base + 10 + number))" --etcd-cafile "$dir/ca.crt" \
    --etcd-certfile "$dir/server.crt" --etcd-keyfile "$dir/server.key" \
    --tls-cert-file "$dir/server.crt" --tls-private-key-file "$dir/server.key" --client-ca-file "$dir/ca.crt" \
    --authorization-mode Node,RBAC --service-cluster-ip-range 10.96.0.0/16 \
    --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$dir/accounts.key" \
    --service-account-signing-key-file "$dir/accounts.key" --cert-dir "$dir/made-$number" \
    --audit-policy-file "$policy" --audit-log-path "$dir/audit-$number.log" --audit-log-maxsize 100 \
    > "$dir/logs/apiserver-$number.log" 2>&1 &
  children+=($!)
  echo "replica-$number $!" >> "$dir/pids"
  field() { printf '%s: %s\n' "$1" "$(base64 -w0 < "$2")"; }
  cat > "$dir/admin-$number.kubeconfig" <<KUBECONFIG
apiVersion: v1
kind: Config
current-context: bench
contexts: [{name: bench, context: {cluster: bench, user: admin}}]
clusters:
- name: bench
  cluster:
    server: https://127.0.0.1:$port
    $(field certificate-authority-data "$dir/ca.crt")
users:
- name: admin
  user:
    $(field client-certificate-data "$dir/admin.crt")
    $(field client-key-data "$dir/admin.key")
KUBECONFIG
done
for number in $(seq "$replicas"); do
  ready="https://127.0.0.1:$((base + number - 1))/readyz"
  for try in $(seq 300); do
    curl -sf --cacert "$dir/ca.crt" --cert "$dir/admin.crt" --key "$dir/admin.key" "$ready" > /dev/null && break
    if [ "$try" = 300 ]; then tail -n 5 "$dir/logs/"*"-$number.log" >&2; exit 1; fi
    sleep 0.2
  done
done
echo "ready: $replicas replicas"
wait
