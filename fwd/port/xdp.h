/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared by xdp.c (open, close) and xdp_rings.c (receive, send). */
#pragma once

#include <xdp/xsk.h>

#include "fwd/port/port.h"

/* The fill ring holds all that may be in flight. 512 would keep fewer lines warm, but a worker that waits for its core loses
 * what does not fit: on a busy two-core machine 2048 forwarded 1.4 to 1.8 times as much in three noisy pairs of runs. Frames
 * are used again last in, first out either way. */
enum { FILL_MAX = 2048, RX_SIZE = 2048, TX_SIZE = 1024 };

/* Linux 6.6: packets of several chunks. Debian 12's headers do not have them. */
#ifndef XDP_USE_SG
#define XDP_USE_SG (1 << 4)
#endif
#ifndef XDP_PKT_CONTD
#define XDP_PKT_CONTD (1 << 0)
#endif

struct xdp_queue {
	struct xsk_ring_cons rx, comp;
	struct xsk_ring_prod tx, fill;
	struct xsk_socket *xsk;
	int fd;
	bool busy_poll;    /* an empty ring is looked at by a system call that runs the driver */
	uint8_t holder;    /* mark in xdp_holder[] */
	uint32_t n_fill;   /* chunks the kernel has for receiving */
	uint32_t n_unsent; /* submitted and not completed */
	uint64_t wakeups;  /* system calls made to move frames */
	uint64_t completed;
	uint64_t no_big; /* jumbo packets lost: no big frame was free */
};

struct xdp_port {
	struct xsk_umem *umem;
	struct xdp_queue queue[QUEUES_MAX];
	int groups_fd; /* keeps the device taking all multicast; 0 or less: none */
};

/* Who has a chunk: 0 = the engine, else 1 + index of the port whose rings it is in. Written by whoever hands it over; read
 * when a port closes, because the kernel does not say which chunks it dropped on the way. */
extern uint8_t *xdp_holder;
INLINE uint8_t *xdp_holder_of(uint64_t addr)
{
	return &xdp_holder[addr / FRAME_SIZE];
}

unsigned xdp_rx(struct port_queue *q, struct frame_cache *c, struct pkt *pkts, unsigned max);
unsigned xdp_tx(struct port_queue *q, struct frame_cache *c, const struct txd *d, unsigned n);
bool xdp_poll(struct port_queue *q, struct frame_cache *c);
/* Gives the kernel chunks up to FILL_MAX. */
void xdp_refill(struct xdp_queue *x, struct frame_cache *c);
