/* SPDX-License-Identifier: BSD-2-Clause */
/* Ports: where frames enter and leave the engine. One ops struct per kind: xdp (AF_XDP), mem (tests, bench), pcap (file),
 * dpdk (optional).
 *
 * Life: port_new fills conf -> ops->open (control thread; may fail, changes nothing then) -> rx/tx by the workers that own its
 * queues -> ops->close (workers are paused). A (port, queue) has one owner worker; others reach it over hand-off rings. */
#pragma once

#include "fwd/frame.h"
#include "fwd/pkt.h"

enum { PORTS_MAX = 32, QUEUES_MAX = 64, PORT_NAME_MAX = 16, PORT_GATE = 0, PORT_CONTROL = 1, PORT_FIRST = 2 };
enum port_mode { PORT_MODE_AUTO, PORT_MODE_NATIVE, PORT_MODE_GENERIC };
enum port_checksum { PORT_CSUM_AUTO, PORT_CSUM_TRUST, PORT_CSUM_COMPLETE };
enum port_sources { PORT_SOURCES_ANY, PORT_SOURCES_STRICT, PORT_SOURCES_LOOSE };
enum port_on_exit { PORT_EXIT_DROP, PORT_EXIT_PASS };
enum port_gro { PORT_GRO_AUTO, PORT_GRO_KEEP };

struct port_conf {
	char name[PORT_NAME_MAX];
	char kind[8];           /* "xdp", "mem", "pcap", "dpdk" */
	char device[16];        /* xdp */
	char in[256], out[256]; /* pcap files */
	char devargs[256];      /* dpdk: PCI address or driver, with options */
	char tap[16];           /* dpdk: its face in the kernel */
	uint32_t queues;        /* 0 = all the device has */
	uint8_t mode, checksum, on_exit;
	bool transit;
	uint8_t gro;               /* enum port_gro, of the device: fwd/offload_gro.h */
	uint8_t source_validation; /* enum port_sources, of what comes in by an uplink */
	uint16_t zone;             /* of the connections of what comes in here: docs/zones.md */
};

struct port;
struct port_queue {
	struct port *port;
	uint16_t index;
	uint16_t owner; /* worker id */
	void *priv;
	uint64_t rx_packets, tx_packets; /* by the owner, relaxed; from when the port was opened first */
} __attribute__((aligned(64)));          /* owners do not share lines */

struct txd {
	uint8_t *data;
	uint32_t len;
	uint16_t in_port; /* who is charged if it is dropped */
};

struct port_stats { /* of a queue, what only the kind knows; zero where unknown */
	uint64_t rx_dropped, rx_ring_full, rx_fill_empty,
		rx_invalid;   /* lost in front of us: never counted as received */
	uint64_t rx_no_frame; /* jumbo packets for which no 16 KiB frame was free: likewise */
	uint64_t tx_invalid, tx_ring_empty, wakeups;
	uint64_t completed;      /* frames that the device gave back after sending */
	uint32_t filled, unsent; /* gauges: chunks it has for receiving, frames it has not given back */
};

struct port_ops {
	const char *kind;
	/* Fills ifindex, mac, mtu, mtu_max, n_queues, mode_text, zero_copy, wants_csum and queue[].priv. */
	int (*open)(struct port *p, struct err *e);
	void (*close)(struct port *p, bool clean); /* clean: detach; else leave for adoption */
	/* Its 'conf' was changed in what needs no opening anew. Control thread. May be NULL. */
	void (*changed)(struct port *p);
	/* Up to 'max' frames into pkts[] by pkt_init(); the rest of each is left as it was. 'data' starts
	 * FRAME_HEADROOM or more into its chunk: what the engine puts in front relies on it. Never blocks. */
	unsigned (*rx)(struct port_queue *q, struct frame_cache *c, struct pkt *pkts, unsigned max);
	/* Takes frames [0, ret); the caller keeps the rest. Frees by itself what is sent (to cache 'c'). */
	unsigned (*tx)(struct port_queue *q, struct frame_cache *c, const struct txd *d, unsigned n);
	/* Once per worker loop for each owned queue: reap completions, refill, kick. May be NULL. True while frames it took
	 * still wait for the device: the worker does not sleep for long. */
	bool (*poll)(struct port_queue *q, struct frame_cache *c);
	int (*wait_fd)(struct port_queue *q); /* pollable for rx, or -1 */
	bool spins; /* no packet wakes who waits: its workers do not sleep ('set dpdk idle') */
	/* kernel_beside: hands over a frame that is for the box; NULL: the kernel has its own copy. Any worker. */
	void (*to_kernel)(struct port *p, const uint8_t *frame, uint32_t len);
	/* Once a second, control thread. May be NULL. */
	void (*tick)(struct port *p);
	/* Adds to '*s'. Control thread. May be NULL. */
	void (*stats)(struct port_queue *q, struct port_stats *s);
};

struct port {
	struct port_conf conf;
	const struct port_ops *ops; /* NULL: the control pseudo-port */
	uint16_t index;
	uint16_t n_queues;
	uint16_t n_tx_queues; /* queues [0, n) can send; port_open sets it to n_queues where the kind left 0 */
	uint32_t ifindex;
	struct mac mac;
	uint16_t mtu, mtu_max; /* L3 bytes; the most that its frames, as it was opened, can hold */
	bool reopen;           /* its device outgrew that */
	bool up;               /* carrier and admin up; netlink keeps it */
	bool zero_copy;
	bool kernel_beside; /* the kernel is on this link, too: what is for the box does not go by the gate (step box) */
	uint8_t rx_csum;    /* pkt_csum given to received packets */
	const char *mode_text;
	struct port_queue queue[QUEUES_MAX];
	uint16_t tx_queue[33]; /* by worker: the queue it sends on (own or somebody's) */
	void *priv;
};
extern struct port *ports[PORTS_MAX]; /* NULL = unused; control writes while workers are paused, workers read */

/* Zone of what comes in by port 'i': what the gate brings has none. */
INLINE uint16_t port_zone(uint32_t i)
{
	const struct port *p = ports[i];
	return p ? p->conf.zone : 0;
}

/* The loader that xdp ports attach with; main sets it before the first one is opened. */
struct loader;
extern struct loader *port_loader;

extern const struct port_ops port_ops_xdp, port_ops_mem, port_ops_pcap, port_ops_dpdk; /* the last with DPDK=1 only */
const struct port_ops *port_ops_by_kind(const char *kind);

/* Control thread. port_open: allocates index (>= PORT_FIRST; gate and control have fixed ones), opens. Pauses workers
 * itself when they run. 0 or -errno with a sentence naming the device and the cure. */
int port_open(const struct port_conf *conf, int fixed_index, struct port **out, struct err *e);
int port_close(struct port *p, bool clean);
/* The device was made anew: index, counters and configuration stay. On failure the port stays closed, but listed and not up;
 * to be called again. */
int port_reopen(struct port *p, struct err *e);
struct port *port_by_name(const char *name);
/* Sum over the queues of 'p'. Control thread. */
struct port_stats port_stats_sum(struct port *p);
struct port *port_by_ifindex(uint32_t ifindex);

/* mem ports (tests, bench, fuzz): the peer side. Frames are copied in and out. */
int mem_port_put(struct port *p, unsigned queue, const void *frame, uint32_t len); /* -ENOSPC */
/* Next frame sent by the engine on the port, copied to buf; length or 0 = none. */
uint32_t mem_port_take(struct port *p, void *buf, uint32_t size);
