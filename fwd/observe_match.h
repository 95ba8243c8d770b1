/* SPDX-License-Identifier: BSD-2-Clause */
/* Between observe.c and observe_filter.c: does an observer want it? Workers. */
#pragma once

#include "fwd/observe.h"

/* What a frame says about its ends; of an ARP packet sender and target. Zeroes: does not say. */
struct ends {
	struct ipaddr src, dst;
	uint16_t sport, dport; /* host order */
	uint8_t proto;
	bool has_ports, has_addrs;
};
/* Fills x[0], and x[1] for what is inside a VXLAN packet of ours; returns how many. Any bytes will do. */
unsigned observe_look(const uint8_t *frame, uint32_t len, struct ends x[2]);
/* 'endpoint' of the frame's stamp, 0 = none. Not port and reason. */
bool observe_ends_match(const struct observe_filter *f, const struct ends *x, uint32_t endpoint);
/* A frame at engine port 'port' against all but 'reason'. */
bool observe_frame_match(const struct observe_filter *f, uint16_t port, const uint8_t *frame, uint32_t len);
