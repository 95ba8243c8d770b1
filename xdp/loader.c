/* SPDX-License-Identifier: BSD-2-Clause */
/* Objects, pins and map access of the loader (contract in loader.h). Control thread.
 *
 * Every map is pinned by name before the objects are loaded, so the objects share them and the next process finds
 * them. Programs need no pins: the devices they are attached to hold them. */
#include "xdp/loader.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <linux/pkt_sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "fwd/base/log.h"
#include "xdp/loader_priv.h"

#define BPFFS "/sys/fs/bpf"
#define BITS_BYTES ((size_t)STEER_POOLS * STEER_PROTOS * STEER_BITMAP_SIZE)

extern const char bpf_steer_start[], bpf_steer_end[], bpf_container_start[], bpf_container_end[], bpf_host_start[],
	bpf_host_end[], bpf_overlay_start[], bpf_overlay_end[];

static const struct {
	const char *name, *start, *end;
} objects[OBJS] = {
	[OBJ_STEER] = { "steer", bpf_steer_start, bpf_steer_end },
	[OBJ_CONTAINER] = { "container", bpf_container_start, bpf_container_end },
	[OBJ_HOST] = { "host", bpf_host_start, bpf_host_end },
	[OBJ_OVERLAY] = { "overlay", bpf_overlay_start, bpf_overlay_end },
};
const struct loader_prog_info loader_progs[PROGS] = {
	[PROG_STEER] = { "sluice_steer", NULL, 0, OBJ_STEER },
	[PROG_GATE] = { "sluice_gate", NULL, 0, OBJ_STEER },
	[PROG_FROM_CONTAINER] = { "from_container", "container.o:[from-container]", TC_H_MIN_INGRESS, OBJ_CONTAINER },
	[PROG_TO_CONTAINER] = { "to_container", "container.o:[to-container]", TC_H_MIN_EGRESS, OBJ_CONTAINER },
	[PROG_NET_TO_HOST] = { "net_to_host", "host.o:[to-host]", TC_H_MIN_INGRESS, OBJ_HOST },
	[PROG_TO_HOST] = { "to_host", "host.o:[to-host]", TC_H_MIN_INGRESS, OBJ_HOST },
	[PROG_FROM_HOST] = { "from_host", "host.o:[from-host]", TC_H_MIN_EGRESS, OBJ_HOST },
	[PROG_FROM_NETDEV] = { "from_netdev", "host.o:[from-netdev]", TC_H_MIN_INGRESS, OBJ_HOST },
	[PROG_FROM_OVERLAY] = { "from_overlay", "overlay.o:[from-overlay]", TC_H_MIN_INGRESS, OBJ_OVERLAY },
	[PROG_TO_OVERLAY] = { "to_overlay", "overlay.o:[to-overlay]", TC_H_MIN_EGRESS, OBJ_OVERLAY },
};
static const struct {
	const char *name;
	enum loader_object object; /* one that defines it */
} maps[MAPS] = {
	[MAP_STEER_XSK] = { "steer_xsk", OBJ_STEER },
	[MAP_STEER_DEV] = { "steer_dev", OBJ_STEER },
	[MAP_STEER_LPM] = { "steer_lpm", OBJ_STEER },
	[MAP_STEER_BITS] = { "steer_bits", OBJ_STEER },
	[MAP_STEER_FRAG] = { "steer_frag", OBJ_STEER },
	[MAP_STEER_SERVICE] = { "steer_service", OBJ_STEER },
	[MAP_STEER_STATS] = { "steer_stats", OBJ_STEER },
	[MAP_GEN_AREA] = { "gen_area", OBJ_STEER },
	[MAP_GATE_BY_IFINDEX] = { "gate_by_ifindex", OBJ_CONTAINER },
	[MAP_GATE_BY_ID] = { "gate_by_id", OBJ_CONTAINER },
	[MAP_GATE_CONF] = { "gate_conf", OBJ_CONTAINER },
	[MAP_GATE_STATS] = { "gate_stats", OBJ_CONTAINER },
	[MAP_REPLAY_INDEX] = { "replay_index", OBJ_STEER },
	[MAP_REPLAY_FILTER] = { "replay_filter", OBJ_STEER },
	[MAP_REPLAY_FLOW4] = { "replay_flow4", OBJ_STEER },
	[MAP_REPLAY_FLOW6] = { "replay_flow6", OBJ_STEER },
	[MAP_REPLAY_ADJ] = { "replay_adj", OBJ_STEER },
	[MAP_REPLAY_CONF] = { "replay_conf", OBJ_STEER },
	[MAP_REPLAY_REMOTE] = { "replay_remote", OBJ_STEER },
	[MAP_REPLAY_STATS] = { "replay_stats", OBJ_STEER },
};
static const struct {
	enum loader_map map;
	size_t key_size;
} left[LEFTS] = {
	[LEFT_IFINDEX] = { MAP_GATE_BY_IFINDEX, sizeof(uint32_t) },
	[LEFT_DEV] = { MAP_STEER_DEV, sizeof(uint32_t) },
	[LEFT_LPM] = { MAP_STEER_LPM, sizeof(struct steer_key) },
	[LEFT_SERVICE] = { MAP_STEER_SERVICE, sizeof(struct steer_service) },
	[LEFT_ID] = { MAP_GATE_BY_ID, sizeof(uint32_t) },
};

