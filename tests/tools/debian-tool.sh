#!/usr/bin/env bash
# debian-tool.sh PACKAGE FILE SUITE DIR: unpacks one program of another Debian suite into DIR, without
# installing it and without touching the system's own package lists. Prints the program's path.
#
# The mirror is the machine's own, read from its apt configuration; only the suite differs.
set -euo pipefail
package=$1 file=$2 suite=$3 dir=$4
program=$dir/$package-$suite/${file#/}
if [ -x "$program" ]; then echo "$program"; exit 0; fi

mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep -m1 '/debian/\?$' || true)
if [ -z "$mirror" ]; then echo "debian-tool: no Debian mirror in the apt configuration" >&2; exit 1; fi
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$state/parts"
: > "$state/status"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$keyring] $mirror $suite main" > "$state/sources.list"
options=(-o "Dir::Etc::sourcelist=$state/sources.list" -o "Dir::Etc::sourceparts=$state/parts"
  -o "Dir::State::lists=$state/lists" -o "Dir::State::status=$state/status" -o "Dir::Cache=$state/cache" -o "APT::Get::List-Cleanup=0"
  -o "Acquire::Languages=none" -o "APT::Sandbox::User=root")
apt-get "${options[@]}" -qq update >&2
(cd "$state" && apt-get "${options[@]}" -qq download "$package" >&2)
mkdir -p "$dir/$package-$suite"
dpkg -x "$state/$package"_*.deb "$dir/$package-$suite"
[ -x "$program" ] || { echo "debian-tool: $package of $suite has no $file" >&2; exit 1; }
echo "$program"
