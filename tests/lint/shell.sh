#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The linter shellcheck over every script.
. "$(dirname "$0")/_lib.sh"

mapfile -t files < <(sources '*.sh' .ci/run)
shellcheck -x -P SCRIPTDIR "${files[@]}" || rc=1
