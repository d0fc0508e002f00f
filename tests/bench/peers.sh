# For other scripts here: a cluster of three replicas, of Kontiki or of upstream, in a directory of its own.
#
# start_peer kontiki|upstream PORT_BASE [ARGUMENT...]: returns once it is ready, with its directory in peer_dir. Returns 1,
# with a word, where upstream's programs are not named. end_peer ends it. `kontiki` and `target` are to be set before.

peer_dir='' peer_pid=''

end_peer() {
  [ -n "$peer_pid" ] || return 0
  kill -TERM "$peer_pid" 2>/dev/null || true
  wait "$peer_pid" 2>/dev/null || true
  rm -rf "$peer_dir" "$peer_dir.out"
  peer_pid=''
}
trap end_peer EXIT
trap 'exit 1' INT TERM

start_peer() {
  local peer=$1 base=$2
  shift 2
  if [ "$peer" = upstream ] && ! upstream_is_there; then return 1; fi
  peer_dir=$(mktemp -d -p "${BENCH_DIR:-$target}" "$peer-XXXXXX")
  case $peer in
    kontiki) exec "$kontiki" up --data-dir "$peer_dir" --port-base "$base" --node none --no-sample "$@" ;;
    upstream) exec tests/bench/upstream.sh "$peer_dir" "$base" ;;
  esac > "$peer_dir.out" 2>&1 &
  peer_pid=$!
  await_ready "$peer_dir.out" "$peer_pid"
}

# await_ready FILE PID: until a line of the file says so; ends everything when the process is gone or takes too long.
await_ready() {
  for _ in $(seq 600); do
    if grep -q '^ready' "$1"; then return 0; fi
    kill -0 "$2" 2>/dev/null || break
    sleep 0.2
  done
  cat "$1" >&2
  exit 1
}

upstream_is_there() {
  if [ ! -x "${KUBE_APISERVER:-}" ]; then
    echo "only Kontiki is measured: KUBE_APISERVER names no upstream API server" >&2
    return 1
  fi
  if [ -z "${ETCD:-}" ]; then
    ETCD=$(tests/tools/debian-tool.sh etcd-server /usr/bin/etcd sid "${KONTIKI_TOOLS:-$target/tools}") || return 1
  fi
  export ETCD KUBE_APISERVER
}
