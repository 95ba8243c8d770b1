/* SPDX-License-Identifier: BSD-2-Clause */
/* Connection tracking: connections, their two flow records, the TCP machine, time-outs, ageing and eviction.
 *
 * One family struct for IPv4 and one for IPv6, alike but for the record size. Connection c owns records 2c (original) and
 * 2c + 1 (reply); both keys are reserved when the connection is made, a record counts as valid only once a packet of its
 * direction was decided (gensum). Workers create and delete; any worker may replay. */
#pragma once

#include "tables/abi/flow.h"
#include "tables/gen.h"
#include "tables/table.h"

enum ct_state {
	CT_NEW,
	CT_SYN_SENT,
	CT_SYN_RECV,
	CT_ESTABLISHED,
	CT_FIN_WAIT,
	CT_CLOSING,
	CT_TIME_WAIT,
	CT_RST_SEEN,
	CT_UNREPLIED,
	CT_REPLIED,
	CT_REFUSED,
	CT_STATES
};
enum ct_timeout {
	CT_T_TCP_ESTABLISHED,
	CT_T_TCP_HALF_CLOSED,
	CT_T_TCP_TRANSITORY,
	CT_T_TCP_SYN,
	CT_T_UDP,
	CT_T_UDP_UNREPLIED,
	CT_T_ICMP,
	CT_TIMEOUTS
};
extern uint32_t ct_timeouts[CT_TIMEOUTS]; /* seconds; defaults 8000 8000 240 240 300 120 60; settable live */
extern const char *const ct_state_names[CT_STATES];
/* Connections of each family that ct_init() makes room for when not told otherwise. */
extern uint32_t ct_max_tcp, ct_max_other;
extern bool ct_strict; /* TCP windows are tracked: ct_window.h; set at start only */

/* Cold line of a connection. Written by the creator, then by workers on state changes only. */
struct conn {
	uint8_t state; /* ct_state; relaxed atomics */
	uint8_t proto;
	uint8_t flags;                      /* conn_flag */
	uint8_t fin_seen;                   /* bit 0 original, bit 1 reply */
	uint32_t created;                   /* second */
	uint32_t in;                        /* FLOW_IN_* of the original direction */
	uint32_t identity, dst_identity;    /* of the original source (pre-SNAT) and destination (post-DNAT) */
	uint32_t rule_egress, rule_ingress; /* policy rule ids that allowed it, 0 = default */
	uint32_t
		mapping; /* of its source: nat.h, 0 = none; with CONN_SNAT it holds a reference and a permit, else it is static */
	uint16_t writing; /* the lock of who writes either record's action; 0 when it was made */
	uint16_t ticket;  /* ct_fifo.c: low bits of its place in the queue */
	uint32_t decided; /* times a packet of it was decided again */
	uint32_t
		dnat; /* of its destination: backend (CONN_SERVICE), mapping (CONN_INBOUND_MAP, a reference) or static */
	uint16_t carry_packets[2];
	uint32_t carry_bytes[2]; /* what no longer fits the records' 32 bits, x 2^32 */
	uint32_t vni[2]; /* each direction was decided with, part of its record; in identity mode replay compares it */
};
enum conn_flag {
	CONN_SNAT = 1,
	CONN_INBOUND_MAP = 2,  /* opened through a mapping: from outside, with CONN_SNAT from inside (hairpin) */
	CONN_SERVICE = 4,      /* 'dnat' is its backend */
	CONN_PROXY = 8,        /* goes to a listener of the box, which answers: tables/proxy.h has its row */
	CONN_LEFT = 0x10,      /* of a service, and over: no longer counted at its backend; atomic */
	CONN_OFFLOADED = 0x20, /* the kernel replays it, or did: fwd/export.h; set with atomic or */
	/* ct.c's own, set with atomic or; a caller that changes flags of a published connection must be atomic too */
	CONN_LINKED = 0x40, /* BUSY, but a key of it could be seen for a moment */
	CONN_DEAD = 0x80,   /* somebody deletes it: decides races */
};
_Static_assert(sizeof(struct conn) == 64, "one line");
/* Of a published connection; only CONN_LEFT, CONN_OFFLOADED and CONN_DEAD change. */
INLINE uint8_t conn_flags(const struct conn *c)
{
	return LOAD_RELAXED(&c->flags);
}

