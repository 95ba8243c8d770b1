/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared by dpdk.c (open, close), dpdk_rings.c (receive, send) and dpdk_eal.c (start). */
#pragma once

#include "fwd/port/port.h"

struct rte_mbuf;
struct rte_mempool;

struct dpdk_queue {
	struct rte_mempool *pool;
	uint16_t id, index; /* of the device, of the queue */
	bool kernel_sees;
	int tap;
	uint64_t tap_look;                 /* TSC: queue 0 reads the tap then */
	uint32_t n_stash;                  /* taken from the engine and not yet by the driver */
	struct rte_mbuf *stash[BURST_MAX]; /* these */
	uint64_t taken;                    /* by the driver, for sending */
	uint64_t too_long;                 /* to be sent, for an mbuf: the MTU shrank */
	uint64_t lost; /* received, but longer than a frame, or of a form never asked for, or there was no free frame */
} __attribute__((aligned(64)));
struct dpdk_port {
	struct rte_mempool *pool;
	uint16_t id;
	int tap;          /* descriptor, -1: none */
	bool own_link;    /* no netdev tells the link's state */
	bool link;        /* when looked at last */
	bool kernel_sees; /* a copy of each received frame, and we of what it sends */
	struct dpdk_queue queue[QUEUES_MAX];
};

unsigned dpdk_rx(struct port_queue *q, struct frame_cache *c, struct pkt *pkts, unsigned max);
unsigned dpdk_tx(struct port_queue *q, struct frame_cache *c, const struct txd *d, unsigned n);
bool dpdk_poll(struct port_queue *q, struct frame_cache *c);
void dpdk_to_kernel(struct port *p, const uint8_t *frame, uint32_t len);

/* Starts the EAL unless it runs. Control thread. 0 or -errno with the sentence. */
int dpdk_eal_start(const struct port *p, struct err *e);
/* Between (true) and (false) the first error that the EAL or a driver utters is kept. */
void dpdk_listen(bool opening);
/* "port NAME: WHAT 'DEVARGS': reason", the reason being what was heard, else what 'code' means. Returns 'code'. */
int dpdk_refuse(const struct port *p, int code, const char *what, struct err *e);
