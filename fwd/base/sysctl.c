/* SPDX-License-Identifier: BSD-2-Clause */
#include "fwd/base/sysctl.h"

#include <stdio.h>

void local_port_range(unsigned *lo, unsigned *hi)
{
	FILE *f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");

	if (!f || fscanf(f, "%u %u", lo, hi) != 2) {
		*lo = 32768;
		*hi = 60999;
	}
	if (f)
		fclose(f);
}