int loader_check_caps(struct err *e)
{
	static const struct {
		int bit;
		const char *name, *what;
	} need[] = {
		{ CAP_NET_ADMIN, "CAP_NET_ADMIN", "XDP, tc and the gate" },
		/* CAP_BPF loads programs, but looking at the one a device has (BPF_PROG_GET_FD_BY_ID) takes this. */
		{ CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "loading and adopting BPF programs" },
		{ CAP_NET_RAW, "CAP_NET_RAW", "AF_XDP sockets" },
		{ CAP_IPC_LOCK, "CAP_IPC_LOCK", "packet memory beyond RLIMIT_MEMLOCK" },
	};
	unsigned long long caps = 0;
	char line[256], missing[256] = "";
	size_t n = 0;
	FILE *f = fopen("/proc/self/status", "re");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "CapEff: %llx", &caps) == 1)
			break;
	if (!f)
		return err_set(e, -errno, "cannot read /proc/self/status: mount proc");
	fclose(f);
	for (size_t i = 0; i < ARRAY_LEN(need); i++)
		if (!(caps >> need[i].bit & 1))
			n += (size_t)snprintf(missing + n, sizeof(missing) - n, "%s%s (%s)", n ? ", " : "",
					      need[i].name, need[i].what);
	if (!n)
		return 0;
	return err_set(e, -EPERM, "missing %s: run as root or grant it (AmbientCapabilities= in the unit file)",
		       missing);
}

static int pin_dir_make(struct loader *l, const char *instance, struct err *e)
{
	struct statfs s;
	size_t n = strspn(instance, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_");

	if (!n || instance[n] || n > 32)
		return err_set(e, -EINVAL, "instance name '%s': use 1 to 32 letters, digits, '-' or '_'", instance);
	if (statfs(BPFFS, &s) || s.f_type != BPF_FS_MAGIC) {
		if (mount("bpf", BPFFS, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700")) {
			int rc = -errno;
			return err_set(e, rc,
				       "no BPF file system at " BPFFS " and mounting it failed (%s): "
				       "run 'mount -t bpf bpf " BPFFS "'",
				       strerror(-rc));
		}
		log_info("mounted the BPF file system at " BPFFS);
	}
	snprintf(l->dir, sizeof(l->dir), BPFFS "/sluice/%s", instance);
	if ((mkdir(BPFFS "/sluice", 0700) && errno != EEXIST) || (mkdir(l->dir, 0700) && errno != EEXIST)) {
		int rc = -errno;
		return err_set(e, rc, "cannot create %s: %s", l->dir, strerror(-rc));
	}
	return 0;
}

/* A pinned map of another shape is unpinned: the programs that use it run on until they are replaced. */
static void drop_other_layout(struct loader *l, const char *path, const struct bpf_map *m)
{
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);
	int fd = bpf_obj_get(path);

	if (fd < 0 && errno == ENOENT)
		return;
	if (fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &size) && info.type == bpf_map__type(m) &&
	    info.key_size == bpf_map__key_size(m) && info.value_size == bpf_map__value_size(m) &&
	    info.max_entries == bpf_map__max_entries(m) && info.map_flags == bpf_map__map_flags(m)) {
		l->adopted = true;
	} else {
		log_info("pinned map %s has another layout: starting with an empty one", path);
		unlink(path);
	}
	if (fd >= 0)
		close(fd);
}

