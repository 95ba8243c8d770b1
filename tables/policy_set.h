/* SPDX-License-Identifier: BSD-2-Clause */
/* A compiled set of rules: immutable, looked up by workers (policy.h says in which order rules win). policy.c builds
 * and publishes sets, nobody else includes this. */
#pragma once

#include "tables/policy.h"

struct policy_set;

/* 'rules': n pointers, read only during the call. NULL: out of memory. */
struct policy_set *policy_set_compile(const struct policy_rule *const *rules, uint32_t n);
void policy_set_free(struct policy_set *s); /* NULL-safe */
bool policy_set_enforces(const struct policy_set *s, enum policy_direction d);
/* Fills verdict, explicit_deny, rule and redirect_port; without a matching rule that is deny by default. */
void policy_set_check(const struct policy_set *s, enum policy_direction d, uint32_t identity, const struct ipaddr *peer,
		      uint8_t proto, uint16_t port, struct policy_result *r);
