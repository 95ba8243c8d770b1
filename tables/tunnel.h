/* SPDX-License-Identifier: BSD-2-Clause */
/* Tunnels: the box's own VTEPs, the remote nodes they talk to, and which prefix lives behind which remote.
 * Workers read, the control thread writes. */
#pragma once

#include "tables/lpm.h"

enum vni_mode { VNI_IDENTITY, VNI_NETWORK };
enum { VTEPS_MAX = 8, REMOTES_MAX = 64 * 1024, REMOTE_VNIS = 16 };

struct vtep {
	struct ipaddr addr; /* zero: slot unused */
	uint16_t port;      /* UDP, host order */
	uint8_t mode;       /* vni_mode */
	uint32_t since;     /* number of its addition, by vtep_add() */
};
extern struct vtep vteps[VTEPS_MAX];
extern uint64_t vtep_ports; /* bit (UDP port % 64) of each VTEP: a clear bit lets the packet path skip the search */

/* Index of the VTEP, or -errno: -EEXIST same address and port, -ENOSPC. */
int vtep_add(const struct vtep *v, struct err *e);
int vtep_del(const struct ipaddr *addr, uint16_t port, struct err *e); /* -EBUSY while tunnels or ipcache rows use it */
/* Local VTEP that owns (addr, UDP port in host order), -1 if none. */
int vtep_find(const struct ipaddr *addr, uint16_t port);
bool vtep_addr_known(const struct ipaddr *addr);

/* A remote node as a row of the configuration names it. */
struct remote_name {
	struct ipaddr addr;
	struct ipaddr vtep; /* of the box, zero: not said */
	uint16_t port;      /* UDP, host order, 0: not said */
	bool has_vni;
};
/* How well 'v' suits, 0: not at all, for want of the family or of what was said. Rather one in network mode for a row with VNI, in
 * identity mode for one without; then one of the remote's own network: by the leading bits they share (RFC 6724 rule 8), at most
 * 24 or 64. Of equals the one that came first. */
unsigned vtep_suits(const struct vtep *v, const struct remote_name *n);
/* Index of the VTEP that suits best, -1 none. */
int vtep_choose(const struct remote_name *n);

/* A remote node as seen from one local VTEP: of two VTEPs that both know a node, each has its own. Index 0 is never used. */
struct remote {
	struct ipaddr addr;
	uint32_t vtep; /* index in vteps[] */
	uint32_t refs;
	uint16_t gen;
	uint16_t n_vnis;
	uint32_t vni[REMOTE_VNIS];  /* network mode: VNIs of the tunnels to it */
	uint16_t zone[REMOTE_VNIS]; /* of what comes with each */
};
const struct remote *remote_at(uint32_t index);
/* 0 when unknown. 'vtep' is the local VTEP's index. */
uint32_t remote_find(uint32_t vtep, const struct ipaddr *addr);
/* Takes a reference on the node at the VTEP that vtep_choose() finds, creating it; 0 with err text when there is none or no room. */
uint32_t remote_get(const struct remote_name *n, struct err *e);
void remote_put(uint32_t index);
/* False for NULL: one that is just being deleted. '*zone' (may be NULL) gets the zone of what comes with that VNI. */
bool remote_has_vni(const struct remote *r, uint32_t vni, uint16_t *zone);
uint32_t remote_next(uint32_t after);
/* The remotes of a former process (tables/former.h), and which of ours is its number 'index': the same node at the same VTEP, else
 * at another; 0 none. */
struct former;
int remotes_former(struct former *f);
uint32_t remote_of_former(struct former *f, uint32_t index);

enum tunnel_flag { TUNNEL_MAC = 1, TUNNEL_VIA = 2, TUNNEL_VNI = 4 };
struct tunnel_value {
	struct ipaddr via; /* inner next hop, with TUNNEL_VIA */
	uint32_t remote;   /* remote index */
	uint32_t vni;      /* network mode, or with TUNNEL_VNI */
	struct mac mac;    /* inner destination, with TUNNEL_MAC */
	uint16_t flags;
	uint16_t zone; /* in which the prefix lies: the same prefix may lie in several */
	uint8_t reserved[14];
};
_Static_assert(sizeof(struct tunnel_value) == 48, "as in tables.def");

int tunnel_init(struct err *e);
void tunnel_fini(void);
const struct tunnel_value *tunnel_lookup(uint16_t zone, const struct ipaddr *a, uint16_t *dep);
/* Adds or replaces the row of 'n' in v->zone; takes the remote's reference itself ('v->remote' is filled in from 'remote').
 * A VNI of a remote has one zone: -EINVAL. */
int tunnel_set(const struct ipnet *n, const struct remote_name *remote, struct tunnel_value *v, struct err *e);
int tunnel_del(uint16_t zone, const struct ipnet *n, struct err *e);
uint32_t tunnel_next(uint32_t after, struct ipnet *n, struct tunnel_value *v);
uint32_t tunnel_count(void);
