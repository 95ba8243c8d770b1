/* SPDX-License-Identifier: BSD-2-Clause */
/* The surroundings of kernel replay (contract in offload.h). Control thread.
 *
 * The wanted state is computed whole from ports, VTEPs, remotes and settings, and compared with what was set last, as in
 * steering.c. Nothing here may stop the gateway: what the kernel refuses makes offload smaller, with a warning and a reason in
 * 'show offload'. */
#include "fwd/offload.h"

#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "fwd/base/clock.h"
#include "fwd/base/log.h"
#include "fwd/export.h"
#include "fwd/export_record.h"
#include "fwd/offload_gro.h"
#include "fwd/port/port.h"
#include "fwd/settings.h"
#include "tables/neighbor.h"
#include "tables/tunnel.h"
#include "xdp/gate.h"
#include "xdp/overlay.h"

struct sender {
	struct replay_remote key;
	uint32_t in;
};
struct senders {
	struct sender *s;
	size_t n, room;
};

static struct loader *loader;
static struct replay_conf *conf;
static struct senders current;
static bool dirty, look;      /* everything; ports and devices only */
static bool leftover;         /* a former process' sluice_vxlan is there, nobody has asked for it yet */
static uint16_t overlay_port; /* UDP port of sluice_vxlan, 0: it is not there */
static uint64_t next_look_ns;
static char overlay_reason[256];
static uint32_t netdev_on[PORTS_MAX]; /* interface that [from-netdev] was put on, by port */
static bool netdev_refused[PORTS_MAX];

/* ---- ports ---- */

static bool with_tc(void)
{
	return settings.offload == OFFLOAD_ON || settings.offload == OFFLOAD_TC;
}

static void netdev_off(unsigned i)
{
	struct err e = { "" };
	if (!netdev_on[i])
		return;
	/* first nobody leaves a frame to it any more */
	__atomic_and_fetch(&conf->port[i].flags, ~(uint32_t)REPLAY_PORT_NETDEV, __ATOMIC_SEQ_CST);
	if (loader_detach(loader, PROG_FROM_NETDEV, netdev_on[i], &e))
		log_warn("%s", e.text);
	netdev_on[i] = 0;
}

static bool netdev_ready(unsigned i, const struct port *p)
{
	struct err e = { "" };
	if (netdev_on[i] == p->ifindex)
		return true;
	netdev_off(i);
	if (loader_attach_tc(loader, PROG_FROM_NETDEV, p->conf.device, &e)) {
		if (!netdev_refused[i]) /* tried again every second, said once */
			log_warn("kernel replay from port %s into containers is off: %s", p->conf.name, e.text);
		netdev_refused[i] = true;
		return false;
	}
	netdev_refused[i] = false;
	netdev_on[i] = p->ifindex;
	return true;
}

static void sync_port(unsigned i)
{
	const struct port *p = ports[i];
	struct replay_port want = { 0 };
	const bool there = p && p->ops == &port_ops_xdp && p->ifindex && if_nametoindex(p->conf.device) == p->ifindex;
	if (there && p->up) {
		want.ifindex = p->ifindex;
		if (p->conf.checksum == PORT_CSUM_COMPLETE || p->conf.zone)
			want.flags |= REPLAY_PORT_NO_INGRESS;
		if (loader_can_redirect(p->ifindex) > 0)
			want.flags |= REPLAY_PORT_REDIRECT;
		if (with_tc() && netdev_ready(i, p))
			want.flags |= REPLAY_PORT_NETDEV;
		want.flags |= offload_gro_sync(i, p, want.flags & REPLAY_PORT_NETDEV);
	} else if (!there) {
		offload_gro_sync(i, NULL, false);
	}
	if (!(want.flags & REPLAY_PORT_NETDEV))
		netdev_off(i);
	/* never a moment with another device under the old flags */
	if (conf->port[i].ifindex != want.ifindex)
		STORE_RELEASE(&conf->port[i].flags, 0);
	STORE_RELEASE(&conf->port[i].ifindex, want.ifindex);
	STORE_RELEASE(&conf->port[i].flags, want.flags);
}

/* ---- sluice_vxlan ---- */

static void overlay_off(const char *why)
{
	struct err e = { "" };
	STORE_RELEASE(&conf->overlay_port, 0);
	STORE_RELEASE(&conf->overlay_ifindex, 0);
	if ((overlay_port || leftover) && overlay_destroy(loader, &e))
		log_warn("%s", e.text);
	overlay_port = 0;
	leftover = false;
	snprintf(overlay_reason, sizeof(overlay_reason), "%s", why);
}

static void sync_overlay(void)
{
	const uint16_t want = with_tc() ? export_overlay_port(conf) : 0;
	struct overlay_info info;
	struct err e = { "" };
	if (want == overlay_port && !leftover && (!want || if_nametoindex(OVERLAY_DEVICE)))
		return;
	if (!want || overlay_port)
		overlay_off("");
	if (!want)
		return;
	if (overlay_create(loader, want, &info, &e)) {
		if (strcmp(overlay_reason, e.text) != 0)
			log_warn("kernel replay from tunnels into containers is off: %s", e.text);
		overlay_off(e.text);
		return;
	}
	overlay_port = want;
	leftover = false;
	overlay_reason[0] = 0;
	STORE_RELEASE(&conf->overlay_ifindex, info.ifindex);
	STORE_RELEASE(&conf->overlay_port, htons(want));
}

