/* SPDX-License-Identifier: BSD-2-Clause */
/* Services: frontends (address, port, protocol), their backends, and who may use them.
 *
 * What workers read of a service is one generation: an immutable struct that the control thread builds anew at each change
 * and swaps under RCU. A backend is a table entry of its own, named by index: connections hold its index (struct conn, dnat)
 * and are counted in it, so a deleted one stays, as 'gone', until its last connection is.
 * Connections depend on a backend by the generation counter of its address: when it may no longer serve, that is bumped. */
#pragma once

#include "tables/gen.h"
#include "tables/table.h"

enum { SERVICE_IDS = 65535, SERVICE_BACKENDS_MAX = 16 * 1024, SERVICE_WEIGHT_MAX = 65535 };

enum service_algorithm { LB_MAGLEV, LB_RANDOM, LB_WRR, LB_LEASTCONN, LB_SOURCE };
extern const char *const service_algorithms[];
enum backend_state { BACKEND_ACTIVE, BACKEND_DRAINING, BACKEND_DOWN, BACKEND_MAINTENANCE };
extern const char *const backend_states[];
enum backend_health { HEALTH_UNKNOWN /* not probed: as good as up */, HEALTH_UP, HEALTH_DOWN };
/* What follows from state and health of all backends of a service. */
enum backend_use {
	USE_NONE, /* its connections end */
	USE_KEEP, /* its connections go on */
	USE_NEW   /* it also gets new ones */
};

struct service_key {
	struct ipaddr vip;
	uint16_t port; /* host order; 0: every port that has no service of its own */
	uint8_t proto;
	uint8_t zero[5];
};
struct service_conf {
	struct service_key key;
	uint8_t algorithm;
	bool local;           /* traffic policy local: only backends that are containers of this box */
	bool keep_client;     /* never masqueraded, also not toward backends behind an uplink */
	bool dsr;             /* backends behind an uplink get what comes in IP and answer past this box */
	uint32_t affinity;    /* seconds; 0: none */
	uint32_t maglev_size; /* maglev_size_ok() */
	uint32_t slow_start;  /* seconds a backend that comes (back) takes to its full weight; 0: at once */
};

/* How a service's backends are asked whether they are alive; who asks is fwd/probe.h. */
enum probe_kind { PROBE_NONE, PROBE_TCP, PROBE_HTTP, PROBE_ICMP };
extern const char *const probe_kinds[];
enum { PROBE_PATH_MAX = 128 };
struct probe_conf {
	uint32_t interval_ms, timeout_ms;
	uint16_t port;             /* host order; 0: the backend's own */
	uint8_t kind, rise, fall;  /* so many good ones in a row: up; so many bad ones: down */
	char path[PROBE_PATH_MAX]; /* of http; zeroes behind its end */
	uint8_t zero[3];
};

struct source_rule {
	struct ipnet net;
	bool allow;
};

struct backend_key {
	struct ipaddr addr;
	uint32_t service; /* id */
	uint16_t port;    /* host order; 0: the client's destination port is kept */
	uint16_t zero;
};
/* The control thread writes, but 'connections' and 'chosen': atomic additions of workers. */
struct backend {
	uint8_t state, health, use; /* relaxed */
	bool gone;                  /* deleted */
	uint16_t weight, share;     /* share: of 256, less than that in slow start */
	uint32_t connections;
	uint32_t next;      /* of its service; control thread, as all that follows but 'chosen' */
	uint64_t chosen;    /* new connections it was chosen for, ever */
	uint32_t since;     /* second it began to take new connections */
	uint32_t gone_at;   /* rcu_epoch() when it was deleted */
	uint8_t bumped_use; /* 'use' that its connections were told of */
	uint8_t zero[7];
};

