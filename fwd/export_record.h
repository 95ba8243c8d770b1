/* SPDX-License-Identifier: BSD-2-Clause */
/* From the engine's record to the kernel's, and which kernel program may replay it. Control thread. */
#pragma once

#include "fwd/export_table.h"
#include "tables/ct.h"

union export_record {
	struct replay_flow4 v4;
	struct replay_flow6 v6;
};
/* Copies record 'r' with its validity as it is: one that the engine would decide anew is refused by the kernel too. false: a
 * worker writes it just now, or it was never decided. 'flags' are left 0. */
bool export_record_copy(const struct ct *c, uint32_t r, union export_record *out);
/* Do two records say the same, apart from 'flags' and 'use'? */
bool export_record_equal(bool v6, const void *a, const void *b);
/* The values of both families. */
uint32_t export_record_gensum(bool v6, const void *k);
uint16_t export_record_flags(bool v6, const void *k);

/* UDP port, host order, that the one device sluice_vxlan is of most use with; 0: there is no VTEP. It takes VXLAN off where XDP does
 * not, and puts it on over IPv6: so that of a VTEP over IPv6 where XDP does the former on all ports, and else, or if both families
 * have that one, the first IPv4 VTEP's. */
uint16_t export_overlay_port(const struct replay_conf *conf);
/* REPLAY_BY_* for a record from 'in' by adjacency 'adj', by what devices and programs there are ('conf') and 'allowed'. 0: no
 * program; '*why' is then a word for 'show ct'. */
uint16_t export_record_path(const struct replay_conf *conf, uint16_t allowed, uint32_t in, uint32_t adj,
			    const char **why);
