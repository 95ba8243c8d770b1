/* SPDX-License-Identifier: BSD-2-Clause */
#include "fwd/sctp.h"

#include <immintrin.h>

enum { TH_FIN = 1, TH_SYN = 2, TH_RST = 4, TH_ACK = 16 };
enum {
	INIT = 1,
	INIT_ACK = 2,
	ABORT = 6,
	SHUTDOWN = 7,
	SHUTDOWN_ACK = 8,
	COOKIE_ECHO = 10,
	SHUTDOWN_COMPLETE = 14
}; /* RFC 9260 3.2 */
enum { CHUNK_HLEN = 4, CHUNKS_MAX = 16 };

/* RFC 9260 appendix A: reflected, so the checksum stands in the packet with its low byte first. Three cycles for 8 bytes. */
static uint32_t crc32c_add(uint32_t crc, const uint8_t *p, uint32_t n)
{
	for (; n >= 8; n -= 8, p += 8)
		crc = (uint32_t)_mm_crc32_u64(crc, ld64(p));
	for (; n; n--, p++)
		crc = _mm_crc32_u8(crc, *p);
	return crc;
}

static uint32_t crc32c_zeroes(uint32_t crc, uint32_t n)
{
	for (; n >= 8; n -= 8)
		crc = (uint32_t)_mm_crc32_u64(crc, 0);
	for (; n; n--)
		crc = _mm_crc32_u8(crc, 0);
	return crc;
}

void sctp_set_ports(uint8_t *l4, uint32_t len, be16 sport, be16 dport)
{
	const uint32_t ports = (uint32_t)sport | (uint32_t)dport << 16, change = ld32(l4) ^ ports;
	if (!change)
		return;
	st32(l4 + 8, ld32(l4 + 8) ^ crc32c_zeroes(_mm_crc32_u32(0, change), len - 4));
	st32(l4, ports);
}

void sctp_finish(uint8_t *l4, uint32_t len)
{
	st32(l4 + 8, 0);
	st32(l4 + 8, ~crc32c_add(~0u, l4, len));
}

/* The first chunk that means something, or 0: ABORT may stand behind other control chunks, SHUTDOWN behind SACK and DATA (RFC 9260
 * 6.10). 'means': by chunk type, 0 for nothing. */
static uint32_t find_chunk(const uint8_t *l4, uint32_t len, const uint8_t means[256])
{
	uint32_t at = SCTP_HLEN;
	for (unsigned n = 0; n < CHUNKS_MAX && at + CHUNK_HLEN <= len; n++) {
		const uint32_t size = rd16(l4 + at + 2);
		if (means[l4[at]])
			return at;
		if (size < CHUNK_HLEN)
			break;
		at += (size + 3) & ~3u;
	}
	return 0;
}

uint8_t sctp_as_tcp(const uint8_t *l4, uint32_t len)
{
	static const uint8_t means[256] = { [INIT] = TH_SYN,
					    [INIT_ACK] = TH_SYN | TH_ACK,
					    [ABORT] = TH_RST,
					    [SHUTDOWN] = TH_FIN | TH_ACK,
					    [SHUTDOWN_ACK] = TH_FIN | TH_ACK };
	const uint32_t at = find_chunk(l4, len, means);
	return at ? means[l4[at]] : TH_ACK;
}

struct ct_tagged sctp_tags(const uint8_t *l4, uint32_t len)
{
	enum { INITIATE_END = CHUNK_HLEN + 4, T_BIT = 1 };
	static const uint8_t means[256] = { [INIT] = CT_TAG_INIT,
					    [INIT_ACK] = CT_TAG_INIT_ACK,
					    [COOKIE_ECHO] = CT_TAG_COOKIE_ECHO,
					    [ABORT] = CT_TAG_END,
					    [SHUTDOWN] = CT_TAG_END,
					    [SHUTDOWN_ACK] = CT_TAG_END,
					    [SHUTDOWN_COMPLETE] = CT_TAG_END };
	struct ct_tagged t = { .tag = rd32(l4 + 4) };
	const uint32_t at = find_chunk(l4, len, means);
	if (!at)
		return t;
	const uint8_t type = l4[at];
	t.kind = means[type];
	if ((type == ABORT || type == SHUTDOWN_COMPLETE) && l4[at + 1] & T_BIT)
		t.kind = CT_TAG_END_BY_PEER;
	if ((type == INIT || type == INIT_ACK) && at + INITIATE_END <= len)
		t.initiate = rd32(l4 + at + CHUNK_HLEN);
	return t;
}
