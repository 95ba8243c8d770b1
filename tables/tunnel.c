/* SPDX-License-Identifier: BSD-2-Clause */
/* VTEPs, remote nodes, tunnel prefixes. Workers look up when they decapsulate and when they route; the control thread
 * writes.
 *
 * A remote node is an entry of a hash table, named by its index there: records and adjacencies keep that index. It
 * lives as long as a tunnel or an ipcache row names it; its reference count and VNI list change in place. */
#include "tables/tunnel.h"

#include <endian.h>
#include <stdlib.h>

#include "tables/former.h"
#include "tables/ipcache.h"
#include "tables/room.h"

/* The VTEP by what it is, not by its number: a later process may number them otherwise (remote_of_former). */
struct remote_key {
	struct ipaddr addr, vtep;
	uint64_t port;
};
/* Remotes share the counters of GEN_TUNNEL with the prefixes: the upper half is theirs, in the order they come. */
enum { REMOTE_GEN_FIRST = 5000, REMOTE_GENS = 5000 };

struct vtep vteps[VTEPS_MAX];
uint64_t vtep_ports;
static struct table remotes;
static struct lpm tunnels;
static uint32_t n_remotes_ever, n_vteps_ever;
static uint32_t (*vni_refs)[REMOTE_VNIS]; /* [remote][place in its vni list], control thread */

int tunnel_init(struct err *e)
{
	int r = table_open(&remotes, "remotes", REMOTES_MAX, sizeof(struct remote_key), sizeof(struct remote), e);

	if (r)
		return r;
	r = lpm_open(&tunnels, "tunnel", 0, sizeof(struct tunnel_value), GEN_TUNNEL, e);
	if (r)
		goto no_lpm;
	vni_refs = calloc((size_t)remotes.pool.capacity + 1, sizeof(*vni_refs));
	if (vni_refs)
		return 0;
	r = err_set(e, -ENOMEM, "remote nodes: out of memory");
	lpm_close(&tunnels);
no_lpm:
	table_close(&remotes);
	return r;
}

void tunnel_fini(void)
{
	free(vni_refs);
	vni_refs = NULL;
	lpm_close(&tunnels);
	table_close(&remotes);
	memset(vteps, 0, sizeof(vteps));
	vtep_ports = 0;
}

/* ---- VTEPs ---- */

static bool used(const struct vtep *v)
{
	return !ip_is_zero(&v->addr);
}

static uint64_t ports_in_use(void)
{
	uint64_t bits = 0;
	for (unsigned i = 0; i < VTEPS_MAX; i++)
		if (used(&vteps[i]))
			bits |= 1ull << (vteps[i].port % 64);
	return bits;
}

int vtep_add(const struct vtep *v, struct err *e)
{
	char b[IP_STRLEN];
	int slot = -1;

	ip_print(&v->addr, b);
	if (ip_is_zero(&v->addr) || ip_is_multicast(&v->addr) || ip_is_bcast4(&v->addr) || !v->port)
		return err_set(e, -EINVAL, "vtep %s port %u: give a unicast address of this box and a UDP port", b,
			       v->port);
	if (vtep_find(&v->addr, v->port) >= 0)
		return err_set(e, -EEXIST, "vtep %s port %u exists already", b, v->port);
	for (int i = VTEPS_MAX - 1; i >= 0; i--)
		if (!used(&vteps[i]))
			slot = i;
	if (slot < 0)
		return err_set(e, -ENOSPC, "vtep %s: there are %d VTEPs already, which is the limit: delete one", b,
			       VTEPS_MAX);
	/* The address last: a worker that sees it sees the port, too. */
	vteps[slot].port = v->port;
	vteps[slot].mode = v->mode;
	vteps[slot].since = ++n_vteps_ever;
	STORE_RELEASE(&vteps[slot].addr.d[0], v->addr.d[0]);
	STORE_RELEASE(&vteps[slot].addr.d[1], v->addr.d[1]);
	STORE_RELEASE(&vtep_ports, ports_in_use());
	gen_bump_extra();
	return slot;
}

static uint32_t remotes_of(int vtep, const struct remote **first)
{
	uint32_t n = 0;

	for (uint32_t i = remote_next(0); i; i = remote_next(i)) {
		const struct remote *r = remote_at(i);
		if (r->vtep == (uint32_t)vtep && !n++)
			*first = r;
	}
	return n;
}

