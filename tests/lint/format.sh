#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# clang-format 14 would change nothing. 'make format' cures it.
. "$(dirname "$0")/_lib.sh"

mapfile -t files < <(sources '*.c' '*.h')
[ ${#files[@]} = 0 ] || clang-format-14 --dry-run -Werror "${files[@]}" || rc=1