/* One generation, as workers see it. */
struct service {
	struct service_conf conf;
	uint32_t id;
	uint32_t range_set; /* of source ranges, 0: anybody may use it */
	bool ranges_allow;  /* one of them allows: who is in none is refused */
	bool fallback;      /* only draining backends are left */
	uint32_t n;         /* backends that new connections may get */
	uint32_t n_slots;   /* of 'slot': Maglev's table, or the order of weighted round robin */
	uint32_t total;     /* of the weights */
	uint32_t *backend;  /* n indices */
	uint32_t *weight;   /* n, summed up to and with each */
	uint16_t *slot;     /* n_slots indices into 'backend' */
};

extern uint32_t service_hash_seed; /* 'set service hash-seed': equal on gateways that are to choose alike */

int service_init(struct err *e);
void service_fini(void);

/* ---- workers ---- */
/* The service for a destination, NULL when there is none. '*vip' tells whether the address has any service at all. */
const struct service *service_find(const struct ipaddr *dst, uint16_t port, uint8_t proto, bool *vip);
bool service_is_vip(const struct ipaddr *a);
/* May 'src' use it? Counts the hit unless 'dry'; '*row' (may be NULL) gets the prefix that decided, length 255: none did. */
bool service_source_ok(const struct service *s, const struct ipaddr *src, bool dry, struct ipnet *row);
/* A backend for a new connection of this client; 0 when none may take it. No side effect but the turn of wrr. */
uint32_t service_choose(const struct service *s, const struct ipaddr *src, uint16_t sport, uint32_t random, bool dry);
/* Good while a connection holds it, or until the reader's next quiescent state; later it may be another one, or none. */
struct backend *backend_at(uint32_t b);
const struct backend_key *backend_key_at(uint32_t b);
/* The service it belongs to, NULL when that was deleted. */
const struct service *backend_service(uint32_t b);
/* One more connection, one less. */
void backend_take(uint32_t b);
void backend_give(uint32_t b);

/* ---- control thread; nothing takes effect before service_commit ---- */
/* Adds or changes. 'rules' (n of them, copied) say who may use it: the longest prefix decides; who is in none may when no rule
 * allows. -ENOSPC, -EINVAL, -ENOMEM. */
int service_set(const struct service_conf *c, const struct source_rule *rules, uint32_t n, struct err *e);
/* Probes of a service that is there; kind PROBE_NONE: none, as in the beginning. -ENOENT. */
int service_probe_set(const struct service_key *k, const struct probe_conf *p, struct err *e);
int service_del(const struct service_key *k, struct err *e); /* its backends are to be deleted first; -ENOENT, -EBUSY */
int backend_set(const struct service_key *k, const struct ipaddr *addr, uint16_t port, uint16_t weight,
		enum backend_state state, struct err *e);
int backend_del(const struct service_key *k, const struct ipaddr *addr, uint16_t port, struct err *e);
/* Builds generations for what changed and swaps them. -ENOMEM: then nothing did. */
int service_commit(struct err *e);
/* What a probe found; service_commit() makes it count. */
void backend_health_set(uint32_t b, enum backend_health h);
/* Endpoints came or went: which backends are local may be another answer. Marks; service_commit follows. */
void service_endpoints_changed(void);
/* Once a second: slow start goes on; deleted backends without connections make room. */
void service_tick(uint32_t now_s);

/* ---- walks, control thread ---- */
uint32_t service_next(uint32_t after_id);             /* ids */
const struct service *service_at(uint32_t id);        /* present generation, NULL when there is none */
uint32_t service_by_key(const struct service_key *k); /* id, 0 = none */
const struct probe_conf *service_probe(uint32_t id);  /* of a service that service_next() gave */
uint32_t service_version(void);                       /* another one after each change of what is configured here */
uint32_t backend_first(uint32_t service_id);          /* also those that are gone; then ->next */
uint32_t backend_find(uint32_t service_id, const struct ipaddr *addr, uint16_t port); /* 0: none, or gone */
uint32_t service_count(void);
uint32_t backend_count(void);
uint32_t backend_index_max(void); /* no backend's index is above it */
struct source_range {
	uint64_t hits; /* atomic */
	uint32_t allow, zero;
};
uint32_t service_range_next(uint32_t after, uint32_t *service_id, struct ipnet *n, struct source_range *r);
uint32_t service_range_count(void);
