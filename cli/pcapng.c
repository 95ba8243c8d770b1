/* SPDX-License-Identifier: BSD-2-Clause */
/* Blocks of a pcapng file (pcapng.h). */
#include "cli/pcapng.h"

#include <string.h>

enum { SECTION = 0x0a0d0d0a, INTERFACE = 1, STATISTICS = 5, FRAME = 6, MAGIC = 0x1a2b3c4d, ETHERNET = 1 };
enum { OPT_NAME = 2, OPT_TSRESOL = 9, OPT_FLAGS = 2, OPT_DROPPED = 5 };

static void put32(FILE *f, uint32_t v)
{
	fwrite(&v, sizeof(v), 1, f);
}

static void put_padded(FILE *f, const void *p, uint32_t n)
{
	static const uint8_t zero[3];
	if (n)
		fwrite(p, 1, n, f);
	fwrite(zero, 1, -n & 3, f);
}

static void option(FILE *f, uint16_t code, const void *p, uint16_t n)
{
	put32(f, code | (uint32_t)n << 16);
	put_padded(f, p, n);
}

static uint32_t padded(uint32_t n)
{
	return (n + 3) & ~3u;
}

void pcapng_begin(FILE *f)
{
	put32(f, SECTION);
	put32(f, 28);
	put32(f, MAGIC);
	put32(f, 1); /* version 1.0 */
	put32(f, UINT32_MAX);
	put32(f, UINT32_MAX); /* length not known */
	put32(f, 28);
}

void pcapng_interface(FILE *f, const char *name, uint32_t snap)
{
	const uint8_t nanoseconds = 9;
	const uint16_t len = (uint16_t)strlen(name);
	const uint32_t size = 20 + 4 + padded(len) + 8 + 4;
	put32(f, INTERFACE);
	put32(f, size);
	put32(f, ETHERNET);
	put32(f, snap);
	option(f, OPT_NAME, name, len);
	option(f, OPT_TSRESOL, &nanoseconds, 1);
	option(f, 0, NULL, 0);
	put32(f, size);
}

void pcapng_frame(FILE *f, uint32_t interface, uint64_t time_ns, bool out, const void *frame, uint32_t cap,
		  uint32_t len)
{
	const uint32_t flags = out ? 2 : 1, size = 32 + padded(cap) + 8 + 4;
	put32(f, FRAME);
	put32(f, size);
	put32(f, interface);
	put32(f, (uint32_t)(time_ns >> 32));
	put32(f, (uint32_t)time_ns);
	put32(f, cap);
	put32(f, len);
	put_padded(f, frame, cap);
	option(f, OPT_FLAGS, &flags, 4);
	option(f, 0, NULL, 0);
	put32(f, size);
}

void pcapng_lost(FILE *f, uint32_t interface, uint64_t time_ns, uint64_t lost)
{
	const uint32_t size = 24 + 12 + 4;
	put32(f, STATISTICS);
	put32(f, size);
	put32(f, interface);
	put32(f, (uint32_t)(time_ns >> 32));
	put32(f, (uint32_t)time_ns);
	option(f, OPT_DROPPED, &lost, 8);
	option(f, 0, NULL, 0);
	put32(f, size);
}
