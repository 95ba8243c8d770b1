/* SPDX-License-Identifier: BSD-2-Clause */
/* Commands that go on: trace, monitor, capture. Such a command starts a stream; the server (cli/server.c) takes it, sends what it has
 * to say as it comes, and ends it with the client. Control thread, RCU online. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct stream;
/* The stream that the last command started, the caller's from now on; NULL: it started none. */
struct stream *stream_take(void);
/* What has come since the last call, malloc'ed, the caller's; '*n' 0: nothing. False: there will be no more. */
bool stream_read(struct stream *s, char **text, size_t *n);
/* What is still under way, and how much was lost; as stream_read. */
void stream_last(struct stream *s, char **text, size_t *n);
void stream_end(struct stream *s);
/* Hands what workers observed to all streams. One that nobody reads keeps a mebibyte and counts the rest as lost. */
void streams_pump(void);