/* How much room a map whose size is a matter of configuration gets; 0: as declared. */
static uint32_t map_entries(const char *name)
{
	if (!strcmp(name, maps[MAP_REPLAY_INDEX].name))
		return replay_buckets();
	if (!strcmp(name, maps[MAP_REPLAY_FILTER].name))
		return replay_buckets() / 2;
	if (!strcmp(name, maps[MAP_REPLAY_FLOW4].name) || !strcmp(name, maps[MAP_REPLAY_FLOW6].name))
		return loader_replay_flows;
	return 0;
}

static int object_open(struct loader *l, enum loader_object o, struct err *e)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = objects[o].name);
	struct bpf_program *p;
	struct bpf_map *m;
	char path[192];
	int rc;

	l->obj[o] = bpf_object__open_mem(objects[o].start, (size_t)(objects[o].end - objects[o].start), &opts);
	if (!l->obj[o])
		return err_set(e, -errno, "BPF object %s does not open: %s", objects[o].name, strerror(errno));
	bpf_object__for_each_map(m, l->obj[o])
	{
		if (bpf_map__is_internal(m)) /* constants of the program itself */
			continue;
		snprintf(path, sizeof(path), "%s/%s", l->dir, bpf_map__name(m));
		if (map_entries(bpf_map__name(m)))
			bpf_map__set_max_entries(m, map_entries(bpf_map__name(m)));
		drop_other_layout(l, path, m);
		rc = bpf_map__set_pin_path(m, path);
		if (rc)
			return err_set(e, rc, "cannot pin %s: %s", path, strerror(-rc));
	}
	if (o != OBJ_STEER)
		bpf_object__for_each_program(p, l->obj[o]) bpf_program__set_type(p, BPF_PROG_TYPE_SCHED_CLS);
	return 0;
}

static int object_load(struct loader *l, enum loader_object o, struct err *e)
{
	int rc = bpf_object__load(l->obj[o]);

	if (rc)
		return err_set(e, rc,
			       "the kernel refuses BPF object %s (%s): Linux 5.15 or later with CONFIG_BPF_SYSCALL and "
			       "CONFIG_XDP_SOCKETS is needed",
			       objects[o].name, strerror(-rc));
	return 0;
}

static int find_fds(struct loader *l, struct err *e)
{
	for (int i = 0; i < PROGS; i++) {
		struct bpf_prog_info info = { 0 };
		uint32_t size = sizeof(info);

		l->prog_fd[i] = bpf_program__fd(
			bpf_object__find_program_by_name(l->obj[loader_progs[i].object], loader_progs[i].function));
		if (l->prog_fd[i] < 0 || bpf_obj_get_info_by_fd(l->prog_fd[i], &info, &size))
			return err_set(e, -ENOENT, "BPF program %s is missing: build again", loader_progs[i].function);
		l->prog_id[i] = info.id;
	}
	for (int i = 0; i < MAPS; i++) {
		l->map_fd[i] = bpf_object__find_map_fd_by_name(l->obj[maps[i].object], maps[i].name);
		if (l->map_fd[i] < 0)
			return err_set(e, -ENOENT, "BPF map %s is missing: build again", maps[i].name);
	}
	return 0;
}

