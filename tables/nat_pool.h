/* SPDX-License-Identifier: BSD-2-Clause */
/* Pools and their ports: what the files of masquerade state need of each other and nobody else. */
#pragma once

#include "tables/nat.h"

/* Claims a port of pool 'p' (one bit, atomic): 'want' when it is in the range and free, else the first free one from a
 * random place on, through the whole range and as often as ports came free meanwhile. The port and its pool's address, or
 * -ENOSPC: at one moment all were taken, or the pool was removed. */
int nat_port_claim(unsigned p, enum steer_proto which, uint16_t want, uint64_t random, struct ipaddr *addr);
/* The port's bit must be set by the caller's claim; its owner is cleared first. */
void nat_port_release(unsigned p, enum steer_proto which, uint16_t port);
void nat_pools_fini(void);
/* The address of pool 'p', never a torn one; false when it is not there or was removed. */
bool nat_pool_address(unsigned p, struct ipaddr *addr);
struct table *nat_mapping_table(void);
/* A guess of nat_pool_choose() for a packet that is not routed yet: this thread's last answer while it fits, -1 = none. */
int nat_pool_likely(const struct ipaddr *src);
