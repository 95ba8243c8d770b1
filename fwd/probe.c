/* SPDX-License-Identifier: BSD-2-Clause */
/* Who is probed, when, and what follows (contract in probe.h; the sockets are probe_io.c's).
 *
 * A probe is kept by what it asks, the target. After each change of services or backends all of them are gone through: probes that
 * are still wanted stay as they are, also with a question on its way. */
#include "fwd/probe_private.h"

#include <stdlib.h>
#include <time.h>

#include "fwd/base/clock.h"
#include "fwd/base/hash.h"
#include "fwd/base/log.h"

struct probe {
	struct target t;
	struct probe *chain; /* same hash bucket */
	uint32_t index;      /* of probes[] and due[] */
	uint32_t first;      /* backend that hangs on it; then next_of[] */
	uint32_t backends;
	struct verdict v;
	bool wanted; /* while the configuration is gone through */
	uint64_t started_ns, sent, failed;
	time_t since;
	uint32_t rtt_us;
	char reason[PROBE_REASON];
};

/* due[i]: when probes[i] asks again; NEVER while it waits for an answer. Apart, because each tick looks at all of them. */
#define NEVER UINT64_MAX
static struct probe **probes, **buckets;
static uint64_t *due;
static uint32_t n_probes, room, cursor;
/* By backend index; there once anything is probed. */
static struct probe **by_backend;
static uint32_t *next_of;
static uint32_t version;
static bool followed; /* 'version' counts */
static bool dirty;    /* some backend's health changed */

int probe_init(struct err *e)
{
	return probe_io_init(e);
}

void probe_fini(void)
{
	probe_io_fini();
	for (uint32_t i = 0; i < n_probes; i++)
		free(probes[i]);
	free(probes);
	free(buckets);
	free(due);
	free(by_backend);
	free(next_of);
	probes = buckets = by_backend = NULL;
	due = NULL;
	next_of = NULL;
	n_probes = room = cursor = 0;
	followed = false;
}

int probe_fd(void)
{
	return probe_io_fd();
}

/* ---- what a result means ---- */

bool verdict_add(struct verdict *v, bool good, unsigned rise, unsigned fall)
{
	const bool down = v->health == HEALTH_DOWN;

	if (v->health == HEALTH_UNKNOWN && good) {
		*v = (struct verdict){ .health = HEALTH_UP };
		return true;
	}
	v->streak = good == down ? (uint8_t)(v->streak + 1) : 0;
	if (v->streak < (down ? rise : fall))
		return false;
	*v = (struct verdict){ .health = down ? HEALTH_UP : HEALTH_DOWN };
	return true;
}

static const char *where(const struct target *t, char b[static IP_STRLEN + 8])
{
	char ip[IP_STRLEN];

	ip_print(&t->addr, ip);
	if (!t->conf.port)
		snprintf(b, IP_STRLEN + 8, "%s", ip);
	else
		snprintf(b, IP_STRLEN + 8, ip_is4(&t->addr) ? "%s:%u" : "[%s]:%u", ip, t->conf.port);
	return b;
}

/* A network that falls apart takes thousands of backends along: the log gets so many a second one by one, then their number. */
enum { TOLD_MAX = 32 };
static uint64_t second_ns;
static unsigned n_told;

static void tell_rest(uint64_t now)
{
	if (now - second_ns < NS_PER_S)
		return;
	if (n_told > TOLD_MAX)
		log_warn("probes: %u more changes: 'show probes' tells who is down", n_told - TOLD_MAX);
	second_ns = now;
	n_told = 0;
}

static bool may_tell(uint64_t now)
{
	tell_rest(now);
	return n_told++ < TOLD_MAX;
}

static void changed(struct probe *p, enum backend_health was, uint64_t now)
{
	char b[IP_STRLEN + 8];

	dirty = true;
	p->since = time(NULL);
	for (uint32_t i = p->first; i; i = next_of[i])
		backend_health_set(i, (enum backend_health)p->v.health);
	if ((p->v.health != HEALTH_DOWN && was != HEALTH_DOWN) || !may_tell(now))
		return;
	if (p->v.health == HEALTH_DOWN)
		log_warn("%s probe of %s: down, %s", probe_kinds[p->t.conf.kind], where(&p->t, b), p->reason);
	else
		log_info("%s probe of %s: up again", probe_kinds[p->t.conf.kind], where(&p->t, b));
}

