/* SPDX-License-Identifier: BSD-2-Clause */
/* ipcache: prefix -> identity and remote node. Longest match wins; no match is identity world. */
#pragma once

#include "tables/lpm.h"

enum identity {
	ID_UNKNOWN = 0,
	ID_HOST = 1,
	ID_WORLD = 2,
	ID_UNMANAGED = 3,
	ID_HEALTH = 4,
	ID_INIT = 5,
	ID_REMOTE_NODE = 6
};
#define ID_MAX 0xffffffu

enum ipcache_flag {
	IPCACHE_ENDPOINT = 1, /* implied by a local endpoint, not configured */
	IPCACHE_VTEP = 2,     /* the row says from which VTEP its node is reached */
};
struct ipcache_value {
	struct ipaddr remote_addr; /* of the node, zero = none */
	uint32_t identity;
	uint32_t remote; /* tunnel.h remote index, 0 = none */
	uint32_t flags;
	uint32_t reserved;
};

int ipcache_init(struct err *e);
void ipcache_fini(void);
/* The value of the longest match, NULL if none. '*dep' as lpm_lookup. */
const struct ipcache_value *ipcache_lookup(const struct ipaddr *a, uint16_t *dep);
/* Identity of 'a': of the longest match, else ID_WORLD. */
uint32_t ipcache_identity(const struct ipaddr *a, uint16_t *dep);
/* Configured rows. A row implied by an endpoint of the same /32 or /128 wins and is refused here (-EEXIST).
 * 'remote', not NULL, takes a reference on the remote node. */
struct remote_name; /* tunnel.h */
int ipcache_set(const struct ipnet *n, uint32_t identity, const struct remote_name *remote, uint32_t flags,
		struct err *e);
int ipcache_del(const struct ipnet *n, struct err *e);
/* endpoint.c only: an address stops being local; its row is set by ipcache_set with IPCACHE_ENDPOINT. A configured row that
 * stood aside for it comes back. */
void ipcache_unimply(const struct ipaddr *a);
uint32_t ipcache_next(uint32_t after, struct ipnet *n, struct ipcache_value *v); /* walk */
uint32_t ipcache_count(void);
