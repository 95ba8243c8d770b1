/* SPDX-License-Identifier: BSD-2-Clause */
/* What the kernel is set to, from /proc/sys of our network namespace. Control thread. */
#pragma once

/* The ports the kernel takes for its own connections; its default when /proc is not there. */
void local_port_range(unsigned *lo, unsigned *hi);
