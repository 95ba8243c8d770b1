#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The columns that cli/show.def declares are those that the functions write, in their order and with their marks: tables that no
# test has a row of would show it to the operator only.
. "$(dirname "$0")/_lib.sh"

check() {
	python3 - <<'EOF'
import glob, re

MARK = {'out_u64': '#', 'out_ip': '@', 'out_net': '@', 'out_bool': '?', 'out_mac': '', 'out_fmt': ''}
source = ''.join(open(f).read() for f in sorted(glob.glob('cli/*.c')))
bodies = {m[1]: m[2] for m in re.finditer(
    r'^(?:static )?(?:void|uint32_t|bool) (\w+)\([^)]*struct out \*o[^)]*\)\n\{(.*?)^\}', source, re.S | re.M)}

def columns(function, column=None):
    """(name, what writes it) in order; helpers are followed, 'column' is the one that they are given"""
    for m in re.finditer(r'\b(\w+)\(\s*o\b(?:\s*,\s*(?:"(\w+)"|(column)))?', bodies[function]):
        name = m[2] or (column if m[3] else None)
        if m[1] in bodies:
            yield from columns(m[1], name)
        elif name:
            yield name, m[1]

rows = re.findall(r'^SHOW\((\w+), (\w+), \w+, "[^"]*",\s*((?:"[^"]*"\s*)+)\)', open('cli/show.def').read(), re.M)
if len(rows) != open('cli/show.def').read().count('\nSHOW('):
    print('a row is not SHOW(name, rows, count, "help", "columns")')
for table, function, text in rows:
    declared = ''.join(re.findall(r'"([^"]*)"', text)).split()
    written = {}
    for name, by in columns(function):
        written.setdefault(name, set()).add(by)
    names = [d.rstrip('#@?') for d in declared]
    if names != list(written):
        print(f'{table}: declared {names}, written {list(written)}')
        continue
    for d, name in zip(declared, names):
        marks = {MARK[by] for by in written[name] if by != 'out_str'}  # out_str is also "absent"
        if d != name and marks != {d[-1]}:
            print(f'{table}: {d} is written by {sorted(written[name])}')
EOF
}
while read -r l; do bad "cli/show.def: $l"; done < <(check)
