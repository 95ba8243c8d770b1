/* SPDX-License-Identifier: BSD-2-Clause */
/* The registry of ports. Control thread only; workers read ports[] and stand still while it changes. */
#include "fwd/port/port.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fwd/worker.h"

struct port *ports[PORTS_MAX];

static const struct port_ops *const kinds[] = {
	&port_ops_xdp,
	&port_ops_mem,
	&port_ops_pcap,
#ifdef SLUICE_DPDK
	&port_ops_dpdk,
#endif
};

const struct port_ops *port_ops_by_kind(const char *kind)
{
	for (unsigned i = 0; i < ARRAY_LEN(kinds); i++)
		if (strcmp(kinds[i]->kind, kind) == 0)
			return kinds[i];
	return NULL;
}

struct port *port_by_name(const char *name)
{
	for (unsigned i = 0; i < PORTS_MAX; i++)
		if (ports[i] && strcmp(ports[i]->conf.name, name) == 0)
			return ports[i];
	return NULL;
}

struct port *port_by_ifindex(uint32_t ifindex)
{
	for (unsigned i = 0; i < PORTS_MAX; i++)
		if (ports[i] && ifindex && ports[i]->ifindex == ifindex)
			return ports[i];
	return NULL;
}

struct port_stats port_stats_sum(struct port *p)
{
	struct port_stats s = { 0 };
	for (unsigned q = 0; q < p->n_queues && p->ops && p->ops->stats; q++)
		p->ops->stats(&p->queue[q], &s);
	return s;
}

/* Indices go round, so that what still names a closed port finds none rather than another. One with held packets is not
 * given away: they are charged to it. -1 when all are taken. */
static int free_index(void)
{
	static unsigned next = PORT_FIRST;
	for (unsigned tries = 0; tries < PORTS_MAX; tries++) {
		unsigned i = next;
		next = next + 1 < PORTS_MAX ? next + 1 : PORT_FIRST;
		if (!ports[i] && workers_port(i).held == 0)
			return (int)i;
	}
	return -1;
}

static int check_conf(const struct port_conf *conf, int fixed_index, struct err *e)
{
	bool control = fixed_index == PORT_CONTROL;
	if (fixed_index >= PORTS_MAX || (fixed_index >= 0 && ports[fixed_index]))
		return err_set(e, -EEXIST, "port %s: index %d is in use", conf->name, fixed_index);
	if (!conf->name[0])
		return err_set(e, -EINVAL, "a port needs a name");
	if (port_by_name(conf->name))
		return err_set(e, -EEXIST, "port %s exists", conf->name);
	if (!control && !port_ops_by_kind(conf->kind) && strcmp(conf->kind, "dpdk") == 0)
		return err_set(e, -ENOTSUP, "port %s: built without DPDK: make DPDK=1", conf->name);
	if (!control && !port_ops_by_kind(conf->kind))
		return err_set(e, -EINVAL, "port %s: unknown kind '%s' (xdp, dpdk, pcap, mem)", conf->name, conf->kind);
	if (conf->queues > QUEUES_MAX)
		return err_set(e, -EINVAL, "port %s: at most %d queues", conf->name, QUEUES_MAX);
	return 0;
}

int port_open(const struct port_conf *conf, int fixed_index, struct port **out, struct err *e)
{
	int rc = check_conf(conf, fixed_index, e);
	if (rc)
		return rc;
	int index = fixed_index >= 0 ? fixed_index : free_index();
	if (index < 0)
		return err_set(e, -ENOSPC, "port %s: no more than %d ports", conf->name, PORTS_MAX - PORT_FIRST);
	struct port *p = calloc(1, sizeof(*p));
	if (!p)
		return err_set(e, -ENOMEM, "port %s: no memory", conf->name);
	p->conf = *conf;
	p->index = (uint16_t)index;
	p->mode_text = "";
	p->ops = port_ops_by_kind(conf->kind);
	for (unsigned q = 0; q < QUEUES_MAX; q++)
		p->queue[q] = (struct port_queue){ .port = p, .index = (uint16_t)q };
	if (p->ops && (rc = p->ops->open(p, e))) {
		free(p);
		return rc;
	}
	if (!p->n_tx_queues)
		p->n_tx_queues = p->n_queues;
	workers_pause();
	workers_forget_port(p->index);
	ports[index] = p;
	workers_assign();
	workers_resume();
	if (out)
		*out = p;
	return 0;
}

int port_reopen(struct port *p, struct err *e)
{
	workers_pause();
	p->ops->close(p, true);
	p->up = false;
	p->ifindex = 0;
	p->n_queues = p->n_tx_queues = 0;
	int rc = p->ops->open(p, e);
	if (rc) { /* nobody owns a queue; what is sent there is dropped as long as it is not up */
		p->up = false;
		p->ifindex = 0;
		p->n_queues = 0;
	}
	if (!p->n_tx_queues)
		p->n_tx_queues = p->n_queues ? p->n_queues : 1;
	workers_assign();
	workers_resume();
	return rc;
}

int port_close(struct port *p, bool clean)
{
	if (!p)
		return 0;
	workers_pause();
	ports[p->index] = NULL;
	workers_assign();
	workers_resume();
	if (p->ops)
		p->ops->close(p, clean);
	free(p);
	return 0;
}