/* Nothing is known of the backend then, and it stays what it was. Said once a minute. */
static void cannot_ask(const char *reason, uint64_t now)
{
	static uint64_t told_ns;

	if (!told_ns || now - told_ns >= 60 * NS_PER_S) {
		log_warn("probes: %s", reason);
		told_ns = now;
	}
}

static void result(const struct heard *h, uint64_t now)
{
	struct probe *p = h->owner;
	const enum backend_health was = (enum backend_health)p->v.health;

	due[p->index] = MAX(now, p->started_ns + p->t.conf.interval_ms * 1000000ull);
	if (h->answer == ANSWER_UNASKED) {
		memcpy(p->reason, h->reason, sizeof(p->reason));
		cannot_ask(h->reason, now);
		return;
	}
	p->sent++;
	if (h->answer == ANSWER_GOOD) {
		p->rtt_us = (uint32_t)((now - p->started_ns) / 1000);
	} else {
		p->failed++;
		memcpy(p->reason, h->reason, sizeof(p->reason));
	}
	if (verdict_add(&p->v, h->answer == ANSWER_GOOD, p->t.conf.rise, p->t.conf.fall))
		changed(p, was, now);
	if (h->answer == ANSWER_GOOD && p->v.health == HEALTH_UP)
		p->reason[0] = 0;
}

/* Out of memory: service_tick() tries again. */
static void commit(void)
{
	struct err e;

	if (dirty && service_commit(&e))
		log_error("%s", e.text);
	dirty = false;
}

static void hear(uint64_t now)
{
	static struct heard h[PROBE_ASKING_MAX];
	const unsigned n = probe_io_hear(now, h);

	for (unsigned i = 0; i < n; i++)
		result(&h[i], now);
	commit();
}

void probe_handle(void)
{
	hear(clock_ns());
}

/* ---- asking ---- */

/* In turn, so that a full house at the same probes each time does not keep others waiting. */
static void ask(uint64_t now)
{
	struct heard h;

	for (uint32_t i = 0; i < n_probes && !probe_io_full(); i++) {
		cursor = cursor + 1 < n_probes ? cursor + 1 : 0;
		if (due[cursor] > now)
			continue;
		struct probe *p = probes[cursor];
		due[cursor] = NEVER;
		p->started_ns = now;
		probe_io_ask(&p->t, p, now + p->t.conf.timeout_ms * 1000000ull, &h);
		if (h.answer != ANSWER_NONE)
			result(&h, now);
	}
	commit();
}

/* ---- following the configuration ---- */

static struct probe **bucket_of(const struct target *t)
{
	return &buckets[hash_key(t, sizeof(*t)) & (room - 1)];
}

static struct probe *find(const struct target *t)
{
	struct probe *p = room ? *bucket_of(t) : NULL;

	while (p && memcmp(&p->t, t, sizeof(*t)) != 0)
		p = p->chain;
	return p;
}

static void fill_buckets(void)
{
	memset(buckets, 0, room * sizeof(*buckets));
	for (uint32_t i = 0; i < n_probes; i++) {
		struct probe **b = bucket_of(&probes[i]->t);
		probes[i]->chain = *b;
		*b = probes[i];
	}
}

static bool grow(void)
{
	const uint32_t n = room ? room * 2 : 64;
	struct probe **p = realloc(probes, n * sizeof(struct probe *)), **b;
	uint64_t *d;

	if (p)
		probes = p;
	if ((d = realloc(due, n * sizeof(*d))))
		due = d;
	if (!p || !d || !(b = calloc(n, sizeof(struct probe *))))
		return false;
	free(buckets);
	buckets = b;
	room = n;
	fill_buckets();
	return true;
}

/* NULL: out of memory. */
static struct probe *add(const struct target *t, uint64_t now)
{
	struct probe *p = n_probes < room || grow() ? calloc(1, sizeof(*p)) : NULL;

	if (!p)
		return NULL;
	struct probe **b = bucket_of(t);
	p->t = *t;
	p->chain = *b;
	*b = p;
	p->index = n_probes;
	p->since = time(NULL);
	probes[n_probes] = p;
	due[n_probes++] = now;
	return p;
}

/* A target whose way or pace changes is another one: what is known of the backend is the beginning. */
static void inherit(struct probe *p, uint32_t backend)
{
	const struct probe *former = by_backend[backend];

	p->v.health = backend_at(backend)->health;
	if (!former || p->v.health != HEALTH_DOWN)
		return;
	p->since = former->since;
	memcpy(p->reason, former->reason, sizeof(p->reason));
}

