#!/usr/bin/env bash
# Runs every test of the workspace with nextest where it is installed, with cargo test otherwise.
# The whole-system tests find the binary in KONTIKI_BIN and clients in the tool directory.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
export KONTIKI_BIN=${KONTIKI_BIN:-$(realpath "$target")/tests/kontiki}
export KONTIKI_TOOLS=${KONTIKI_TOOLS:-$(realpath "$target")/tools}
mkdir -p "$KONTIKI_TOOLS"

# kubectl: the one of Debian's unstable suite matches the API version served; a clear word when it cannot be had.
if KUBECTL=$(tests/tools/debian-tool.sh kubectl /usr/bin/kubectl sid "$KONTIKI_TOOLS"); then
  export KUBECTL
else
  echo "tests: kubectl 1.36 cannot be had from Debian here; its tests are skipped" >&2
fi
# And the one that is four minors older, of Debian 13.
if KUBECTL_OLDER=$(tests/tools/debian-tool.sh kubectl /usr/bin/kubectl trixie "$KONTIKI_TOOLS"); then
  export KUBECTL_OLDER
else
  echo "tests: kubectl 1.32 cannot be had from Debian here; its test is skipped" >&2
fi
# etcdctl of two generations, and the etcd that the store's answers are compared with.
etcdctl=()
for suite in sid bookworm; do
  if program=$(tests/tools/debian-tool.sh etcd-client /usr/bin/etcdctl "$suite" "$KONTIKI_TOOLS"); then
    etcdctl+=("$program")
  fi
done
if [ ${#etcdctl[@]} -gt 0 ]; then
  ETCDCTL=$(IFS=:; echo "${etcdctl[*]}")
  export ETCDCTL
else
  echo "tests: etcdctl cannot be had from Debian here; its tests are skipped" >&2
fi
if ETCD=$(tests/tools/debian-tool.sh etcd-server /usr/bin/etcd sid "$KONTIKI_TOOLS"); then
  export ETCD
else
  echo "tests: etcd cannot be had from Debian here; answers are compared with recorded ones only" >&2
fi
# The Python client.
if [ ! -x "$KONTIKI_TOOLS/python/bin/python" ]; then
  python3 -m venv "$KONTIKI_TOOLS/python" && "$KONTIKI_TOOLS/python/bin/pip" install --quiet kubernetes==34.1.0 ||
    echo "tests: the Python client cannot be installed here; its test is skipped" >&2
fi

# client-go: 760 MB of Go for one program, so it is used where it is installed.
if [ ! -d "${GOCODE:-/usr/share/gocode}/src/k8s.io/client-go" ]; then
  echo "tests: client-go is not installed (Debian: golang-go, golang-k8s-client-go-dev); its test is skipped" >&2
fi

# A standard kubelet v1.36 joins where KUBELET names one; nobody packages it for Debian.
if [ ! -x "${KUBELET:-}" ]; then
  echo "tests: KUBELET names no kubelet; its test is skipped" >&2
fi

# A standard API server v1.36 keeps its objects in our store where this names one.
if [ ! -x "${KUBE_APISERVER:-}" ]; then
  echo "tests: KUBE_APISERVER names no program; its test is skipped" >&2
fi

# Standard controllers and scheduler v1.36 do a cluster's work where these name them.
if [ ! -x "${KUBE_CONTROLLER_MANAGER:-}" ] || [ ! -x "${KUBE_SCHEDULER:-}" ]; then
  echo "tests: KUBE_CONTROLLER_MANAGER and KUBE_SCHEDULER name no programs; their test is skipped" >&2
fi

# The program and the tests in one go: cargo unites the features of what it builds together, and apart every
# crate of ours would be compiled twice.
cargo build --locked --profile tests --workspace --lib --bins --tests

if cargo nextest --version >/dev/null 2>&1; then
  exec cargo nextest run --locked --cargo-profile tests --workspace --lib --bins --tests --no-fail-fast "$@"
fi
exec cargo test --locked --profile tests --workspace --lib --bins --tests --no-fail-fast "$@"