bool offload_port_gro(unsigned port)
{
	return loader && port < PORTS_MAX && conf->port[port].flags & REPLAY_PORT_GRO;
}

const char *offload_overlay_reason(void)
{
	return overlay_reason;
}

/* ---- senders of VXLAN ---- */

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct sender));
}

static bool push(struct senders *t, const struct vtep *v, const struct remote *r, uint32_t index, uint32_t vni)
{
	if (t->n == t->room) {
		size_t room = t->room ? t->room * 2 : 64;
		struct sender *s = realloc(t->s, room * sizeof(*s));
		if (!s)
			return false;
		t->s = s;
		t->room = room;
	}
	t->s[t->n] = (struct sender){ .key = { .port = htons(v->port), .vni = vni }, .in = FLOW_IN_REMOTE | index };
	memcpy(t->s[t->n].key.local, v->addr.b, 16);
	memcpy(t->s[t->n++].key.remote, r->addr.b, 16);
	return true;
}

static bool push_remote(struct senders *t, uint32_t index)
{
	const struct remote *r = remote_at(index);
	const struct vtep *v = &vteps[r->vtep];
	bool ok = true;
	if (v->mode == VNI_IDENTITY)
		return push(t, v, r, index, REPLAY_ANY_VNI);
	for (unsigned i = 0; i < r->n_vnis && ok; i++)
		ok = r->zone[i] || push(t, v, r, index, r->vni[i]); /* the kernel's records are those of zone 0 */
	return ok;
}

/* Rows of 'a' that 'b' lacks, both sorted. */
static void each_missing(const struct senders *a, const struct senders *b, void (*fn)(const struct sender *s))
{
	for (size_t i = 0, k = 0; i < a->n; i++) {
		while (k < b->n && compare(&b->s[k], &a->s[i]) < 0)
			k++;
		if (k == b->n || compare(&b->s[k], &a->s[i]) != 0)
			fn(&a->s[i]);
	}
}

static void sender_gone(const struct sender *s)
{
	loader_replay_remote_del(loader, &s->key);
}

static void sender_new(const struct sender *s)
{
	int err = loader_replay_remote_set(loader, &s->key, s->in);
	if (err)
		log_warn("kernel replay: a remote node more than the kernel's table takes (%s): its packets go by the "
			 "engine",
			 strerror(-err));
}

static void sync_senders(void)
{
	struct senders want = { 0 };
	for (uint32_t i = remote_next(0); i && settings.offload != OFFLOAD_OFF; i = remote_next(i))
		if (!push_remote(&want, i))
			break; /* no memory: those that fit */
	if (want.n)
		qsort(want.s, want.n, sizeof(*want.s), compare);
	each_missing(&current, &want, sender_gone);
	each_missing(&want, &current, sender_new);
	free(current.s);
	current = want;
}

/* ---- life ---- */

int offload_init(struct loader *l, struct err *e)
{
	const struct loader_replay none = { 0 }, *area = l ? loader_replay(l) : &none;
	int err = export_init(area, e);
	if (err || !l)
		return err;
	adj_use(area->adjs);
	loader = l;
	conf = area->conf;
	offload_gro_init(conf);
	memset(conf->port, 0, sizeof(conf->port));
	STORE_RELEASE(&conf->overlay_ifindex, 0);
	STORE_RELEASE(&conf->overlay_port, 0);
	leftover = if_nametoindex(OVERLAY_DEVICE) != 0;
	dirty = true;
	return 0;
}

void offload_stop(void)
{
	export_table_switch(false);
}

void offload_fini(bool clean)
{
	export_fini();
	if (!loader)
		return;
	if (clean) {
		for (unsigned i = PORT_FIRST; i < PORTS_MAX; i++)
			netdev_off(i);
		offload_gro_fini();
		overlay_off("");
	}
	free(current.s);
	current = (struct senders){ 0 };
	loader = NULL;
}

void offload_dirty(void)
{
	dirty = true;
}

void offload_sync(void)
{
	if ((!dirty && !look) || !loader)
		return;
	conf->host_ifindex = if_nametoindex(GATE_HOST_DEVICE);
	STORE_RELEASE(&conf->vtep_ports, vtep_ports);
	for (unsigned i = PORT_FIRST; i < PORTS_MAX; i++)
		sync_port(i);
	sync_overlay();
	if (dirty)
		sync_senders();
	dirty = look = false;
}

bool offload_tick(uint64_t now_ns)
{
	if (!loader)
		return false;
	if (now_ns >= next_look_ns) { /* devices come, go and change their features unasked */
		next_look_ns = now_ns + NS_PER_S;
		look = true;
	}
	offload_sync();
	return export_tick(now_ns);
}

void offload_gate_stats(uint64_t n[static GATE_STATS])
{
	memset(n, 0, GATE_STATS * sizeof(*n));
	if (loader)
		loader_gate_stats(loader, n);
}

void offload_stats(uint64_t n[static REPLAY_STATS])
{
	memset(n, 0, REPLAY_STATS * sizeof(*n));
	if (loader)
		loader_replay_stats(loader, n);
}