static int map_memory(struct loader *l, struct err *e)
{
	void *g = mmap(NULL, sizeof(struct gen_area), PROT_READ | PROT_WRITE, MAP_SHARED, l->map_fd[MAP_GEN_AREA], 0);
	void *b = mmap(NULL, BITS_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, l->map_fd[MAP_STEER_BITS], 0);

	l->gen = g == MAP_FAILED ? NULL : g;
	l->bits = b == MAP_FAILED ? NULL : b;
	if (!l->gen || !l->bits)
		return err_set(e, -errno, "cannot map BPF memory: %s", strerror(errno));
	return replay_open(l, e);
}

static size_t sort_size; /* qsort and bsearch pass no context; control thread only */
static int key_compare(const void *a, const void *b)
{
	return memcmp(a, b, sort_size);
}

static int leftovers_read(struct loader *l, struct leftovers *f, int fd, size_t key_size, struct err *e)
{
	size_t room = 0;
	void *prev = NULL;

	f->key_size = key_size;
	for (;;) {
		if (f->n == room) {
			room = room ? room * 2 : 256;
			uint8_t *k = realloc(f->keys, room * key_size);
			if (!k)
				return err_set(e, -ENOMEM, "no memory to adopt %s", l->dir);
			f->keys = k;
			prev = f->n ? f->keys + (f->n - 1) * key_size : NULL;
		}
		if (bpf_map_get_next_key(fd, prev, f->keys + f->n * key_size))
			break;
		prev = f->keys + f->n++ * key_size;
	}
	f->kept = calloc(f->n + 1, sizeof(*f->kept));
	if (!f->kept)
		return err_set(e, -ENOMEM, "no memory to adopt %s", l->dir);
	sort_size = key_size;
	qsort(f->keys, f->n, key_size, key_compare);
	return 0;
}

static void leftovers_keep(struct leftovers *f, const void *key)
{
	uint8_t *k;

	if (!f->n)
		return;
	sort_size = f->key_size;
	k = bsearch(key, f->keys, f->n, f->key_size, key_compare);
	if (k)
		f->kept[(size_t)(k - f->keys) / f->key_size] = true;
}

static void leftovers_free(struct leftovers *f)
{
	free(f->keys);
	free(f->kept);
	memset(f, 0, sizeof(*f));
}

static void container_remove(struct loader *l, uint32_t ifindex)
{
	attach_remove(l, PROG_FROM_CONTAINER, ifindex, NULL);
	attach_remove(l, PROG_TO_CONTAINER, ifindex, NULL);
}

unsigned loader_adopt_done(struct loader *l)
{
	unsigned gone = 0;

	for (int w = 0; w < LEFTS; w++) {
		struct leftovers *f = &l->left[w];

		for (size_t i = 0; i < f->n; i++) {
			const uint8_t *key = f->keys + i * f->key_size;

			if (f->kept[i])
				continue;
			if (w == LEFT_IFINDEX)
				container_remove(l, ld32(key));
			if (w == LEFT_DEV) {
				attach_remove(l, PROG_STEER, ld32(key), NULL);
				attach_remove(l, PROG_FROM_NETDEV, ld32(key), NULL);
			}
			bpf_map_delete_elem(l->map_fd[left[w].map], key);
			gone++;
		}
		leftovers_free(f);
	}
	return gone;
}

__attribute__((format(printf, 2, 0))) static int quiet(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	char line[1024];

	vsnprintf(line, sizeof(line), fmt, ap);
	line[strcspn(line, "\n")] = 0;
	/* Its warnings explain a verifier refusal; the rest repeats what our sentences say. */
	if (level == LIBBPF_WARN)
		log_debug("libbpf: %s", line);
	return 0;
}

