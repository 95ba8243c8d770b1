/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared by loader.c, attach.c and gate.c. */
#pragma once

#include <net/if.h>

#include "xdp/loader.h"
#include "xdp/nl.h"

/* One program on one device. */
struct attachment {
	uint32_t ifindex;
	enum loader_prog prog;
	enum loader_mode mode; /* XDP */
	char ifname[IFNAMSIZ]; /* as given: for messages */
};

/* Keys found in a map at adoption, sorted, each marked once it is set again. */
struct leftovers {
	uint8_t *keys;
	bool *kept;
	size_t n, key_size;
};
enum { LEFT_IFINDEX, LEFT_DEV, LEFT_LPM, LEFT_SERVICE, LEFT_ID, LEFTS };

struct bpf_object;
enum loader_object { OBJ_STEER, OBJ_CONTAINER, OBJ_HOST, OBJ_OVERLAY, OBJS };
struct loader {
	char dir[128];
	bool adopted;
	struct nl nl;
	struct bpf_object *obj[OBJS];
	int prog_fd[PROGS];
	uint32_t prog_id[PROGS];
	int map_fd[MAPS];
	struct gen_area *gen;
	uint8_t *bits;
	struct loader_replay replay;
	struct leftovers left[LEFTS];
	struct attachment *at;
	size_t n_at;
	unsigned n_cpus;
};

struct loader_prog_info {
	const char *function; /* name in the object; at most 15 characters, so that the kernel keeps it whole */
	const char *filter;   /* tc name */
	uint32_t parent;      /* tc: TC_H_MIN_INGRESS or EGRESS; 0 = XDP */
	enum loader_object object;
};
extern const struct loader_prog_info loader_progs[PROGS];

/* Detaches whatever of ours of kind 'prog' is on the device, recorded or not. */
int attach_remove(struct loader *l, enum loader_prog prog, uint32_t ifindex, struct err *e);
/* Whether a program of ours of kind 'prog', of this process or a predecessor, is on the device. */
bool attach_is_ours(struct loader *l, enum loader_prog prog, uint32_t ifindex);
void attach_remove_all(struct loader *l);
/* loader_replay.c */
uint32_t replay_buckets(void); /* index buckets for loader_replay_flows records */
int replay_open(struct loader *l, struct err *e);
void replay_close(struct loader *l);
/* gate.c, from a clean loader_close */
void gate_release(struct loader *l);
