/* SPDX-License-Identifier: BSD-2-Clause */
/* Addresses of the box's interfaces, asked of the kernel: for what is configured before, or without, the mirror of its tables
 * (fwd/fib.h). Control thread; a dump each time. */
#pragma once

#include "fwd/base/net.h"

/* The first address under 'n', on whatever interface; false: none. */
bool ifaddr_under(const struct ipnet *n, struct ipaddr *which);
bool ifaddr_has(const struct ipaddr *a);
