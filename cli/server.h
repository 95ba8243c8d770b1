/* SPDX-License-Identifier: BSD-2-Clause */
/* The command socket (protocol: cli/cli.h). Control thread: main's loop watches server_fd() and calls server_handle().
 * */
#pragma once

#include "fwd/base/err.h"

/* Listens on 'path', creating its directory. A socket nobody answers on is replaced, a live one refused (-EADDRINUSE).
 * */
int server_open(const char *path, struct err *e);
/* One descriptor for the socket and all sessions: readable when there is something to do; -1 when closed. */
int server_fd(void);
/* Serves what is ready; never blocks: replies are kept until the socket takes them. */
void server_handle(void);
/* Sends what trace, monitor and capture have to say; call it in each round of the loop. */
void server_streams(void);
void server_close(void); /* removes the socket */
