/* SPDX-License-Identifier: BSD-2-Clause */
/* Who has that next hop? (resolve.h) Control thread only.
 *
 * Two maps. 'kernel' mirrors the usable neighbours of the kernel on all devices. 'records' are the next hops that workers or
 * tunnels asked for, each published as an entry of tables/neighbor.h. A record is never rebuilt while it works: a new MAC or a
 * moved underlay changes its adjacency in place, and a neighbour that the kernel forgot goes on until it failed for 3 s.
 * Which adjacencies carry traffic is not known here, so all that were resolved are refreshed. */
#include "fwd/resolve_private.h"

#include <errno.h>
#include <stdlib.h>

#include "fwd/base/clock.h"
#include "fwd/base/hash.h"
#include "fwd/base/log.h"
#include "tables/tunnel.h"

enum {
	RECORDS_MAX = 256 * 1024, /* half of the neighbour table */
	REFRESH_S = 30,
	FORGET_S = 60,  /* FAILED and not asked for */
	SCAN_TICKS = 50 /* every record is looked at once in so many ticks: 5 s */
};

struct kneigh {
	struct kneigh *chain;
	uint32_t ifindex, epoch;
	struct ipaddr ip;
	struct mac mac;
	bool fixed; /* PERMANENT or NOARP: the operator's */
};

static uint32_t n_buckets, n_kbuckets;
static struct record **buckets;
static struct kneigh **kbuckets;
static struct record **all; /* n_all of them, any order */
static uint32_t n_all, all_size, scan_at, n_kernel, kepoch;
static struct link pending_list = { &pending_list, &pending_list };
static uint64_t next_remotes_ns, complain_ns;

static void ask_nobody(uint32_t ifindex, const struct ipaddr *ip)
{
	(void)ifindex;
	(void)ip;
}
void (*resolve_ask_kernel)(uint32_t ifindex, const struct ipaddr *ip) = ask_nobody;

int resolve_init(struct err *e)
{
	n_buckets = n_kbuckets = 4096;
	buckets = calloc(n_buckets, sizeof(*buckets));
	kbuckets = calloc(n_kbuckets, sizeof(*kbuckets));
	if (buckets && kbuckets)
		return 0;
	resolve_fini();
	return err_set(e, -ENOMEM, "neighbours: out of memory");
}

void resolve_fini(void)
{
	for (uint32_t i = 0; i < n_all; i++)
		free(all[i]);
	for (uint32_t i = 0; kbuckets && i < n_kbuckets; i++)
		for (struct kneigh *k = kbuckets[i], *next; k; k = next) {
			next = k->chain;
			free(k);
		}
	free(all);
	free(buckets);
	free(kbuckets);
	all = NULL, buckets = NULL, kbuckets = NULL;
	pending_list = (struct link){ &pending_list, &pending_list };
	n_all = all_size = scan_at = n_kernel = n_buckets = n_kbuckets = 0;
	resolve_gate_fini();
	next_remotes_ns = complain_ns = 0;
}

void resolve_complain(const struct err *e)
{
	uint64_t now = clock_ns();
	if (complain_ns && now < complain_ns)
		return;
	complain_ns = now + 10 * NS_PER_S;
	log_warn("%s", e->text);
}

/* ---- the kernel's neighbours ---- */

static uint32_t khash(uint32_t ifindex, const struct ipaddr *ip)
{
	uint64_t k[3] = { ip->d[0], ip->d[1], ifindex };
	return (uint32_t)hash_key(k, sizeof(k));
}

static struct kneigh **kernel_slot(uint32_t ifindex, const struct ipaddr *ip)
{
	struct kneigh **p = &kbuckets[khash(ifindex, ip) & (n_kbuckets - 1)];
	while (*p && ((*p)->ifindex != ifindex || !ip_eq(&(*p)->ip, ip)))
		p = &(*p)->chain;
	return p;
}

static void kernel_grow(void)
{
	uint32_t n = n_kbuckets * 2;
	struct kneigh **b = calloc(n, sizeof(*b));
	if (!b)
		return;
	for (uint32_t i = 0; i < n_kbuckets; i++)
		for (struct kneigh *k = kbuckets[i], *next; k; k = next) {
			next = k->chain;
			uint32_t at = khash(k->ifindex, &k->ip) & (n - 1);
			k->chain = b[at];
			b[at] = k;
		}
	free(kbuckets);
	kbuckets = b;
	n_kbuckets = n;
}

