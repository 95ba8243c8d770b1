/* SPDX-License-Identifier: BSD-2-Clause */
/* What server and client share: the words on the socket.
 *
 * A Unix stream socket, mode 0660. The client writes requests, the server answers each in order:
 *
 *	REQUEST\n                    one command line; "-j " in front asks for JSON
 *	batch BYTES NAME\n + BYTES   a file of commands; NAME stands in "NAME:LINE: text"; "-j " may come first here too
 *
 *	ok LEN\n + LEN bytes         done; the text to show
 *	more LEN\n + LEN bytes       trace, monitor, capture: the next part, at once an empty one; "ok" ends them. The client ends them
 *	                             by closing its side for writing
 *	err CODE LEN\n + LEN bytes   refused; CODE is an errno number, the text one sentence
 *
 * In a batch all configuration commands are one transaction, whatever stands between them; when it succeeded, the other
 * commands run in their order. "complete LINE" answers what may come next, a candidate per line; those in <> are
 * descriptions. "save [FILE]" answers the file's content: sluicectl writes it, with the rights of its user. */
#pragma once

enum {
	CLI_LINE_MAX = 16 * 1024,          /* bytes of one request line */
	CLI_BATCH_MAX = 512 * 1024 * 1024, /* 1 Mi policy rules are about 100 MB */
};
#define CLI_SOCKET_DIR "/run/sluice"
#define CLI_SOCKET CLI_SOCKET_DIR "/sluice.sock"

/* sluicectl's exit codes (stable interface). */
enum cli_exit { CLI_DONE = 0, CLI_REFUSED = 1, CLI_USAGE = 2, CLI_NO_DAEMON = 3 };
