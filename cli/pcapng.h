/* SPDX-License-Identifier: BSD-2-Clause */
/* Capture files in pcapng (draft-ietf-opsawg-pcapng): frames of several interfaces with names and directions, which libpcap reads but
 * cannot write. Little endian, times in nanoseconds. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

void pcapng_begin(FILE *f);
/* Interfaces count from 0 in the order of these calls. */
void pcapng_interface(FILE *f, const char *name, uint32_t snap);
void pcapng_frame(FILE *f, uint32_t interface, uint64_t time_ns, bool out, const void *frame, uint32_t cap,
		  uint32_t len);
/* At the end: frames of interface 0 .. that were not caught. */
void pcapng_lost(FILE *f, uint32_t interface, uint64_t time_ns, uint64_t lost);