static void kernel_set(uint32_t ifindex, const struct ipaddr *ip, const struct mac *mac)
{
	struct kneigh **p = kernel_slot(ifindex, ip);
	if (!mac) {
		struct kneigh *k = *p;
		if (!k)
			return;
		*p = k->chain;
		n_kernel--;
		free(k);
		return;
	}
	if (!*p) {
		if (n_kernel >= n_kbuckets) {
			kernel_grow();
			p = kernel_slot(ifindex, ip);
		}
		*p = calloc(1, sizeof(**p));
		if (!*p)
			return;
		(*p)->ifindex = ifindex;
		(*p)->ip = *ip;
		n_kernel++;
	}
	(*p)->mac = *mac;
	(*p)->fixed = false;
	(*p)->epoch = kepoch;
}

void resolve_kernel_fixed(uint32_t ifindex, const struct ipaddr *ip)
{
	struct kneigh *k = *kernel_slot(ifindex, ip);
	if (k)
		k->fixed = true;
}

/* ---- records ---- */

static struct record **record_slot(const struct neighbor_key *k)
{
	struct record **p = &buckets[(uint32_t)hash_key(k, sizeof(*k)) & (n_buckets - 1)];
	while (*p && memcmp(&(*p)->key, k, sizeof(*k)))
		p = &(*p)->chain;
	return p;
}

static void records_grow(void)
{
	uint32_t n = n_buckets * 2;
	struct record **b = calloc(n, sizeof(*b));
	if (!b)
		return;
	for (uint32_t i = 0; i < n_all; i++) {
		struct record **p = &b[(uint32_t)hash_key(&all[i]->key, sizeof(all[i]->key)) & (n - 1)];
		all[i]->chain = *p;
		*p = all[i];
	}
	free(buckets);
	buckets = b;
	n_buckets = n;
}

/* An index may stand for another remote or device by now. */
static bool stale(const struct record *r)
{
	return record_is_remote(r) ? !tunnel_remote_known(r) : r->ifindex != ports[r->key.dev]->ifindex;
}

struct record *record_get(const struct neighbor_key *k)
{
	struct record **p = record_slot(k);
	if (*p && !stale(*p))
		return *p;
	if (*p) {
		record_drop(*p);
		p = record_slot(k);
	}
	if (n_all >= RECORDS_MAX)
		return NULL;
	if (n_all == all_size) {
		uint32_t n = all_size ? all_size * 2 : 256;
		struct record **a = realloc(all, n * sizeof(*a));
		if (!a)
			return NULL;
		all = a;
		all_size = n;
	}
	if (n_all >= n_buckets) {
		records_grow();
		p = record_slot(k);
	}
	struct record *r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	r->key = *k;
	r->state = NEIGHBOR_FAILED;
	if (record_is_ipip(r)) {
		r->remote_addr = k->ip;
	} else if (record_is_remote(r)) {
		const struct remote *m = remote_at(k->dev & ~NEIGHBOR_REMOTE);
		r->remote_addr = m->addr;
		r->vtep_since = vteps[m->vtep].since;
	} else {
		r->ifindex = ports[k->dev]->ifindex;
	}
	r->at = n_all;
	all[n_all++] = r;
	*p = r;
	return r;
}

void record_pending(struct record *r, bool pending)
{
	struct link *l = &r->pending;
	if (record_is_pending(r) == pending)
		return;
	if (pending) {
		l->next = pending_list.next;
		l->prev = &pending_list;
		l->next->prev = l->prev->next = l;
	} else {
		l->next->prev = l->prev;
		l->prev->next = l->next;
		l->next = l->prev = NULL;
	}
}

void record_drop(struct record *r)
{
	record_pending(r, false);
	tunnel_detach(r);
	*record_slot(&r->key) = r->chain;
	all[r->at] = all[--n_all];
	all[r->at]->at = r->at;
	neighbor_del(&r->key);
	workers_neighbor_changed();
	free(r);
}

/* The adjacency that says what is known now: as a rule the one it had. 0: there is none for it. */
static uint32_t filled_adj(struct record *r, struct err *e)
{
	if (record_is_remote(r))
		return tunnel_adj(r, e);
	const struct port *p = ports[r->key.dev];
	const uint32_t adj = r->adj ? r->adj : adj_alloc(e);
	if (adj)
		adj_set_eth(adj, p->index, &p->mac, &r->mac, p->mtu);
	return adj;
}

void record_publish(struct record *r, enum neighbor_state s)
{
	struct err e;
	bool use = s == NEIGHBOR_REACHABLE || s == NEIGHBOR_STALE;
	if (use) {
		r->adj = filled_adj(r, &e); /* before the entry names it */
		if (!r->adj) {
			resolve_complain(&e);
			use = false;
			s = NEIGHBOR_FAILED;
		}
	}
	struct neighbor n = { .state = (uint8_t)s, .adj = use ? r->adj : 0 };
	n.source = record_is_remote(r) ? NEIGHBOR_OVERLAY : NEIGHBOR_KERNEL;
	if (use)
		n.mac = r->mac;
	if (neighbor_set(&r->key, &n, &e) < 0) {
		resolve_complain(&e);
		if (use)
			adj_free(r->adj);
		use = false;
		s = NEIGHBOR_FAILED;
	}
	if (!use)
		r->adj = 0; /* neighbor_set freed it */
	r->state = (uint8_t)s;
	r->published = true;
	if (s == NEIGHBOR_FAILED)
		r->tries = 0;
	if (s != NEIGHBOR_INCOMPLETE)
		record_pending(r, false);
	workers_neighbor_changed();
	for (struct record *d = r->dependents, *next; d; d = next) {
		next = d->dependent_next;
		tunnel_update(d, false, clock_ns());
	}
}

