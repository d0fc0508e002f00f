#!/usr/bin/env bash
# etcd.sh [--seconds N] [--rounds N] [--clients 1,100,1000] [--work put,get,range,watch]: the same load on Kontiki's
# store and on Debian's etcd, in turns, three replicas each with TLS on one disk (BENCH_DIR, or the target directory).
#
# Prints a line for each run and a table of medians with ratios. Two rounds of three seconds, the default, take about
# three minutes. Everything shares this machine: run it alone, and read the load average beside the figures.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$(realpath "${CARGO_TARGET_DIR:-target}")
export KONTIKI_BIN=${KONTIKI_BIN:-$target/release/kontiki}
load=${ETCD_LOAD_BIN:-$target/release/etcd-load}
if [ ! -x "$load" ] || [ ! -x "$KONTIKI_BIN" ]; then
  echo "etcd.sh: build first (make build), or name the programs in KONTIKI_BIN and ETCD_LOAD_BIN" >&2
  exit 1
fi
if [ -z "${ETCD:-}" ]; then
  if ETCD=$(tests/tools/debian-tool.sh etcd-server /usr/bin/etcd sid "${KONTIKI_TOOLS:-$target/tools}"); then
    export ETCD
  else
    unset ETCD
    echo "etcd.sh: etcd cannot be had from Debian here; only Kontiki is measured" >&2
  fi
fi
exec "$load" --dir "${BENCH_DIR:-$target/bench}" "$@"
