#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# deps.sh 'PACKAGES': installs the missing ones with apt-get. Called by 'make deps'.
# Touches the network only when something is missing; quiet unless it fails.
set -euo pipefail

have() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

missing=()
for p in $1; do
	have "$p" || missing+=("$p")
done
[ ${#missing[@]} -gt 0 ] || exit 0

sudo=()
[ "$(id -u)" = 0 ] || sudo=(sudo)
log=$(mktemp)
# Debian starts a service that it installs (nginx); ours run in namespaces only.
policy=/usr/sbin/policy-rc.d
if [ -e $policy ]; then
	trap 'rm -f "$log"' EXIT
else
	trap 'rm -f "$log"; "${sudo[@]}" rm -f $policy' EXIT
	printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" install -m 755 /dev/stdin $policy
fi
echo "installing: ${missing[*]}"
if ! "${sudo[@]}" apt-get update >"$log" 2>&1 ||
	! "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" >>"$log" 2>&1; then
	tail -n 30 "$log" >&2
	echo "deps: could not install: ${missing[*]}" >&2
	exit 1
fi