static void ask_kernel(struct record *r, uint64_t now_ns)
{
	const struct kneigh *k = *kernel_slot(r->ifindex, &r->key.ip);
	if (r->asked_ns && now_ns - r->asked_ns < ASK_NS)
		return;
	r->asked_ns = now_ns;
	if (k && k->fixed) /* NTF_USE would take the PERMANENT off it, and ARP would overwrite what the operator set */
		return;
	resolve_ask_kernel(r->ifindex, &r->key.ip);
}

static void wait_for_answer(struct record *r, uint64_t now_ns)
{
	r->deadline_ns = now_ns + WAIT_S * NS_PER_S;
	record_pending(r, true);
}

void record_start(struct record *r, uint64_t now_ns)
{
	if (record_is_remote(r)) {
		tunnel_update(r, true, now_ns);
		return;
	}
	const struct kneigh *k = *kernel_slot(r->ifindex, &r->key.ip);
	if (k) {
		r->mac = k->mac;
		r->has_mac = true;
		record_publish(r, NEIGHBOR_REACHABLE);
	} else {
		if (r->state != NEIGHBOR_INCOMPLETE)
			record_publish(r, NEIGHBOR_INCOMPLETE);
		wait_for_answer(r, now_ns);
	}
	ask_kernel(r, now_ns); /* also a known one: the kernel then checks that it still answers */
}

/* ---- requests ---- */

static bool key_valid(const struct neighbor_key *k)
{
	if (k->dev & NEIGHBOR_REMOTE)
		return remote_at(k->dev & ~NEIGHBOR_REMOTE);
	if (k->dev == NEIGHBOR_IPIP)
		return !ip_is_zero(&k->ip);
	return k->dev < PORTS_MAX && k->dev >= PORT_FIRST && ports[k->dev] && !ip_is_zero(&k->ip);
}

static void want(const struct neighbor_key *k)
{
	uint64_t now = clock_ns();
	if (!key_valid(k))
		return;
	struct record *r = record_get(k);
	if (!r) {
		struct err e;
		err_set(&e, -ENOSPC, "neighbours: %u are being resolved, which is the limit", n_all);
		resolve_complain(&e);
		return;
	}
	r->wanted_ns = now;
	if (record_usable(r)) {
		if (!neighbor_find(k))
			record_publish(r, NEIGHBOR_REACHABLE);
		else
			workers_neighbor_changed(); /* it was found while this request was on its way */
		return;
	}
	if (r->state == NEIGHBOR_INCOMPLETE || (r->asked_ns && now - r->asked_ns < ASK_NS))
		return;
	record_start(r, now);
}

/* An ARP reply or NA came out of a tunnel. */
static void seen(const struct neighbor_key *k, const struct mac *mac)
{
	struct record *r = *record_slot(k);
	if (!r || !record_is_inner(r) || !tunnel_remote_known(r) || mac->b[0] & 1 || mac_is_zero(mac))
		return;
	bool changed = !r->has_mac || !mac_eq(&r->mac, mac);
	r->mac = *mac;
	r->has_mac = true;
	r->tries = 0;
	record_pending(r, false);
	if (changed || !record_usable(r))
		tunnel_update(r, false, clock_ns());
}

void resolve_request(const struct request *r)
{
	if (r->kind == REQUEST_RESOLVE)
		want(&r->key);
	else if (r->kind == REQUEST_NEIGHBOR_SEEN)
		seen(&r->key, &r->mac);
}

/* ---- kernel events ---- */

static struct record *record_on_device(uint32_t ifindex, const struct ipaddr *ip)
{
	const struct port *p = port_by_ifindex(ifindex);
	if (!p || p->index < PORT_FIRST)
		return NULL;
	struct neighbor_key k = { .ip = *ip, .dev = p->index };
	struct record *r = *record_slot(&k);
	return r && r->ifindex == ifindex ? r : NULL;
}

