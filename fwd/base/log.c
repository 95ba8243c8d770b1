/* SPDX-License-Identifier: BSD-2-Clause */
/* Log lines to stderr, where the service manager collects them. Control thread and start-up code.
 * A line is formatted first and written with one call, so that lines of several threads do not mix. */
#include "fwd/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fwd/base/util.h"

static enum log_level max_level = LOG_INFO;
static const char *const level_name[] = { "error", "warning", "info", "debug" };

void log_set_level(enum log_level l)
{
	STORE_RELAXED(&max_level, l);
}

void log_write(enum log_level l, const char *fmt, ...)
{
	char line[1024];
	va_list ap;

	if (l > LOAD_RELAXED(&max_level))
		return;
	size_t n = (size_t)snprintf(line, sizeof(line), "sluiced: %s: ", level_name[l]);
	va_start(ap, fmt);
	int m = vsnprintf(line + n, sizeof(line) - n - 1, fmt, ap);
	va_end(ap);
	if (m > 0)
		n += MIN((size_t)m, sizeof(line) - n - 2);
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, n) < 0)
		return; /* nobody to tell */
}
