/* SPDX-License-Identifier: BSD-2-Clause */
/* GRO on uplinks (contract in offload_gro.h). Control thread. */
#include "fwd/offload_gro.h"

#include <net/if.h>
#include <string.h>

#include "fwd/base/log.h"
#include "xdp/loader.h"

struct gro {
	uint32_t ifindex; /* the device that was asked, 0: none yet */
	bool ours;        /* it was off before */
};
static struct gro now[PORTS_MAX];
static uint32_t former[PORTS_MAX]; /* ifindex of devices that a former process left with ours on, 0: none */

static void turn_off(uint32_t ifindex)
{
	char device[IF_NAMESIZE];
	struct err e = { "" };

	if (if_indextoname(ifindex, device) && loader_set_gro(device, false, &e))
		log_warn("%s", e.text);
}

static void forget(struct gro *g)
{
	if (g->ours)
		turn_off(g->ifindex);
	*g = (struct gro){ 0 };
}

static bool take_over(uint32_t ifindex)
{
	for (unsigned i = 0; i < PORTS_MAX; i++)
		if (former[i] == ifindex) {
			former[i] = 0;
			return true;
		}
	return false;
}

/* Once a device: afterwards it is the operator's. */
static void ask(struct gro *g, const struct port *p)
{
	struct err e = { "" };

	g->ifindex = p->ifindex;
	g->ours = take_over(p->ifindex);
	if (g->ours || loader_has_gro(p->conf.device))
		return;
	if (loader_set_gro(p->conf.device, true, &e)) {
		log_info("port %s: kernel replay into containers stays slower: %s", p->conf.name, e.text);
		return;
	}
	g->ours = true;
	log_info("port %s: GRO of %s turned on until the port goes ('gro keep' leaves it)", p->conf.name,
		 p->conf.device);
}

void offload_gro_init(const struct replay_conf *conf)
{
	memset(now, 0, sizeof(now));
	for (unsigned i = 0; i < PORTS_MAX; i++)
		former[i] = conf->port[i].flags & REPLAY_PORT_GRO_OURS ? conf->port[i].ifindex : 0;
}

uint32_t offload_gro_sync(unsigned i, const struct port *p, bool wanted)
{
	struct gro *g = &now[i];
	const bool native = p && !strcmp(p->mode_text, "native");

	wanted = wanted && native && p->conf.gro == PORT_GRO_AUTO;
	if (g->ifindex && (!wanted || g->ifindex != p->ifindex))
		forget(g);
	if (wanted && !g->ifindex)
		ask(g, p);
	return (native && loader_has_gro(p->conf.device) ? REPLAY_PORT_GRO : 0) | (g->ours ? REPLAY_PORT_GRO_OURS : 0);
}

void offload_gro_fini(void)
{
	for (unsigned i = 0; i < PORTS_MAX; i++) {
		forget(&now[i]);
		if (former[i])
			turn_off(former[i]);
		former[i] = 0;
	}
}