void resolve_kernel_neighbor(uint32_t ifindex, const struct ipaddr *ip, const struct mac *mac, bool usable, bool failed)
{
	usable = usable && mac;
	kernel_set(ifindex, ip, usable ? mac : NULL);
	struct record *r = record_on_device(ifindex, ip);
	if (!r)
		return;
	if (usable) {
		bool changed = !record_usable(r) || !mac_eq(&r->mac, mac);
		r->mac = *mac;
		r->has_mac = true;
		record_pending(r, false);
		if (changed)
			record_publish(r, NEIGHBOR_REACHABLE);
	} else if (failed) {
		if (record_usable(r))
			r->lost_ns = clock_ns();
		if (r->state != NEIGHBOR_FAILED)
			record_publish(r, NEIGHBOR_FAILED);
	} else if (r->state == NEIGHBOR_FAILED && r->lost_ns && clock_ns() - r->lost_ns < NS_PER_S) {
		/* an operator's delete comes as FAILED, then as gone: that is no verdict on the neighbour */
		record_start(r, clock_ns());
	} else if (record_usable(r) && !record_is_pending(r)) {
		/* forgotten, or asked again from scratch: the old address serves until the answer */
		wait_for_answer(r, clock_ns());
		ask_kernel(r, clock_ns());
	}
}

void resolve_resync_begin(void)
{
	kepoch++;
}

void resolve_resync_end(void)
{
	for (uint32_t i = 0; i < n_kbuckets; i++)
		for (struct kneigh *k = kbuckets[i], *next; k; k = next) {
			next = k->chain;
			if (k->epoch != kepoch) {
				struct ipaddr ip = k->ip;
				resolve_kernel_neighbor(k->ifindex, &ip, NULL, false, false);
			}
		}
}

/* ---- changes around it ---- */

void resolve_routes_changed(void)
{
	uint64_t now = clock_ns();
	/* backwards: tunnel_update may drop the record it is given, and appends at most */
	for (uint32_t i = n_all; i-- > 0;)
		if (i < n_all && record_is_remote(all[i]))
			tunnel_update(all[i], false, now);
}

void resolve_remotes_changed(void)
{
	for (uint32_t i = n_all; i-- > 0;)
		if (record_is_remote(all[i]) && !tunnel_remote_known(all[i]))
			record_drop(all[i]);
}

void resolve_port_changed(uint16_t port)
{
	const struct port *p = port < PORTS_MAX ? ports[port] : NULL;
	for (uint32_t i = n_all; i-- > 0;) {
		struct record *r = i < n_all ? all[i] : NULL;
		if (!r || record_is_remote(r) || r->key.dev != port)
			continue;
		if (!p || p->ifindex != r->ifindex)
			record_drop(r);
		else if (record_usable(r))
			record_publish(r, (enum neighbor_state)r->state);
	}
	resolve_routes_changed();
}

/* ---- time ---- */

static void tick_pending(struct record *r, uint64_t now_ns)
{
	if (record_is_inner(r)) {
		if (now_ns - r->asked_ns < ASK_NS)
			return;
		if (r->tries < TRIES && r->under && record_usable(r->under)) {
			tunnel_ask(r, now_ns);
			return;
		}
		r->has_mac = false;
		r->asked_ns = now_ns;
		record_publish(r, NEIGHBOR_FAILED);
		return;
	}
	if (now_ns >= r->deadline_ns)
		record_publish(r, NEIGHBOR_FAILED);
	else
		ask_kernel(r, now_ns);
}

/* Not pending: keeps what works fresh, forgets what nobody wants. */
static void tick_quiet(struct record *r, uint64_t now_ns)
{
	if (r->state == NEIGHBOR_FAILED) {
		if (now_ns - MAX(r->wanted_ns, r->asked_ns) > FORGET_S * NS_PER_S && !r->dependents)
			record_drop(r);
		return;
	}
	if (!record_usable(r) || now_ns - r->asked_ns < REFRESH_S * NS_PER_S)
		return;
	if (!record_is_remote(r))
		ask_kernel(r, now_ns);
	else if (record_is_inner(r))
		tunnel_ask(r, now_ns);
}

void resolve_tick(uint64_t now_ns)
{
	/* one by one from a list of their own: what happens to one may end or drop any other */
	struct link todo = { &todo, &todo };
	if (pending_list.next != &pending_list) {
		todo = pending_list;
		todo.next->prev = todo.prev->next = &todo;
		pending_list = (struct link){ &pending_list, &pending_list };
	}
	while (todo.next != &todo) {
		struct record *r = container_of(todo.next, struct record, pending);
		record_pending(r, false);
		record_pending(r, true);
		tick_pending(r, now_ns);
	}
	for (uint32_t n = MIN(n_all, n_all / SCAN_TICKS + 1); n && n_all; n--) {
		scan_at = scan_at ? MIN(scan_at, n_all) - 1 : n_all - 1;
		if (!record_is_pending(all[scan_at]))
			tick_quiet(all[scan_at], now_ns);
	}
	if (now_ns >= next_remotes_ns) {
		next_remotes_ns = now_ns + NS_PER_S;
		resolve_remotes_changed();
	}
}