int vtep_del(const struct ipaddr *addr, uint16_t port, struct err *e)
{
	int i = vtep_find(addr, port);
	const struct remote *first = NULL;
	char b[IP_STRLEN], c[IP_STRLEN];
	uint32_t n;

	ip_print(addr, b);
	if (i < 0)
		return err_set(e, -ENOENT, "vtep %s port %u does not exist", b, port);
	n = remotes_of(i, &first);
	if (n)
		return err_set(
			e, -EBUSY,
			"vtep %s port %u is used by %u remote node%s (%s%s): delete the tunnels and ipcache rows first",
			b, port, n, n > 1 ? "s" : "", ip_print(&first->addr, c), n > 1 ? " ..." : "");
	STORE_RELEASE(&vteps[i].addr.d[1], 0);
	STORE_RELEASE(&vteps[i].addr.d[0], 0);
	STORE_RELEASE(&vtep_ports, ports_in_use());
	gen_bump_extra();
	return 0;
}

int vtep_find(const struct ipaddr *addr, uint16_t port)
{
	if (ip_is_zero(addr))
		return -1;
	for (int i = 0; i < VTEPS_MAX; i++)
		if (ip_eq(&vteps[i].addr, addr) && vteps[i].port == port)
			return i;
	return -1;
}

bool vtep_addr_known(const struct ipaddr *addr)
{
	if (ip_is_zero(addr))
		return false;
	for (int i = 0; i < VTEPS_MAX; i++)
		if (ip_eq(&vteps[i].addr, addr))
			return true;
	return false;
}

static unsigned shared_bits(const struct ipaddr *a, const struct ipaddr *b)
{
	for (unsigned i = 0; i < 2; i++) {
		const uint64_t differ = be64toh(a->d[i] ^ b->d[i]);
		if (differ)
			return 64 * i + (unsigned)__builtin_clzll(differ);
	}
	return 128;
}

unsigned vtep_suits(const struct vtep *v, const struct remote_name *n)
{
	const bool v4 = ip_is4(&n->addr);
	unsigned bits;

	if (!used(v) || ip_is4(&v->addr) != v4 || (!ip_is_zero(&n->vtep) && !ip_eq(&v->addr, &n->vtep)) ||
	    (n->port && v->port != n->port))
		return 0;
	bits = shared_bits(&v->addr, &n->addr);
	bits = bits < (v4 ? 96 + 24u : 64u) ? bits : (v4 ? 96 + 24u : 64u);
	return 1 + bits + ((v->mode == VNI_NETWORK) == n->has_vni ? 256 : 0);
}

int vtep_choose(const struct remote_name *n)
{
	unsigned best = 0;
	int which = -1;

	for (int i = 0; i < VTEPS_MAX; i++) {
		const unsigned suits = vtep_suits(&vteps[i], n);
		if (suits > best || (which >= 0 && suits == best && vteps[i].since < vteps[which].since)) {
			best = suits;
			which = i;
		}
	}
	return which;
}

/* ---- remote nodes ---- */

static struct remote_key key_of(uint32_t vtep, const struct ipaddr *addr)
{
	return (struct remote_key){ .addr = *addr, .vtep = vteps[vtep].addr, .port = vteps[vtep].port };
}

static struct remote *remote_rw(uint32_t index)
{
	return table_value(&remotes, index);
}

const struct remote *remote_at(uint32_t index)
{
	if (!index || index > remotes.pool.capacity || pool_state(&remotes.pool, index) != POOL_LIVE)
		return NULL;
	return remote_rw(index);
}

uint32_t remote_find(uint32_t vtep, const struct ipaddr *addr)
{
	struct remote_key k = key_of(vtep, addr);

	return table_find(&remotes, &k);
}

int remotes_former(struct former *f)
{
	return former_open_pool(f, "remotes", sizeof(struct remote_key) + sizeof(struct remote));
}

uint32_t remote_of_former(struct former *f, uint32_t index)
{
	const struct remote_key *k = former_is_live(f, index) ? former_at(f, index) : NULL;
	const int same = k ? vtep_find(&k->vtep, (uint16_t)k->port) : -1;
	uint32_t i = same < 0 ? 0 : remote_find((uint32_t)same, &k->addr);

	for (uint32_t v = 0; k && v < VTEPS_MAX && !i; v++)
		i = remote_find(v, &k->addr);
	return i;
}