int loader_open(struct loader **out, const char *instance, struct err *e)
{
	struct loader *l;
	int rc;

	*out = NULL;
	if (loader_replay_flows < 16 || loader_replay_flows > 1u << 24)
		return err_set(e, -EINVAL, "kernel replay table of %u flows: use 16 to 16777216", loader_replay_flows);
	l = calloc(1, sizeof(*l));
	if (!l)
		return err_set(e, -ENOMEM, "no memory for the loader");
	libbpf_set_print(quiet);
	l->n_cpus = (unsigned)libbpf_num_possible_cpus();
	rc = nl_open(&l->nl, e);
	if (!rc)
		rc = pin_dir_make(l, instance, e);
	/* All pins are judged before the first load creates any: what is found now is a predecessor's. */
	for (int o = 0; !rc && o < OBJS; o++)
		rc = object_open(l, o, e);
	for (int o = 0; !rc && o < OBJS; o++)
		rc = object_load(l, o, e);
	if (!rc)
		rc = find_fds(l, e);
	if (!rc)
		rc = map_memory(l, e);
	for (int w = 0; !rc && l->adopted && w < LEFTS; w++)
		rc = leftovers_read(l, &l->left[w], l->map_fd[left[w].map], left[w].key_size, e);
	if (rc) {
		loader_close(l, false);
		return rc;
	}
	if (l->adopted)
		log_info("adopted the BPF maps in %s", l->dir);
	*out = l;
	return 0;
}

bool loader_adopted(const struct loader *l)
{
	return l->adopted;
}

void loader_close(struct loader *l, bool clean)
{
	char path[192];

	if (!l)
		return;
	if (clean) {
		loader_adopt_done(l);
		gate_release(l);
		attach_remove_all(l);
		for (int i = 0; i < MAPS; i++) {
			snprintf(path, sizeof(path), "%s/%s", l->dir, maps[i].name);
			unlink(path);
		}
		rmdir(l->dir);
		rmdir(BPFFS "/sluice"); /* stays while another instance has its pins there */
	}
	if (l->gen)
		munmap(l->gen, sizeof(*l->gen));
	if (l->bits)
		munmap(l->bits, BITS_BYTES);
	replay_close(l);
	for (int o = 0; o < OBJS; o++)
		bpf_object__close(l->obj[o]);
	for (int w = 0; w < LEFTS; w++)
		leftovers_free(&l->left[w]);
	nl_close(&l->nl);
	free(l->at);
	free(l);
}

int loader_prog_fd(const struct loader *l, enum loader_prog prog)
{
	return l->prog_fd[prog];
}

int loader_map_fd(const struct loader *l, enum loader_map map)
{
	return l->map_fd[map];
}

struct gen_area *loader_gen_area(struct loader *l)
{
	return l->gen;
}

uint64_t *loader_pool_bits(struct loader *l, uint32_t pool, enum steer_proto which)
{
	if (pool >= STEER_POOLS || which >= STEER_PROTOS)
		return NULL;
	return (uint64_t *)(void *)(l->bits + ((size_t)pool * STEER_PROTOS + which) * STEER_BITMAP_SIZE);
}

static int map_set(struct loader *l, enum loader_map m, const void *key, const void *value)
{
	return bpf_map_update_elem(l->map_fd[m], key, value, BPF_ANY) ? -errno : 0;
}

static int map_del(struct loader *l, enum loader_map m, const void *key)
{
	return bpf_map_delete_elem(l->map_fd[m], key) && errno != ENOENT ? -errno : 0;
}

static struct steer_key steer_key(const struct ipnet *prefix)
{
	struct steer_key k = { .prefixlen = prefix->len };

	memcpy(k.addr, prefix->addr.b, 16);
	return k;
}

int loader_steer_set(struct loader *l, const struct ipnet *prefix, const struct steer_val *v)
{
	struct steer_key k = steer_key(prefix);

	leftovers_keep(&l->left[LEFT_LPM], &k);
	return map_set(l, MAP_STEER_LPM, &k, v);
}

