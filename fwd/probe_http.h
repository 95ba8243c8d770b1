/* SPDX-License-Identifier: BSD-2-Clause */
/* As much of HTTP/1.1 as a probe needs (RFC 9112). Pure functions. */
#pragma once

#include "fwd/base/net.h"

enum { HTTP_REQUEST_MAX = 384 };

/* GET of 'path', for the host that clients ask: an address and, unless 0 or 80, a port (host order). Its length, which is below
 * HTTP_REQUEST_MAX for every path below 128 bytes; not terminated by anybody but snprintf. */
unsigned http_request(char buf[static HTTP_REQUEST_MAX], const char *path, const struct ipaddr *host, uint16_t port);

enum { HTTP_MORE = 0, HTTP_BAD = -1 };
/* The status, 200..999, of what a server has answered so far; interim answers (1xx) are passed over. HTTP_MORE: that is not all of
 * it yet. HTTP_BAD: it is no such answer, or, once the server has 'ended', not a whole one. */
int http_status(const char *answer, unsigned n, bool ended);
