#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Each drop reason is seen by a golden test of its own: tests/golden/drop/<symbol in lower case>*.pkt. A file counts for
# the longest symbol its name begins with: policy_deny.pkt is no test of POLICY.
. "$(dirname "$0")/_lib.sh"

missing() {
	{
		sed -n 's/^DROP(/row /p' fwd/drop.def | tr -d ,
		find tests/golden/drop -name '*.pkt' -printf 'file %f\n' 2>/dev/null
	} | awk '
		$1 == "row" { s[tolower($3)] = $2; if (twice[$2]++) print "number " $2 " is used twice" }
		$1 == "file" {
			best = ""
			for (k in s)
				if (index($2, k) == 1 && substr($2, length(k) + 1) ~ /^[^a-z0-9]/ && length(k) > length(best))
					best = k
			if (best == "")
				print "tests/golden/drop/" $2 " begins with no symbol of drop.def"
			seen[best] = 1
		}
		END { for (k in s) if (!(k in seen)) print s[k] " " toupper(k) " has no tests/golden/drop/" k "*.pkt" }' | sort
}
while read -r l; do bad "fwd/drop.def: $l"; done < <(missing)
