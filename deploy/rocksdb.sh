#!/usr/bin/env bash
# rocksdb.sh DIR: compiles the RocksDB that came with its crate into DIR/librocksdb.a, unless it is there already.
#
# Left to itself the crate compiles 340 files one by one, and each reads the same headers: half an hour on two cores.
# Here a few units include many of those files each, a form that RocksDB's own makefile has too: three minutes. And
# it serves every profile of cargo, because no profile changes it.
set -euo pipefail
dir=${1:?the directory of the archive}
self=$(realpath "$0")
cd "$(dirname "$self")/.."

made_of="$(grep -A1 '^name = "librocksdb-sys"' Cargo.lock) $(sha256sum <"$self")"
mkdir -p "$dir"
exec 9>"$dir/lock"
flock 9
if [ "$(cat "$dir/made-of" 2>/dev/null)" = "$made_of" ]; then exit 0; fi

echo "rocksdb: getting the sources" >&2
host=$(rustc -vV | sed -n 's/^host: //p')
packages=$(cargo metadata --quiet --locked --format-version 1 --filter-platform "$host" | tr ',' '\n')
# The root of a locked crate's sources.
sources() {
  sed -n "s|.*\"manifest_path\":\"\([^\"]*/$1-[0-9][^\"]*\)/Cargo.toml\".*|\1|p" <<<"$packages" | head -1
}
crate=$(sources librocksdb-sys)
lz4=$(sources lz4-sys)/liblz4/lib
if [ ! -f "$crate/rocksdb_lib_sources.txt" ] || [ ! -f "$lz4/lz4.h" ]; then
  echo "rocksdb: the sources are not where they were in older versions of the crates: look at this script" >&2
  exit 1
fi

work=$dir/units
rm -rf "$work" "$dir/made-of"
mkdir -p "$work"
sed 's/^ *//; /^$/d; /build_version\.cc$/d; s|.*|#include "&"|' "$crate/rocksdb_lib_sources.txt" >"$work/all"
split --number=l/16 --numeric-suffixes --additional-suffix=.cc "$work/all" "$work/unit-"
cp "$crate/build_version.cc" "$work/"

# A unit takes up to 2 GB of memory.
jobs=$(awk '/^MemAvailable/ { print int($2 / 2500000) }' /proc/meminfo)
jobs=$((jobs < 1 ? 1 : jobs > $(nproc) ? $(nproc) : jobs))
flags=(-O2 -std=c++20 -fPIC -fno-omit-frame-pointer -ffunction-sections -fdata-sections -w -include cstdint)
flags+=(-DNDEBUG=1 -DLZ4=1 -DHAVE_ALIGNED_NEW -DHAVE_UINT128_EXTENSION -DOS_LINUX -DROCKSDB_PLATFORM_POSIX)
flags+=(-DROCKSDB_LIB_IO_POSIX -DROCKSDB_SCHED_GETCPU_PRESENT -DROCKSDB_AUXV_GETAUXVAL_PRESENT)
flags+=(-DROCKSDB_FALLOCATE_PRESENT -DROCKSDB_RANGESYNC_PRESENT)
flags+=(-I"$crate/rocksdb/include" -I"$crate/rocksdb" -I"$crate" -I"$lz4")
compile() {
  "${CXX:-g++}" "${flags[@]}" -c "$1" -o "${1%.cc}.o" || return 255
  echo "rocksdb: $(find "$work" -name '*.o' | wc -l) of $(find "$work" -name '*.cc' | wc -l) units" >&2
}
export -f compile
declare -p flags >"$work/flags"
export work
find "$work" -name '*.cc' -print0 | sort -z |
  xargs -0 -n1 -P"$jobs" bash -euc 'source "$work/flags"; compile "$1"' compile
ar crs "$dir/librocksdb.a" "$work"/*.o
rm -rf "$work"
echo "$made_of" >"$dir/made-of"
