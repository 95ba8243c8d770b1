/* SPDX-License-Identifier: BSD-2-Clause */
/* Log lines to stderr: "sluiced: warning: text". Never called from the packet path. */
#pragma once

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_set_level(enum log_level l); /* default LOG_INFO */
__attribute__((format(printf, 2, 3))) void log_write(enum log_level l, const char *fmt, ...);

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)
