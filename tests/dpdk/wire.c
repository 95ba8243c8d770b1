/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/dpdk/wire.h"

#include <errno.h>

#include "fwd/port/dpdk.h"
/* behind ours: they define container_of and likely unless somebody has */
#include <rte_eth_ring.h>
#include <rte_mbuf.h>
#include <rte_ring.h>

enum { POOL = 8191, ROOM = 4096 };

static struct rte_mempool *pool;

static struct rte_ring *ring(const char *way, const char *name)
{
	char text[RTE_RING_NAMESIZE];
	snprintf(text, sizeof(text), "%s_%s", way, name);
	return rte_ring_lookup(text);
}

int wire_make(const char *name, unsigned size, struct err *e)
{
	static const struct port nobody = { .conf.name = "wire" };
	struct rte_ring *r[2];
	char text[RTE_RING_NAMESIZE];
	int rc = dpdk_eal_start(&nobody, e);
	if (rc)
		return rc;
	if (!pool)
		pool = rte_pktmbuf_pool_create("wire", POOL, 0, 0, ROOM, SOCKET_ID_ANY);
	for (unsigned i = 0; i < 2; i++) {
		snprintf(text, sizeof(text), "%s_%s", i ? "from" : "to", name);
		r[i] = rte_ring_lookup(text);
		if (!r[i])
			r[i] = rte_ring_create(text, size, SOCKET_ID_ANY, 0);
	}
	if (!pool || !r[0] || !r[1] || rte_eth_from_rings(name, &r[0], 1, &r[1], 1, SOCKET_ID_ANY) < 0)
		return err_set(e, -ENOMEM, "no net_ring device %s", name);
	return 0;
}

int wire_put(const char *name, const void *frame, uint32_t len, uint32_t cut, uint64_t flags)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool), *second = m && cut ? rte_pktmbuf_alloc(pool) : NULL;
	const uint32_t first = cut ? cut : len;
	if (!m || (cut && !second))
		return -ENOSPC;
	memcpy(rte_pktmbuf_mtod(m, void *), frame, first);
	m->data_len = (uint16_t)first;
	m->pkt_len = len;
	m->ol_flags |= flags;
	if (second) {
		memcpy(rte_pktmbuf_mtod(second, void *), (const uint8_t *)frame + cut, len - cut);
		second->data_len = (uint16_t)(len - cut);
		m->next = second;
		m->nb_segs = 2;
	}
	if (rte_ring_enqueue(ring("to", name), m) == 0)
		return 0;
	rte_pktmbuf_free(m);
	return -ENOSPC;
}

uint32_t wire_take(const char *name, void *buf, uint32_t size)
{
	void *p;
	if (rte_ring_dequeue(ring("from", name), &p))
		return 0;
	struct rte_mbuf *m = p;
	const uint32_t len = m->pkt_len;
	memcpy(buf, rte_pktmbuf_mtod(m, void *), MIN(len, size));
	rte_pktmbuf_free(m);
	return len;
}

unsigned wire_in_use(void)
{
	return rte_mempool_in_use_count(pool);
}
