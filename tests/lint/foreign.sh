#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Each foreign library is known to the files named here only. Rows: header pattern, then the files that may include it.
. "$(dirname "$0")/_lib.sh"

# shellcheck disable=SC2094 # reads only
while read -r header files; do
	while read -r at h; do
		[[ ${at%%:*} =~ ^($files)$ ]] || bad "$at $h belongs in ${files//\\/} only"
	done < <(sources '*.c' '*.h' | xargs -r bash -c '. tests/lint/_lib.sh; includes "$@"' _ | grep -E " [<\"]$header")
done <<'ROWS'
urcu fwd/base/rcu\.c|bench/tables_peers\.h
jansson\.h fwd/base/out\.c|tests/.*
xdp/(xsk|libxdp)\.h> fwd/port/xdp[a-z_]*\.[ch]|bench/.*
bpf/(bpf|libbpf|btf)\.h xdp/[a-z0-9_]*\.[ch]|fwd/port/xdp[a-z_]*\.c|tests/bpf/.*|tests/support/.*|bench/.*
bpf/bpf_(helpers|endian|tracing|core_read)\.h (xdp|bench)/.*\.bpf\.[ch]|tests/bpf/.*\.bpf\.[ch]
libmnl/ fwd/netlink.*\.c|xdp/[a-z0-9_]*\.[ch]|tests/.*
pcap fwd/port/pcap\.c|bench/.*|tests/.*
(histedit|editline/readline)\.h cli/edit\.c
rte_ fwd/port/dpdk[a-z_]*\.c|tests/dpdk/.*|bench/tables_peers\.h|bench/peers/flows\.c
cmocka\.h tests/.*
ROWS
