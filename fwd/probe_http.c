/* SPDX-License-Identifier: BSD-2-Clause */
/* Request and status line (contract in probe_http.h). */
#include "fwd/probe_http.h"

#include <stdio.h>

unsigned http_request(char buf[static HTTP_REQUEST_MAX], const char *path, const struct ipaddr *host, uint16_t port)
{
	char ip[IP_STRLEN], at[8] = "";

	if (port && port != 80)
		snprintf(at, sizeof(at), ":%u", port);
	ip_print(host, ip);
	return (unsigned)snprintf(buf, HTTP_REQUEST_MAX,
				  "GET %s HTTP/1.1\r\nHost: %s%s%s%s\r\nUser-Agent: sluice-probe/" SLUICE_VERSION
				  "\r\nAccept: */*\r\nConnection: close\r\n\r\n",
				  path, ip_is4(host) ? "" : "[", ip, ip_is4(host) ? "" : "]", at);
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* "HTTP/1.1 200" and a blank or the end of the line: a phrase may be missing (RFC 9112 4). */
static int status_line(const char *s, unsigned n, bool ended)
{
	static const char form[] = "HTTP/#.# ###";

	for (unsigned i = 0; i < sizeof(form) - 1; i++) {
		if (i == n)
			return ended ? HTTP_BAD : HTTP_MORE;
		if (form[i] == '#' ? !is_digit(s[i]) : s[i] != form[i])
			return HTTP_BAD;
	}
	if (n == sizeof(form) - 1)
		return ended ? HTTP_BAD : HTTP_MORE;
	const char end = s[sizeof(form) - 1];
	const int status = (s[9] - '0') * 100 + (s[10] - '0') * 10 + s[11] - '0';
	return (end == ' ' || end == '\r' || end == '\n') && status >= 100 ? status : HTTP_BAD;
}

/* Bytes up to and with the empty line that ends a header, 0: it is not there. */
static unsigned header_size(const char *s, unsigned n)
{
	for (unsigned i = 1; i < n; i++)
		if (s[i] == '\n' && (s[i - 1] == '\n' || (i >= 3 && s[i - 1] == '\r' && s[i - 2] == '\n')))
			return i + 1;
	return 0;
}

int http_status(const char *answer, unsigned n, bool ended)
{
	for (;;) {
		const int status = status_line(answer, n, ended);
		const unsigned skip = status >= 100 && status < 200 ? header_size(answer, n) : 0;
		if (status <= 0 || status >= 200)
			return status;
		if (!skip)
			return ended ? HTTP_BAD : HTTP_MORE;
		answer += skip;
		n -= skip;
	}
}