int loader_steer_del(struct loader *l, const struct ipnet *prefix)
{
	struct steer_key k = steer_key(prefix);

	return map_del(l, MAP_STEER_LPM, &k);
}

int loader_service_set(struct loader *l, const struct steer_service *k)
{
	uint32_t one = 1;

	leftovers_keep(&l->left[LEFT_SERVICE], k);
	return map_set(l, MAP_STEER_SERVICE, k, &one);
}

int loader_service_del(struct loader *l, const struct steer_service *k)
{
	return map_del(l, MAP_STEER_SERVICE, k);
}

int loader_steer_dev_set(struct loader *l, uint32_t ifindex, const struct steer_dev *v)
{
	if (v->slot == 0 || v->slot >= STEER_PORTS)
		return -EINVAL;
	leftovers_keep(&l->left[LEFT_DEV], &ifindex);
	return map_set(l, MAP_STEER_DEV, &ifindex, v);
}

int loader_steer_dev_del(struct loader *l, uint32_t ifindex)
{
	return map_del(l, MAP_STEER_DEV, &ifindex);
}

int loader_xsk_set(struct loader *l, uint32_t slot, uint32_t queue, int fd)
{
	uint32_t k = slot * STEER_QUEUES + queue;

	return slot < STEER_PORTS && queue < STEER_QUEUES ? map_set(l, MAP_STEER_XSK, &k, &fd) : -EINVAL;
}

int loader_xsk_del(struct loader *l, uint32_t slot, uint32_t queue)
{
	uint32_t k = slot * STEER_QUEUES + queue;

	return slot < STEER_PORTS && queue < STEER_QUEUES ? map_del(l, MAP_STEER_XSK, &k) : -EINVAL;
}

int loader_endpoint_set(struct loader *l, const struct gate_endpoint *ep)
{
	int rc;

	leftovers_keep(&l->left[LEFT_ID], &ep->id);
	leftovers_keep(&l->left[LEFT_IFINDEX], &ep->ifindex);
	/* The way back first: from the first frame on it can be answered. */
	rc = map_set(l, MAP_GATE_BY_ID, &ep->id, ep);
	return rc ? rc : map_set(l, MAP_GATE_BY_IFINDEX, &ep->ifindex, ep);
}

int loader_endpoint_del(struct loader *l, uint32_t id, uint32_t ifindex)
{
	int a = map_del(l, MAP_GATE_BY_IFINDEX, &ifindex), b = map_del(l, MAP_GATE_BY_ID, &id);

	return a ? a : b;
}

int loader_gate_conf_set(struct loader *l, const struct gate_conf *c)
{
	uint32_t zero = 0;

	return map_set(l, MAP_GATE_CONF, &zero, c);
}

static int stats_sum(struct loader *l, enum loader_map m, uint64_t *n, unsigned count)
{
	uint64_t *v = calloc(l->n_cpus, sizeof(*v));
	int rc = v ? 0 : -ENOMEM;

	for (uint32_t i = 0; !rc && i < count; i++) {
		n[i] = 0;
		rc = bpf_map_lookup_elem(l->map_fd[m], &i, v) ? -errno : 0;
		for (unsigned c = 0; !rc && c < l->n_cpus; c++)
			n[i] += v[c];
	}
	free(v);
	return rc;
}

int loader_gate_stats(struct loader *l, uint64_t n[static GATE_STATS])
{
	return stats_sum(l, MAP_GATE_STATS, n, GATE_STATS);
}

int loader_steer_stats(struct loader *l, uint64_t n[static STEER_STATS])
{
	return stats_sum(l, MAP_STEER_STATS, n, STEER_STATS);
}

int loader_replay_stats(struct loader *l, uint64_t n[static REPLAY_STATS])
{
	return stats_sum(l, MAP_REPLAY_STATS, n, REPLAY_STATS);
}
