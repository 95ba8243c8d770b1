/* SPDX-License-Identifier: BSD-2-Clause */
/* The writer of the kernel's replay table (tables/abi/replay.h): numbers, tags, removal and rest. It knows no connections;
 * export.c does. Control thread, but for export_table_stop, which any thread may call. */
#pragma once

#include "xdp/loader.h"

/* Takes the table over, mapped BPF arrays or plain memory in tests: programs are told to look away, then it is emptied and its
 * seeds are drawn. -ENOMEM. */
int export_table_open(const struct loader_replay *area);
void export_table_close(void);
/* false: programs pass by the table at once. Records stay. */
void export_table_switch(bool on);
/* A record of 'v6' size without 'use', copied; its number, or 0: no number is left, or both buckets are full or have its tag.
 * 'owner' is what use.owner becomes. */
uint32_t export_table_insert(bool v6, const void *record, uint32_t owner, uint64_t now_ns);
/* The number rests REPLAY_REST_S. What it counted can be read until then. */
void export_table_remove(bool v6, uint32_t n, uint64_t now_ns);
/* No program replays it from now on; it stays where it is. For any thread, any number of times. */
void export_table_stop(bool v6, uint32_t n);
struct replay_use *export_table_use(bool v6, uint32_t n);
const void *export_table_at(bool v6, uint32_t n);
/* Which programs may replay it: REPLAY_BY_TC, REPLAY_BY_XDP, REPLAY_VNI. */
void export_table_set_flags(bool v6, uint32_t n, uint16_t flags);
/* Numbers that can be had now; numbers that rest; all there are. */
uint32_t export_table_free(bool v6, uint64_t now_ns);
uint32_t export_table_resting(bool v6);
uint32_t export_table_capacity(bool v6);