struct ct {
	bool v6;
	struct pool conns;
	struct arena arena, fifo; /* fifo: ct_fifo.c's */
	struct arena windows;     /* ct_window.c's */
	struct arena tags;        /* ct_tags.c's */
	uint8_t *flows;           /* record r at flows + r * flow_size */
	uint32_t flow_size;       /* 64 or 128 */
	struct hidx idx;
	uint32_t max_tcp, max_other; /* quota */
	uint32_t n_tcp, n_other;     /* atomic */
	uint64_t evicted, expired;   /* control and workers, relaxed */
};
extern struct ct ct4, ct6;
INLINE struct ct *ct_of(bool v6)
{
	return v6 ? &ct6 : &ct4;
}
INLINE struct flow4 *ct_flow4(uint32_t r)
{
	return (struct flow4 *)(ct4.flows + (uint64_t)r * sizeof(struct flow4));
}
INLINE struct flow6 *ct_flow6(uint32_t r)
{
	return (struct flow6 *)(ct6.flows + (uint64_t)r * sizeof(struct flow6));
}
INLINE struct conn *ct_conn(const struct ct *c, uint32_t conn)
{
	return pool_at(&c->conns, conn);
}

/* Quotas (entries) for each family; 0 = default (1 Mi TCP, 256 Ki other). The pools are a little larger: what was deleted
 * rests for a grace period before its entry can be used again. */
int ct_init(uint32_t max_tcp, uint32_t max_other, struct err *e);
void ct_fini(void);
/* What happens to a connection's NAT state when it goes: called by ct_delete before the entry is retired. Set once. */
extern void (*ct_on_delete)(unsigned slot, bool v6, uint32_t conn);
/* May it go before its time to make room for another? Asked of idle ones; who opens or closes may go always: else a flood of
 * SYNs or many short connections, each with a mapping of its own, would shut the table. By any thread, at any moment of the
 * connection's life: what it reads may be of the one before or after. NULL: all may. Set once. */
extern bool (*ct_may_evict)(bool v6, uint32_t conn);
/* Second of the last packet that went by the kernel alone, for connections with CONN_OFFLOADED; asked when one is about to expire.
 * NULL: none. Set while no worker runs; called by any thread. */
extern uint32_t (*ct_kernel_seen)(const struct ct *c, uint32_t conn);

/* Record index or 0; 'key' is a flow_key4 or flow_key6. Connections that expired or are not LIVE are not found (and not
 * deleted here). */
uint32_t ct_find(const struct ct *c, const void *key, uint64_t hash, uint32_t now_s);
/* A new BUSY connection with clean records ('in' 0 and a gensum that never matches) and 'created' set, or 0: over quota and
 * nothing to evict ("never one used in the last second", none that ct_may_evict wants to stay). The caller fills conn and both
 * records' keys, then ct_publish or ct_abort. 'proto' must not change afterwards: it names the quota. */
uint32_t ct_alloc(struct ct *c, unsigned slot, uint8_t proto, uint32_t now_s);
/* Links both keys. -EEXIST with the record of a live connection that has one of them in '*present', -ENOSPC; then nothing is
 * linked, it is still BUSY and only ct_abort is left to do. An expired connection in the way is deleted; one that another
 * thread is just publishing or deleting is waited for (two index writes). Both keys may be equal (a host talking to itself
 * from one port): then only the original record is linked. */
int ct_publish(struct ct *c, unsigned slot, uint32_t conn, uint32_t *present);
void ct_abort(struct ct *c, unsigned slot, uint32_t conn);
/* Unlinks both records and retires the connection. Safe against a racing delete of the same one: one wins and gets true. */
bool ct_delete(struct ct *c, unsigned slot, uint32_t conn);
/* Seconds until it expires, 0 = expired: by state and the later 'seen' of both records. */
uint32_t ct_remaining(const struct ct *c, uint32_t conn, uint32_t now_s);
/* One slice of ageing: looks at up to 'budget' entries from this thread's clock hand (threads divide the pool: thread 'slot'
 * of 'n'), deletes what expired. When much has expired it ends before that and returns the looks that it left: a call with
 * a budget of up to CT_AGE_WORK takes no longer than that many looks, 3 to 6 us. */
