/* SPDX-License-Identifier: BSD-2-Clause */
/* One error text on its way to the operator.
 *
 * Control-path functions return 0 or -errno and, when given a 'struct err', leave one sentence that names the thing and
 * the cure. The innermost function that knows the cause writes it; callers pass it on. */
#pragma once

#include <stdarg.h>
#include <stdio.h>

struct err {
	char text[512];
};

/* Writes the sentence (printf style) and returns 'code' (-errno). 'e' may be NULL. */
__attribute__((format(printf, 3, 4))) static inline int err_set(struct err *e, int code, const char *fmt, ...)
{
	if (e) {
		va_list ap;
		va_start(ap, fmt);
		vsnprintf(e->text, sizeof(e->text), fmt, ap);
		va_end(ap);
	}
	return code;
}
