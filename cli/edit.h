/* SPDX-License-Identifier: BSD-2-Clause */
/* Line editing for sluicectl: the only file that knows libedit is edit.c. */
#pragma once

/* Asks the daemon: 'what' is "complete" or "help", 'line' what stands before the cursor. malloc'ed text, NULL without
 * answer. */
typedef char *edit_ask_fn(const char *what, const char *line);

int edit_open(const char *text, edit_ask_fn *ask); /* 0 or -1 */
/* The next line without its end, NULL at end of input; valid until the next call. ^C gives "". */
const char *edit_line(void);
void edit_close(void);
