/* SPDX-License-Identifier: BSD-2-Clause */
/* The rules as configured and the subjects they hang on: between policy.c and policy_rules.c, control thread only. */
#pragma once

#include <errno.h>

#include "tables/policy.h"

struct subject {
	struct subject *next;       /* of the same bucket */
	struct subject *next_dirty; /* valid while 'dirty' */
	uint32_t id;
	uint8_t kind; /* enum policy_subject */
	bool dirty;   /* rules came or went since the last commit */
	uint32_t first, n;
	uint32_t set, set_of; /* the set of its rules alone, as of commit number 'set_of' */
};
#define SUBJECT_STRLEN 32

int policy_rules_init(struct err *e);
void policy_rules_fini(void);
/* NULL when it has no rules and had none at the last commit. */
struct subject *subject_find(uint8_t kind, uint32_t id);
bool subject_dirty(uint8_t kind, uint32_t id);
const char *subject_print(const struct subject *s, char buf[static SUBJECT_STRLEN]);
/* Appends the ids of a subject's rules (NULL: none) behind 'n'; the new count. The caller checked the room. */
uint32_t policy_collect(const struct subject *s, uint32_t *ids, uint32_t n);
/* The rules took effect: nothing is dirty, numbers of deleted rules may return. */
void policy_rules_committed(void);
