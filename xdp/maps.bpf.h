/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* Every BPF map, once. Each program file defines those it needs by including this with WITH_STEER, WITH_GATE and WITH_REPLAY;
 * the loader pins them by name, so that all objects, and those of the next start, share one map each. Names, keys and
 * values are the contract of tables/abi. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "tables/abi/gate.h"
#include "tables/abi/gen.h"
#include "tables/abi/replay.h"
#include "tables/abi/steer.h"

#ifdef WITH_STEER
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, STEER_PORTS *STEER_QUEUES);
	__type(key, __u32);
	__type(value, __u32);
} steer_xsk SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, STEER_PORTS);
	__type(key, __u32);
	__type(value, struct steer_dev);
} steer_dev SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct steer_key);
	__type(value, struct steer_val);
} steer_lpm SEC(".maps");

struct steer_bitmap {
	__u8 byte[STEER_BITMAP_SIZE];
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, STEER_POOLS *STEER_PROTOS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct steer_bitmap);
} steer_bits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct steer_frag);
	__type(value, __u32);
} steer_frag SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, STEER_SERVICES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct steer_service);
	__type(value, __u32);
} steer_service SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STEER_STATS);
	__type(key, __u32);
	__type(value, __u64);
} steer_stats SEC(".maps");
#endif

#ifdef WITH_REPLAY
/* The first four are sized by the loader. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * REPLAY_FLOWS / REPLAY_WAYS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct replay_bucket);
} replay_index SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, REPLAY_FLOWS / REPLAY_WAYS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u64);
} replay_filter SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, REPLAY_FLOWS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct replay_flow4);
} replay_flow4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, REPLAY_FLOWS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct replay_flow6);
} replay_flow6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, REPLAY_ADJS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct adj);
} replay_adj SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct replay_conf);
} replay_conf SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, REPLAY_REMOTES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct replay_remote);
	__type(value, __u32);
} replay_remote SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REPLAY_STATS);
	__type(key, __u32);
	__type(value, __u64);
} replay_stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct gen_area);
} gen_area SEC(".maps");
#endif

#ifdef WITH_GATE
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct gate_endpoint);
} gate_by_ifindex SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct gate_endpoint);
} gate_by_id SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct gate_conf);
} gate_conf SEC(".maps");
#endif

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, GATE_STATS);
	__type(key, __u32);
	__type(value, __u64);
} gate_stats SEC(".maps");

/* Per-CPU, so a plain add is exact. */
static __always_inline void count(void *map, __u32 which)
{
	__u64 *n = bpf_map_lookup_elem(map, &which);

	if (n)
		(*n)++;
}