/* False: it is not to be probed. In maintenance nobody looks. */
static bool target_of(const struct service *s, uint32_t backend, struct target *t)
{
	const struct backend *v = backend_at(backend);
	const struct backend_key *k = backend_key_at(backend);
	const struct probe_conf *c = service_probe(s->id);

	if (c->kind == PROBE_NONE || v->gone || v->state == BACKEND_MAINTENANCE)
		return false;
	*t = (struct target){ .addr = k->addr, .conf = *c };
	if (c->kind == PROBE_HTTP)
		t->host = s->conf.key;
	else
		memset(t->conf.path, 0, sizeof(t->conf.path));
	if (c->kind == PROBE_ICMP)
		t->conf.port = 0;
	else if (!c->port)
		t->conf.port = k->port;
	return true;
}

/* 'of': what becomes by_backend. False: out of memory. */
static bool hang(struct probe **of, const struct service *s, uint32_t backend, uint64_t now)
{
	struct target t;
	struct probe *p;

	if (!target_of(s, backend, &t)) {
		backend_health_set(backend, HEALTH_UNKNOWN);
		return true;
	}
	if (!(p = find(&t))) {
		if (!(p = add(&t, now)))
			return false;
		inherit(p, backend);
	}
	p->wanted = true;
	of[backend] = p;
	next_of[backend] = p->first;
	p->first = backend;
	p->backends++;
	backend_health_set(backend, (enum backend_health)p->v.health);
	return true;
}

static void remove_unwanted(void)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < n_probes; i++) {
		struct probe *p = probes[i];
		if (!p->wanted) {
			probe_io_forget(p);
			free(p);
			continue;
		}
		due[n] = due[i];
		p->index = n;
		probes[n++] = p;
	}
	n_probes = n;
	cursor = 0;
	if (room)
		fill_buckets();
}

static bool anything_to_probe(void)
{
	for (uint32_t id = service_next(0); id; id = service_next(id))
		if (service_probe(id)->kind != PROBE_NONE)
			return true;
	return n_probes > 0;
}

/* False: out of memory, to be done again. */
static bool follow(uint64_t now)
{
	bool ok = true;

	if (!anything_to_probe())
		return true;
	for (uint32_t i = 0; i < n_probes; i++) {
		probes[i]->wanted = false;
		probes[i]->first = probes[i]->backends = 0;
	}
	struct probe **of = calloc(backend_index_max() + 1, sizeof(struct probe *));
	if (!next_of)
		next_of = calloc(backend_index_max() + 1, sizeof(*next_of));
	if (!by_backend)
		by_backend = calloc(backend_index_max() + 1, sizeof(struct probe *));
	if (!of || !next_of || !by_backend) {
		free(of);
		return false;
	}
	for (uint32_t id = service_next(0); id; id = service_next(id))
		for (uint32_t b = backend_first(id); b; b = backend_at(b)->next)
			ok &= hang(of, service_at(id), b, now);
	remove_unwanted();
	free(by_backend);
	by_backend = of;
	dirty = true; /* maybe */
	commit();
	return ok;
}

void probe_tick(uint64_t now_ns)
{
	const uint32_t v = service_version();

	if (!followed || version != v) {
		followed = follow(now_ns);
		version = v;
	}
	tell_rest(now_ns);
	if (!n_probes)
		return;
	hear(now_ns);
	ask(now_ns);
}

/* ---- for show ---- */

static void describe(const struct probe *p, struct probe_info *h)
{
	*h = (struct probe_info){
		.addr = p->t.addr,
		.port = p->t.conf.port,
		.conf = &p->t.conf,
		.health = (enum backend_health)p->v.health,
		.backends = p->backends,
		.sent = p->sent,
		.failed = p->failed,
		.since = (uint64_t)p->since,
		.rtt_us = p->rtt_us,
		.reason = p->reason[0] ? p->reason : NULL,
	};
}

bool probe_of(uint32_t backend, struct probe_info *h)
{
	/* the configuration may have changed a moment ago: the backend may be another one than the probe's */
	const struct probe *p = by_backend ? by_backend[backend] : NULL;

	if (!p || !ip_eq(&p->t.addr, &backend_key_at(backend)->addr) || backend_at(backend)->gone)
		return false;
	describe(p, h);
	return true;
}

bool probe_at(uint32_t n, struct probe_info *h)
{
	if (n >= n_probes)
		return false;
	describe(probes[n], h);
	return true;
}

uint32_t probe_count(void)
{
	return n_probes;
}
