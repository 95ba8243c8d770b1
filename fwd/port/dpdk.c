/* SPDX-License-Identifier: BSD-2-Clause */
/* DPDK ports: whatever a poll mode driver serves. Linked by 'make DPDK=1' only; nothing else knows of rte_*.
 *
 * Frames are copied, once in and once out. Chunks of the frame area belong to the AF_XDP sockets' UMEM and go on to any other
 * port; a driver wants mbufs of its own kind (it finds the mempool, the DMA address, and with net_af_xdp the UMEM by them).
 * So every driver works, an mbuf of several segments becomes one frame on the way, and no chunk is ever inside a driver.
 * Workers become lcores at their first burst, for the mempools' caches.
 *
 * A device that the kernel does not know gets a face there, a tap: routes, addresses and neighbours are the kernel's. */
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fwd/base/log.h"
#include "fwd/port/dpdk.h"
#include "fwd/port/dpdk_tap.h"
#include "fwd/worker.h"

/* behind ours: they define container_of and likely unless somebody has */
#include <rte_dev.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

enum {
	DESCRIPTORS = 1024, /* of each receive and send queue, if the driver agrees */
	POOL_CACHE = 256,
	FRAME_MAX_L2 = 14 + 4,
};

/* The device that 'devargs' name: one that is there (--vdev among the EAL's words, or made by a test), else probed now. */
static int find_device(const struct port *p, uint16_t *id, struct err *e)
{
	struct rte_dev_iterator it;
	char name[RTE_ETH_NAME_MAX_LEN];
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(p->conf.devargs, ","), p->conf.devargs);
	if (rte_eth_dev_get_port_by_name(name, id) == 0)
		return 0;
	int rc = rte_dev_probe(p->conf.devargs);
	if (rc < 0)
		return dpdk_refuse(p, rc, "cannot open DPDK device", e);
	RTE_ETH_FOREACH_MATCHING_DEV(*id, p->conf.devargs, &it)
	{
		rte_eth_iterator_cleanup(&it);
		return 0;
	}
	return err_set(e, -ENODEV, "port %s: '%s' is no network device", p->conf.name, p->conf.devargs);
}

static int check_device(struct port *p, const struct dpdk_port *x, const struct rte_eth_dev_info *info, struct err *e)
{
	uint16_t mtu = 0;
	const unsigned most = MIN(info->max_rx_queues, info->max_tx_queues);
	if (p->conf.queues > most || !most)
		return err_set(e, -EINVAL, "port %s: '%s' has %u receive and %u send queues, %u are wanted",
			       p->conf.name, p->conf.devargs, info->max_rx_queues, info->max_tx_queues,
			       p->conf.queues ? p->conf.queues : 1);
	if (x->kernel_sees && p->conf.tap[0])
		return err_set(e, -EINVAL, "port %s: '%s' has a device in the kernel already: without 'tap %s'",
			       p->conf.name, p->conf.devargs, p->conf.tap);
	int rc = rte_eth_dev_get_mtu(x->id, &mtu);
	if (rc)
		return dpdk_refuse(p, rc, "no MTU of", e);
	if (mtu + FRAME_MAX_L2 > FRAME_ROOM && !info->if_index && rte_eth_dev_set_mtu(x->id, 1500) == 0)
		mtu = 1500;
	if (mtu + FRAME_MAX_L2 > FRAME_ROOM) {
		char name[IF_NAMESIZE] = "DEVICE";
		if_indextoname(info->if_index, name);
		return err_set(e, -ERANGE,
			       "port %s: '%s' has MTU %u, at most %d is supported; 'ip link set dev %s mtu 1500'",
			       p->conf.name, p->conf.devargs, mtu, FRAME_ROOM - FRAME_MAX_L2, name);
	}
	p->mtu = mtu;
	p->mtu_max = FRAME_ROOM - FRAME_MAX_L2;
	return 0;
}

static int make_pool(const struct port *p, struct dpdk_port *x, unsigned queues, unsigned n_rx, unsigned n_tx,
		     struct err *e)
{
	static unsigned made;
	char name[RTE_MEMPOOL_NAMESIZE];
	/* what rings hold (net_af_xdp fills two), what caches hold on to, what is on its way */
	const unsigned n = queues * (2 * n_rx + n_tx + 2 * BURST_MAX) + (n_workers + 1) * 2 * POOL_CACHE;
	snprintf(name, sizeof(name), "sluice_%u", made++);
	x->pool = rte_pktmbuf_pool_create(name, n, POOL_CACHE, 0, RTE_MBUF_DEFAULT_BUF_SIZE,
					  rte_eth_dev_socket_id(x->id));
	if (!x->pool)
		return err_set(e, -ENOMEM,
			       "port %s: no memory for %u DPDK buffers (%u MiB): more huge pages, or "
			       "'set dpdk eal-args \"--no-huge --no-shconf -m MIB\"'",
			       p->conf.name, n, n * (RTE_MBUF_DEFAULT_BUF_SIZE + 256) >> 20);
	return 0;
}