static int no_vtep(const struct remote_name *n, struct err *e)
{
	const bool said = n->port || !ip_is_zero(&n->vtep);
	char b[IP_STRLEN];

	return err_set(e, -ENOENT, "remote %s: no %sIPv%c VTEP on this box to reach it from: 'add vtep' first",
		       ip_print(&n->addr, b), said ? "such " : "", ip_is4(&n->addr) ? '4' : '6');
}

uint32_t remote_get(const struct remote_name *n, struct err *e)
{
	const struct ipaddr *addr = &n->addr;
	const int vtep = vtep_choose(n);
	uint32_t i = vtep < 0 ? 0 : remote_find((uint32_t)vtep, addr);
	char b[IP_STRLEN];
	int r;

	if (i) {
		remote_rw(i)->refs++;
		return i;
	}
	ip_print(addr, b);
	if (ip_is_zero(addr) || ip_is_multicast(addr) || ip_is_bcast4(addr) || vtep_addr_known(addr)) {
		err_set(e, -EINVAL, "remote %s: give the unicast address of another node", b);
		return 0;
	}
	if (vtep < 0) {
		no_vtep(n, e);
		return 0;
	}
	struct remote_key k = key_of((uint32_t)vtep, addr);
	struct remote v = { .addr = *addr, .vtep = (uint32_t)vtep, .refs = 1 };
	v.gen = gen_number(GEN_TUNNEL, REMOTE_GEN_FIRST + n_remotes_ever++ % REMOTE_GENS);
	r = table_insert(&remotes, SLOT_CONTROL, &k, &v, &i);
	if (room_after_wait(&remotes, r, true))
		r = table_insert(&remotes, SLOT_CONTROL, &k, &v, &i);
	if (r) {
		err_set(e, r, "remote %s: there are %u remote nodes already, which is the limit", b,
			table_count(&remotes));
		return 0;
	}
	memset(vni_refs[i], 0, sizeof(vni_refs[i]));
	return i;
}

void remote_put(uint32_t index)
{
	struct remote *r;

	if (!index)
		return;
	r = remote_rw(index);
	if (--r->refs)
		return;
	struct remote_key k = key_of(r->vtep, &r->addr);
	table_delete(&remotes, SLOT_CONTROL, &k);
	/* Records name the ingress by this index, and depend on no counter of the remote: another node may get it next. */
	gen_bump_extra();
}

bool remote_has_vni(const struct remote *r, uint32_t vni, uint16_t *zone)
{
	unsigned n = r ? LOAD_ACQUIRE(&r->n_vnis) : 0;

	for (unsigned i = 0; i < n; i++) {
		if (LOAD_RELAXED(&r->vni[i]) != vni)
			continue;
		const uint16_t z = LOAD_RELAXED(&r->zone[i]);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (LOAD_RELAXED(&r->vni[i]) != vni) /* its place went to another meanwhile */
			continue;
		if (zone)
			*zone = z;
		return true;
	}
	return false;
}

uint32_t remote_next(uint32_t after)
{
	return table_next(&remotes, after);
}

static int vni_get(uint32_t index, uint32_t vni, uint16_t zone, struct err *e)
{
	struct remote *r = remote_rw(index);
	char b[IP_STRLEN];
	unsigned i;

	for (i = 0; i < r->n_vnis; i++)
		if (r->vni[i] == vni && r->zone[i] != zone) {
			return err_set(e, -EINVAL, "remote %s: VNI %u is in zone %u by other tunnels: use another VNI",
				       ip_print(&r->addr, b), vni, r->zone[i]);
		} else if (r->vni[i] == vni) {
			vni_refs[index][i]++;
			return 0;
		}
	if (i == REMOTE_VNIS)
		return err_set(e, -ENOSPC, "remote %s carries %d VNIs already, which is the limit: use one of those",
			       ip_print(&r->addr, b), REMOTE_VNIS);
	vni_refs[index][i] = 1;
	STORE_RELAXED(&r->zone[i], zone);
	STORE_RELEASE(&r->vni[i], vni);
	STORE_RELEASE(&r->n_vnis, (uint16_t)(i + 1));
	return 0;
}

static void vni_put(uint32_t index, uint32_t vni)
{
	struct remote *r = remote_rw(index);
	unsigned i = 0, last = r->n_vnis - 1u;

	while (i < r->n_vnis && r->vni[i] != vni)
		i++;
	if (i == r->n_vnis || --vni_refs[index][i])
		return;
	/* A worker that still counts to the old end meets the last one twice, never not at all. */
	vni_refs[index][i] = vni_refs[index][last];
	STORE_RELAXED(&r->vni[i], UINT32_MAX); /* never under the zone of another */
	STORE_RELEASE(&r->zone[i], r->zone[last]);
	STORE_RELEASE(&r->vni[i], last == i ? vni : r->vni[last]);
	STORE_RELEASE(&r->n_vnis, (uint16_t)last);
	gen_bump(r->gen);
}

