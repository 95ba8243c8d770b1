/* SPDX-License-Identifier: BSD-2-Clause */
/* Is a frame sound? A reader of its own, so that the engine's parser is not judged by itself. */
#pragma once

#include <stdint.h>

enum {
	FRAME_SHORT = 1,   /* a length says more than there is */
	FRAME_IP_CSUM = 2, /* an IPv4 header checksum is wrong */
	FRAME_L4_CSUM =
		4, /* TCP, UDP, ICMP of the innermost packet or of the tunnel; none over IPv4 UDP counts as right */
	FRAME_PARTIAL = 8, /* the innermost TCP or UDP checksum is the pseudo-header's sum: unfinished, not wrong */
	FRAME_FRAGMENT = 16,
	FRAME_OTHER = 32, /* not IP */
	FRAME_INNER = 64, /* the first two, inside a tunnel if it is one */
};
/* Bits of the above, of all layers together. VXLAN is looked into on UDP ports 8472 and 4789. */
unsigned check_frame(const uint8_t *f, uint32_t n);
/* Writes IPv4 header checksums of all layers that are there, so that damage behind them is seen. */
void repair_ip_csum(uint8_t *f, uint32_t n);
