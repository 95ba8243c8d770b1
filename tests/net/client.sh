#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# sluicectl by itself: files that cannot be written, the keys at the prompt, a daemon that goes and comes again, two sessions.
# workers: 2
. "$(dirname "$0")/_env.sh"

ns_add gw c1
veth_pair gw lxc1 c1 eth0
addr c1 eth0 10.1.0.10/24
nsip c1 route add default via 10.1.0.1
cat >"$TMP/conf" <<-CONF
	add port p0 mem
	add endpoint 10 device lxc1 ipv4 10.1.0.10 identity 1001
CONF
sluiced_start "$TMP/conf"
want=$(ctl save -)

# refuses EXIT PATTERN COMMAND...
refuses() {
	local rc=0 exit=$1 want=$2 text
	shift 2
	text=$("$@" 2>&1 >"${OUT:-/dev/null}") || rc=$?
	[ $rc = "$exit" ] || fail "'$*' exits $rc, not $exit: $text"
	grep -Eq -- "$want" <<<"$text" || fail "'$*' says: $text (not /$want/)"
	ok "$* -> $text"
}
# save: all or nothing, who may read it stays, links stay links, devices stay devices
mkdir "$TMP/full"
mount -t tmpfs -o size=4k tmpfs "$TMP/full"
echo old >"$TMP/full/conf"
head -c 4096 /dev/zero >"$TMP/full/rest" 2>/dev/null || true
refuses 1 'full/conf: No space left' ctl save "$TMP/full/conf"
[ "$(cat "$TMP/full/conf")" = old ] || fail "a full disk harmed the former file"
[ ! -e "$TMP/full/conf.new" ] || fail "half a file is left"
echo old >"$TMP/real"
chmod 600 "$TMP/real"
chown 1:1 "$TMP/real"
ln -s real "$TMP/link"
ctl save "$TMP/link"
[ -L "$TMP/link" ] || fail "save replaced a symbolic link"
[ "$(cat "$TMP/real")" = "$want" ] || fail "save did not follow a symbolic link"
[ "$(stat -c %a:%u:%g "$TMP/real")" = 600:1:1 ] || fail "save changed who may read the file: $(stat -c %a:%u:%g "$TMP/real")"
mknod "$TMP/null" c 1 3
ctl save "$TMP/null"
[ -c "$TMP/null" ] || fail "save replaced a device"
[ "$(ctl save /dev/stdout)" = "$want" ] || fail "save /dev/stdout"
refuses 1 'nosuch/x.new: No such file' ctl save "$TMP/nosuch/x"
refuses 1 'Is a directory' ctl save "$TMP"
OUT=/dev/full refuses 1 'standard output: No space left' ctl -j show settings
OUT=/dev/full refuses 1 'standard output: No space left' ctl show version
OUT=/dev/full refuses 1 'standard output: No space left' ctl save -
start_bg ping bash -c "while :; do nsenter --net=/run/netns/${P}c1 ping -q -c 1 -W 1 198.51.100.9; done"
refuses 1 'full/capture: No space left' timeout 20 "$B/sluicectl" -s "$SOCK" capture "$TMP/full/capture" max 1
OUT=/dev/full refuses 1 'standard output: No space left' timeout 20 "$B/sluicectl" -s "$SOCK" monitor drops max 1
stop_bg ping || true

# the prompt
cat >"$TMP/prompt.py" <<'PY'
import os, pty, re, select, sys, termios, time
sluicectl, sock = sys.argv[1:]

class Session:
    def __init__(self):
        self.got = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm"
            os.execv(sluicectl, [sluicectl, "-s", sock])
        self.until("sluice> ")

    def until(self, text):
        while text not in self.got:
            if not select.select([self.fd], [], [], 10)[0]:
                sys.exit("no %r in %r" % (text, self.got))
            raw = os.read(self.fd, 65536).decode(errors="replace")
            self.got = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.got + raw)
        at = self.got.index(text) + len(text)
        before, self.got = self.got[:at], self.got[at:]
        return before

    def keys(self, keys, *want):
        os.write(self.fd, keys.encode())
        for text in want:
            self.until(text)

    def interrupt(self, *want): # a running command: the terminal is no longer as for the line's keys
        while not termios.tcgetattr(self.fd)[3] & termios.ISIG:
            time.sleep(0.01)
        self.keys("\x03", *want)

    def end(self):
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

a, b = Session(), Session()
# ^C drops the line and not the session, wherever the cursor is
a.keys("del endpoint 10\x02\x02\x03", "^C", "sluice> ")
a.keys("\x03", "^C", "sluice> ")
a.keys("show version\r", "\nsluice ", "sluice> ")
# ends what goes on, nothing else
a.keys("monitor drops\r", "monitor drops\r\n")
b.keys("add ipmasq 10.0.0.0/8\r", "sluice> ")
a.interrupt("sluice> ")
a.keys("show ipmasq\r", "10.0.0.0/8", "sluice> ")
# ? lists what may stand first, not the whole manual
a.keys("?", "set\r\nadd\r\ndel\r\nshow\r\n", "capture\r\n", "sluice> ")
# TAB: what there is, that the line may end here, and why nothing can follow
a.keys("del endp\t", "oint ")
a.keys("\t", "10 ") # the only one
a.keys("\t", "<Enter: the command is complete>", "sluice> ")
a.keys("x \t", "<endpoint 10: unexpected word 'x', nothing may follow here>", "sluice> ")
a.keys("\x03", "^C", "sluice> ")
a.keys("sh vers\r", "\nsluice ", "sluice> ")
# the daemon is killed under both, and comes again: TAB works at once
print("ready", flush=True)
sys.stdin.readline()
a.keys("show version\r", "the daemon closed the connection", "sluice> ")
a.keys("show version\r", "no daemon at", "sluice> ")
print("seen", flush=True)
sys.stdin.readline()
a.keys("show vers\t", "ion ")
a.keys("\r", "\nsluice ", "sluice> ")
b.keys("\r", "sluice> ")
b.keys("show version\r", "sluice> ")
b.keys("show version\r", "\nsluice ", "sluice> ")
b.keys("quit\r")
a.keys("quit\r")
if a.end() or b.end():
    sys.exit("exit codes")
PY
coproc prompt { exec python3 "$TMP/prompt.py" "$B/sluicectl" "$SOCK" 2>"$LOG/prompt.log"; }
says() { # WORD
	local line=
	read -r line <&"${prompt[0]}" || true
	[ "$line" = "$1" ] || fail "at the prompt: '$line', not $1: $(cat "$LOG/prompt.log")"
}
pid=${prompt_PID?}
says ready
sluiced_stop KILL
echo >&"${prompt[1]}"
says seen
sluiced_restart
echo >&"${prompt[1]}"
wait "$pid" || fail "the sessions: $(cat "$LOG/prompt.log")"
ok "two sessions at the prompt, a killed daemon"
pass