/* ---- tunnel prefixes ---- */

const struct tunnel_value *tunnel_lookup(uint16_t zone, const struct ipaddr *a, uint16_t *dep)
{
	uint32_t i = lpm_lookup(&tunnels, zone, a, dep);

	return i ? lpm_value(&tunnels, i) : NULL;
}

static bool lists_vni(uint32_t remote)
{
	return vteps[remote_rw(remote)->vtep].mode == VNI_NETWORK;
}

/* Gives back what a tunnel holds: its VNI's place, then the remote. */
static void release(uint32_t remote, uint32_t vni)
{
	if (!remote)
		return;
	if (lists_vni(remote))
		vni_put(remote, vni);
	remote_put(remote);
}

static int check(const char *net, const struct tunnel_value *v, struct err *e)
{
	if (v->vni > ID_MAX)
		return err_set(e, -EINVAL, "tunnel %s: VNI %u is too large: the largest is %u", net, v->vni, ID_MAX);
	if (v->flags & TUNNEL_MAC && v->flags & TUNNEL_VIA)
		return err_set(e, -EINVAL, "tunnel %s: give a mac or a via, not both", net);
	if (v->flags & TUNNEL_MAC && (mac_is_zero(&v->mac) || v->mac.b[0] & 1))
		return err_set(e, -EINVAL, "tunnel %s: give a unicast mac", net);
	if (v->flags & TUNNEL_VIA && (ip_is_zero(&v->via) || ip_is_multicast(&v->via)))
		return err_set(e, -EINVAL, "tunnel %s: via must be a unicast address behind the tunnel", net);
	return 0;
}

int tunnel_set(const struct ipnet *n, const struct remote_name *remote, struct tunnel_value *v, struct err *e)
{
	uint32_t i = lpm_exact(&tunnels, v->zone, n);
	uint32_t old_remote = 0, old_vni = 0;
	char b[IP_STRLEN];
	int r = check(ipnet_print(n, b), v, e);

	if (r)
		return r;
	if (i) {
		old_remote = ((const struct tunnel_value *)lpm_value(&tunnels, i))->remote;
		old_vni = ((const struct tunnel_value *)lpm_value(&tunnels, i))->vni;
	}
	v->remote = remote_get(remote, e);
	if (!v->remote)
		return -ENOENT;
	if (lists_vni(v->remote)) {
		r = vni_get(v->remote, v->vni, v->zone, e);
		if (r) {
			remote_put(v->remote);
			return r;
		}
	}
	r = lpm_set(&tunnels, v->zone, n, v);
	if (room_after_wait(&tunnels.t, r, !old_remote))
		r = lpm_set(&tunnels, v->zone, n, v);
	if (r) {
		err_set(e, r, "tunnel %s: the table is full (%u prefixes): delete some or merge them into shorter ones",
			b, tunnel_count());
		release(v->remote, v->vni);
		return r;
	}
	release(old_remote, old_vni);
	return 0;
}

int tunnel_del(uint16_t zone, const struct ipnet *n, struct err *e)
{
	uint32_t i = lpm_exact(&tunnels, zone, n), remote, vni;
	char b[IP_STRLEN];

	if (!i)
		return err_set(e, -ENOENT, "tunnel %s does not exist: 'show tunnel' lists what does",
			       ipnet_print(n, b));
	remote = ((const struct tunnel_value *)lpm_value(&tunnels, i))->remote;
	vni = ((const struct tunnel_value *)lpm_value(&tunnels, i))->vni;
	lpm_delete(&tunnels, zone, n);
	release(remote, vni);
	return 0;
}

uint32_t tunnel_next(uint32_t after, struct ipnet *n, struct tunnel_value *v)
{
	uint32_t i = lpm_next(&tunnels, after);

	if (i) {
		*n = (struct ipnet){ .addr = lpm_key(&tunnels, i)->addr, .len = (uint8_t)lpm_key(&tunnels, i)->len };
		*v = *(const struct tunnel_value *)lpm_value(&tunnels, i);
	}
	return i;
}

uint32_t tunnel_count(void)
{
	return table_count(&tunnels.t);
}