enum { CT_AGE_WORK = 256 };
uint32_t ct_age(struct ct *c, unsigned slot, unsigned n, unsigned budget, uint32_t now_s);
/* TCP machine, 'loose' (design section 5): feeds the flags of a packet of direction 'reply'. A SYN on a TIME_WAIT, closing
 * or rst-seen connection answers CT_TCP_REOPEN: delete it and start anew. */
enum ct_tcp_verdict { CT_TCP_OK, CT_TCP_REOPEN, CT_TCP_INVALID };
enum ct_tcp_verdict ct_tcp(struct conn *c, bool reply, uint8_t flags);
/* Do its connections open and end by the TCP machine? SCTP: by what stands for TCP's flags there (fwd/sctp.h). */
INLINE bool ct_has_machine(uint8_t proto)
{
	return proto == PROTO_TCP || proto == PROTO_SCTP;
}
/* Is each of its packets held to a window? */
INLINE bool ct_is_strict(const struct conn *c)
{
	return LOAD_RELAXED(&ct_strict) && c->proto == PROTO_TCP;
}
/* The same for a packet of the original direction where replies go another way: what the other end must have sent is inferred.
 * An ACK or FIN behind a SYN says that it was answered; a FIN counts for both. */
enum ct_tcp_verdict ct_tcp_one_way(struct conn *c, uint8_t flags);
/* May its packets be replayed? Those of a TCP connection that opens or ends all go by the machine, also plain ACKs and data: an
 * ACK establishes it, data restores one that saw an RST. */
INLINE bool ct_replayable(const struct conn *c)
{
	if (ct_is_strict(c))
		return false;
	uint8_t s = LOAD_RELAXED(&c->state);
	return c->proto != PROTO_TCP || s == CT_ESTABLISHED || s == CT_FIN_WAIT;
}
/* UDP, ICMP: a packet in direction 'reply' was seen. */
void ct_datagram(struct conn *c, bool reply);
uint32_t ct_next(const struct ct *c, uint32_t after); /* walk of LIVE connections */
uint32_t ct_count(const struct ct *c);                /* what counts against the quotas */

/* Bytes of memory for each connection of the quotas: records, connection, index, pool, queue of embryonic ones. (SCTP's tags, 16
 * bytes, are backed only where there are associations.) */
double ct_bytes_each(const struct ct *c);

/* ---- between ct.c, ct_age.c and ct_fifo.c ---- */
enum { CT_EVICT_IDLE = 2 }; /* seconds without use; seconds are cut off: 1 may mean a microsecond */
/* Makes room for one connection of the quota: deletes the oldest embryonic one, else the best victim of a sample. False:
 * nobody may go. */
bool ct_evict(struct ct *c, unsigned slot, bool tcp, uint32_t now_s);
uint32_t ct_idle(const struct ct *c, uint32_t conn, uint32_t now_s); /* seconds since its last packet */
/* LIVE, and nothing came back from whom it was opened to. */
bool ct_is_embryonic(const struct ct *c, uint32_t conn);
int ct_fifo_open(struct ct *c, struct err *e); /* once the pool is open */
void ct_fifo_close(struct ct *c);
void ct_fifo_push(struct ct *c, unsigned slot, uint32_t conn); /* just published by this thread */
/* The oldest embryonic one that may go, taken out of its queue; 0 = none. '*n_young': how many wait behind a head that is too
 * young. */
uint32_t ct_fifo_victim(struct ct *c, unsigned slot, bool tcp, uint32_t now_s, uint32_t *n_young);
uint64_t ct_fifo_bytes(const struct ct *c);

INLINE bool ct_is_live(const struct ct *c, uint32_t conn)
{
	return pool_state(&c->conns, conn) == POOL_LIVE && !(conn_flags(ct_conn(c, conn)) & CONN_DEAD);
}
INLINE uint32_t *ct_record_seen(const struct ct *c, uint32_t r)
{
	void *f = c->flows + (uint64_t)r * c->flow_size;
	return c->v6 ? &((struct flow6 *)f)->seen : &((struct flow4 *)f)->seen;
}
INLINE uint64_t ct_record_hash(const struct ct *c, uint32_t r)
{
	return hash_key(c->flows + (uint64_t)r * c->flow_size, c->idx.key_len);
}
