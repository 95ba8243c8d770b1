/* SPDX-License-Identifier: BSD-2-Clause */
/* The far side of net_ring devices: what a port sends into one ring and receives from another. One thread. */
#pragma once

#include "fwd/port/port.h"

/* Starts the EAL once and makes the device net_ring_NAME; its two rings hold up to 'size' - 1 frames (a power of two). */
int wire_make(const char *name, unsigned size, struct err *e);
/* A frame toward the port, in one mbuf or, with 'cut', in two of which the first has 'cut' bytes. -ENOSPC. 'flags' into ol_flags. */
int wire_put(const char *name, const void *frame, uint32_t len, uint32_t cut, uint64_t flags);
/* Next frame the port has sent: its length, 0 = none. */
uint32_t wire_take(const char *name, void *buf, uint32_t size);
/* Mbufs of the wire's own that are not free. */
unsigned wire_in_use(void);