static void init_queue(struct port *p, struct dpdk_port *x, uint16_t q)
{
	x->queue[q] = (struct dpdk_queue){
		.pool = x->pool, .id = x->id, .index = q, .kernel_sees = x->kernel_sees, .tap = x->tap
	};
	p->queue[q].priv = &x->queue[q];
}

static int start_device(struct port *p, struct dpdk_port *x, const struct rte_eth_dev_info *info, struct err *e)
{
	const unsigned most = MIN(info->max_rx_queues, info->max_tx_queues);
	const uint16_t queues = (uint16_t)(p->conf.queues ? p->conf.queues : MIN(n_workers, most));
	const unsigned numa = (unsigned)rte_eth_dev_socket_id(x->id);
	struct rte_eth_conf c = { 0 };
	uint16_t n_rx = DESCRIPTORS, n_tx = DESCRIPTORS;
	if (queues > 1 && info->flow_type_rss_offloads) {
		c.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		c.rx_adv_conf.rss_conf.rss_hf =
			(RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP) & info->flow_type_rss_offloads;
	}
	/* what we send has one segment and one reference, and all of it is of one pool */
	c.txmode.offloads = info->tx_offload_capa & RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE;
	int rc = rte_eth_dev_configure(x->id, queues, queues, &c);
	if (!rc)
		rc = rte_eth_dev_adjust_nb_rx_tx_desc(x->id, &n_rx, &n_tx);
	if (rc)
		return dpdk_refuse(p, rc, "cannot configure", e);
	if ((rc = make_pool(p, x, queues, n_rx, n_tx, e)))
		return rc;
	for (uint16_t q = 0; q < queues && !rc; q++) {
		init_queue(p, x, q);
		rc = rte_eth_rx_queue_setup(x->id, q, n_rx, numa, NULL, x->pool);
		if (!rc)
			rc = rte_eth_tx_queue_setup(x->id, q, n_tx, numa, NULL);
	}
	if (rc || (rc = rte_eth_dev_start(x->id)))
		return dpdk_refuse(p, rc, "cannot start", e);
	p->n_queues = queues;
	rte_eth_allmulticast_enable(x->id); /* for ND; a driver that does not filter has no such thing */
	return 0;
}

static void device_free(struct dpdk_port *x)
{
	struct rte_eth_dev_info info;
	const bool known = rte_eth_dev_info_get(x->id, &info) == 0;
	rte_eth_dev_stop(x->id);
	rte_eth_dev_close(x->id);
	if (known && info.device && rte_dev_remove(info.device))
		log_warn("dpdk: a device of %s cannot be removed", info.driver_name);
	rte_mempool_free(x->pool);
	if (x->tap >= 0)
		close(x->tap);
	free(x);
}

static bool link_is_up(const struct dpdk_port *x)
{
	struct rte_eth_link l;
	return rte_eth_link_get_nowait(x->id, &l) == 0 && l.link_status == RTE_ETH_LINK_UP;
}

static bool netdev_is_up(uint32_t ifindex)
{
	struct ifreq r = { 0 };
	const short want = IFF_UP | IFF_RUNNING;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool up = fd >= 0 && if_indextoname(ifindex, r.ifr_name) && !ioctl(fd, SIOCGIFFLAGS, &r) &&
		  (r.ifr_flags & want) == want;
	if (fd >= 0)
		close(fd);
	return up;
}

/* What the port is for the rest of the engine. */
static int describe(struct port *p, struct dpdk_port *x, const struct rte_eth_dev_info *info, struct err *e)
{
	struct rte_ether_addr mac;
	int rc = rte_eth_macaddr_get(x->id, &mac);
	if (rc)
		return dpdk_refuse(p, rc, "no MAC of", e);
	memcpy(p->mac.b, mac.addr_bytes, sizeof(p->mac.b));
	p->ifindex = info->if_index;
	p->mode_text = info->driver_name;
	/* these leave the kernel its copy; net_tap and net_af_xdp do not */
	x->kernel_sees = info->if_index &&
			 (!strcmp(info->driver_name, "net_af_packet") || !strcmp(info->driver_name, "net_pcap"));
	p->rx_csum = p->conf.checksum == PORT_CSUM_COMPLETE                 ? PKT_CSUM_COMPLETE
		     : p->conf.checksum == PORT_CSUM_AUTO && info->if_index ? PKT_CSUM_MAYBE_PARTIAL
									    : PKT_CSUM_UNKNOWN;
	return check_device(p, x, info, e);
}

