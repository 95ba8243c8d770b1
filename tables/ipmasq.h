/* SPDX-License-Identifier: BSD-2-Clause */
/* ipmasq: destinations that are not masqueraded. Starts empty. Changes bump the extra counter. */
#pragma once

#include "tables/lpm.h"

int ipmasq_init(struct err *e);
void ipmasq_fini(void);
bool ipmasq_match(const struct ipaddr *dst, struct ipnet *which); /* 'which' may be NULL */
int ipmasq_add(const struct ipnet *n, struct err *e);
int ipmasq_del(const struct ipnet *n, struct err *e);
uint32_t ipmasq_next(uint32_t after, struct ipnet *n);
uint32_t ipmasq_count(void);
