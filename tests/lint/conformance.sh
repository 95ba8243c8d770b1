#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# docs/conformance.md says what docs/conformance.rows says, and each test that a row names exists.
. "$(dirname "$0")/_lib.sh"

page=$(bash tests/conformance.sh 2>&1) || { echo "$page" | grep '^docs/conformance.rows:'; rc=1; }
[ $rc = 1 ] || diff <(echo "$page") docs/conformance.md >/dev/null || bad "docs/conformance.md: not what docs/conformance.rows says: make conformance"
