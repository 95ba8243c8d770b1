/* SPDX-License-Identifier: BSD-2-Clause */
/* Between service.c (tables, what workers ask), service_conf.c (what is configured) and service_build.c (generations). */
#pragma once

#include "tables/lpm.h"
#include "tables/service.h"

/* A service as configured. Control thread. */
struct master {
	struct service_conf conf;
	struct probe_conf probe;
	bool dirty;     /* its generation is to be built anew */
	bool bump;      /* its connections are to be decided again */
	bool deleted;   /* and, once committed, no longer in the table; connections of its backends are left */
	uint32_t first; /* backend */
	/* configured; in the table; out of use, but somebody may still look at them */
	struct source_rule *rules, *live_rules, *old_rules;
	uint32_t n_rules, n_live_rules, n_old_rules;
	bool rules_changed;
	struct service *next; /* built, not swapped yet */
	uint16_t range_version;
	uint32_t range_set, old_set, old_epoch;
};
extern struct master *service_masters[SERVICE_IDS + 1];
extern uint32_t service_highest; /* id ever used */
extern uint32_t service_changes; /* service_version() */
extern struct table service_table, service_backends;
extern struct lpm service_ranges;

void service_free_master(struct master *m);
/* The generation that workers find; the old one is freed after a grace period. */
void service_publish(uint32_t id, struct service *s);
/* Deleted backends that no connection holds make room. */
void service_reap(void);
/* True once everybody has passed two grace periods since rcu_epoch() was 'epoch'. */
bool service_epoch_passed(uint32_t epoch);
