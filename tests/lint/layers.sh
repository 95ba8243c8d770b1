#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Include arrows: fwd/base <- tables <- fwd <- cli; xdp/ (loader, gate) stands beside tables and is used by fwd; BPF programs see
# tables/abi, linux/, bpf/ and their own headers. fwd/main.c is the composition root. Paths start at the repository root.
. "$(dirname "$0")/_lib.sh"

# allowed FILE: extended regular expression of the headers it may include
allowed() {
	case $1 in
	fwd/main.c | tests/* | bench/*) echo '^("(fwd|tables|xdp|cli|tests|bench)/|<)' ;;
	xdp/*.bpf.[ch]) echo '^("(tables/abi/|xdp/[a-z0-9_]*\.bpf\.h")|<(linux|bpf|stdbool|stddef)[/.])' ;;
	tables/abi/*) echo '^("tables/abi/|<linux/)' ;;
	fwd/base/*) echo '^("fwd/base/|<)' ;;
	tables/*) echo '^("(fwd/base|tables)/|<)' ;;
	xdp/*) echo '^("(fwd/base/|tables/abi/|xdp/[a-z0-9_]*\.h")|<)' ;;
	fwd/*) echo '^("(fwd|tables)/|"xdp/[a-z0-9_]*\.h"|<)' ;;
	cli/client.c | cli/edit.c | cli/edit.h) echo '^("(fwd/base|cli)/|<)' ;;
	cli/*) echo '^("(fwd|tables|cli)/|"xdp/[a-z0-9_]*\.h"|<)' ;;
	*) echo '^<' ;;
	esac
}

while read -r at header; do
	file=${at%%:*}
	[[ $header =~ $(allowed "$file") ]] || bad "$at $file may not include $header"
done < <(sources '*.c' '*.h' | xargs -r bash -c '. tests/lint/_lib.sh; includes "$@"' _)
