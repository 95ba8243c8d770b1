/* SPDX-License-Identifier: BSD-2-Clause */
/* Endpoints: local workloads by id and by address. An endpoint is replaced whole; workers read, the control thread writes.
 * Each address implies its /32 or /128 ipcache row with the endpoint's identity (ipcache.h, written here). */
#pragma once

#include "tables/table.h"

enum { ENDPOINT_ID_MAX = 65535, ENDPOINT_ADDRS = 8 };

struct endpoint {
	uint32_t id; /* 1..ENDPOINT_ID_MAX */
	uint32_t identity;
	uint32_t ifindex; /* of the host-side device; 0 while it does not exist */
	char device[16];
	struct mac mac; /* zero until given or learned */
	bool mac_fixed; /* given in the configuration: enforced, never learned */
	uint8_t n_addrs;
	struct ipaddr addr[ENDPOINT_ADDRS];
	uint32_t policy_set; /* policy.h; 0 = no rules */
	uint32_t adj;        /* adjacency toward it, 0 until its MAC is known */
	uint16_t gen;  /* generation counter of this endpoint: bumped by every change of it or of its policy set */
	uint16_t zone; /* whose networks it means by addresses that several have (docs/zones.md) */
};

int endpoint_init(struct err *e); /* opens the table; capacity from tables.def */
void endpoint_fini(void);
/* NULL when absent. The pointer is good until the reader's next quiescent state. */
const struct endpoint *endpoint_by_id(uint32_t id);
const struct endpoint *endpoint_by_addr(const struct ipaddr *a);
/* Adds or replaces the endpoint 'ep->id' (copied; 'gen' is filled in), its addresses and their ipcache rows, then bumps.
 * -EEXIST when an address belongs to another endpoint, -ENOSPC when full; then nothing changed. */
int endpoint_set(const struct endpoint *ep, struct err *e);
int endpoint_del(uint32_t id, struct err *e); /* -ENOENT */
uint32_t endpoint_next(uint32_t after_id);    /* walk by id; 0 = end */
uint32_t endpoint_count(void);