static int open_device(struct port *p, struct dpdk_port *x, struct err *e)
{
	struct rte_eth_dev_info info;
	int rc = rte_eth_dev_info_get(x->id, &info);
	if (rc)
		return dpdk_refuse(p, rc, "cannot read", e);
	if ((rc = describe(p, x, &info, e)))
		return rc;
	if (p->conf.tap[0]) {
		x->tap = dpdk_tap_open(p->conf.name, p->conf.tap, &p->mac, p->mtu, &p->ifindex, e);
		if (x->tap < 0)
			return x->tap;
	}
	if ((rc = start_device(p, x, &info, e)))
		return rc;
	p->kernel_beside = x->kernel_sees || x->tap >= 0;
	x->link = link_is_up(x);
	x->own_link = !p->ifindex;
	if (x->tap >= 0)
		dpdk_tap_carrier(x->tap, x->link);
	p->up = x->own_link ? x->link : netdev_is_up(p->ifindex);
	log_info("port %s: %s, %u queues, DPDK driver %s", p->conf.name, p->conf.devargs, p->n_queues, p->mode_text);
	return 0;
}

static int open_all(struct port *p, struct err *e)
{
	uint16_t id;
	int rc = dpdk_eal_start(p, e);
	if (rc || (rc = find_device(p, &id, e)))
		return rc;
	struct dpdk_port *x = aligned_alloc(64, sizeof(*x));
	if (!x)
		return err_set(e, -ENOMEM, "port %s: no memory", p->conf.name);
	memset(x, 0, sizeof(*x));
	x->id = id;
	x->tap = -1;
	if ((rc = open_device(p, x, e))) {
		device_free(x);
		return rc;
	}
	p->priv = x;
	return 0;
}

static int dpdk_open(struct port *p, struct err *e)
{
	dpdk_listen(true);
	int rc = open_all(p, e);
	dpdk_listen(false);
	return rc;
}

static void dpdk_close(struct port *p, bool clean)
{
	struct dpdk_port *x = p->priv;
	(void)clean;
	for (unsigned q = 0; q < p->n_queues; q++)
		rte_pktmbuf_free_bulk(x->queue[q].stash, x->queue[q].n_stash);
	device_free(x);
	p->priv = NULL;
}

/* Only the kernel's side wakes. */
static int dpdk_wait_fd(struct port_queue *q)
{
	const struct dpdk_queue *x = q->priv;
	return x->index == 0 ? x->tap : -1;
}

static void dpdk_tick(struct port *p)
{
	struct dpdk_port *x = p->priv;
	if (!x || link_is_up(x) == x->link)
		return;
	x->link = !x->link;
	log_info("port %s: link is %s", p->conf.name, x->link ? "up" : "down");
	if (x->tap >= 0)
		dpdk_tap_carrier(x->tap, x->link); /* and netlink tells us, and routes */
	else if (x->own_link)
		STORE_RELAXED(&p->up, x->link);
}

/* The driver's counters are the device's: they stand with queue 0. */
static void dpdk_stats(struct port_queue *q, struct port_stats *s)
{
	const struct dpdk_queue *x = q->priv;
	struct rte_eth_stats d;
	s->rx_dropped += LOAD_RELAXED(&x->lost);
	s->tx_invalid += LOAD_RELAXED(&x->too_long);
	s->completed += LOAD_RELAXED(&x->taken);
	s->unsent += LOAD_RELAXED(&x->n_stash);
	if (q->index || rte_eth_stats_get(x->id, &d))
		return;
	s->rx_ring_full += d.imissed;
	s->rx_invalid += d.ierrors;
	s->rx_fill_empty += d.rx_nombuf;
	s->tx_invalid += d.oerrors;
}

const struct port_ops port_ops_dpdk = {
	.kind = "dpdk",
	.open = dpdk_open,
	.close = dpdk_close,
	.rx = dpdk_rx,
	.tx = dpdk_tx,
	.poll = dpdk_poll,
	.wait_fd = dpdk_wait_fd,
	.spins = true,
	.to_kernel = dpdk_to_kernel,
	.tick = dpdk_tick,
	.stats = dpdk_stats,
};
