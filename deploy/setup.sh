#!/usr/bin/env bash
# setup.sh run|test: installs what building and running (or testing) Kontiki needs from Debian, as root or
# with sudo. What is there already stays as it is. Rust itself is not installed here.
set -euo pipefail
purpose=${1:?run or test}

# C++ compiler and libclang: RocksDB and its bindings. The rest: what a real node runs containers with.
packages=(g++ make libclang-dev containerd runc containernetworking-plugins iptables busybox-static)
if [ "$purpose" = test ]; then
  # protoc: the etcd client of the tests compiles its contracts with it. The last three: namespaces, slow and
  # failing disks, clocks that jump.
  packages+=(python3-venv jq protobuf-compiler libprotobuf-dev iproute2 strace)
fi

command -v cargo >/dev/null || { echo "setup: Rust is missing: install it from https://rustup.rs, then run this again" >&2; exit 1; }
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then exit 0; fi

root=()
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || { echo "setup: these packages are missing and there is no sudo: ${missing[*]}" >&2; exit 1; }
  root=(sudo)
fi
echo "setup: installing from Debian: ${missing[*]}"
"${root[@]}" apt-get -qq update
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
