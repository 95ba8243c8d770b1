/* SPDX-License-Identifier: BSD-2-Clause */
/* The loader's part of kernel replay (contract in loader.h): the table's memory, the senders, and whether a device takes
 * redirected frames. Control thread. */
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/genetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "xdp/loader_priv.h"

uint32_t loader_replay_flows = REPLAY_FLOWS;

/* Half full when each record of one family is used, full (and then refusing some) when all of both are. */
uint32_t replay_buckets(void)
{
	uint32_t n = 2;

	while (n * REPLAY_WAYS < 2 * loader_replay_flows)
		n *= 2;
	return n;
}

static size_t conf_size(void)
{
	return sizeof(struct replay_conf);
}
static size_t index_size(void)
{
	return (size_t)replay_buckets() * sizeof(struct replay_bucket);
}
static size_t filter_size(void)
{
	return (size_t)replay_buckets() / 2 * sizeof(uint64_t);
}
static size_t flow4_size(void)
{
	return (size_t)loader_replay_flows * sizeof(struct replay_flow4);
}
static size_t flow6_size(void)
{
	return (size_t)loader_replay_flows * sizeof(struct replay_flow6);
}
static size_t adjs_size(void)
{
	return (size_t)REPLAY_ADJS * sizeof(struct adj);
}

static void *map_one(struct loader *l, enum loader_map map, size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, l->map_fd[map], 0);

	return p == MAP_FAILED ? NULL : p;
}

int replay_open(struct loader *l, struct err *e)
{
	struct loader_replay *r = &l->replay;
	struct replay_remote k;

	r->conf = map_one(l, MAP_REPLAY_CONF, conf_size());
	r->index = map_one(l, MAP_REPLAY_INDEX, index_size());
	r->filter = map_one(l, MAP_REPLAY_FILTER, filter_size());
	r->flow4 = map_one(l, MAP_REPLAY_FLOW4, flow4_size());
	r->flow6 = map_one(l, MAP_REPLAY_FLOW6, flow6_size());
	r->adjs = map_one(l, MAP_REPLAY_ADJ, adjs_size());
	if (!r->conf || !r->index || !r->filter || !r->flow4 || !r->flow6 || !r->adjs)
		return err_set(e, -errno, "cannot map the kernel replay table of %u flows: %s", loader_replay_flows,
			       strerror(errno));
	STORE_RELEASE(&r->conf->flags, 0);
	memset(r->index, 0, index_size());
	memset(r->filter, 0, filter_size());
	memset(r->conf, 0,
	       offsetof(struct replay_conf, port)); /* ports: offload_init() looks what the last process left */
	r->conf->buckets = replay_buckets();
	r->conf->flows = loader_replay_flows;
	while (!bpf_map_get_next_key(l->map_fd[MAP_REPLAY_REMOTE], NULL, &k))
		if (bpf_map_delete_elem(l->map_fd[MAP_REPLAY_REMOTE], &k))
			return err_set(e, -errno, "cannot empty the pinned map replay_remote: %s", strerror(errno));
	return 0;
}

void replay_close(struct loader *l)
{
	struct loader_replay *r = &l->replay;

	if (r->conf)
		munmap(r->conf, conf_size());
	if (r->index)
		munmap(r->index, index_size());
	if (r->filter)
		munmap(r->filter, filter_size());
	if (r->flow4)
		munmap(r->flow4, flow4_size());
	if (r->flow6)
		munmap(r->flow6, flow6_size());
	if (r->adjs)
		munmap(r->adjs, adjs_size());
	memset(r, 0, sizeof(*r));
}

const struct loader_replay *loader_replay(const struct loader *l)
{
	return &l->replay;
}

int loader_replay_remote_set(struct loader *l, const struct replay_remote *k, uint32_t in)
{
	return bpf_map_update_elem(l->map_fd[MAP_REPLAY_REMOTE], k, &in, BPF_ANY) ? -errno : 0;
}

int loader_replay_remote_del(struct loader *l, const struct replay_remote *k)
{
	return bpf_map_delete_elem(l->map_fd[MAP_REPLAY_REMOTE], k) && errno != ENOENT ? -errno : 0;
}

/* ---- XDP features of a device: generic netlink family "netdev", Linux 6.3, not in the headers of Debian 12 ---- */
enum { NETDEV_DEV_GET = 1, NETDEV_DEV_IFINDEX = 1, NETDEV_DEV_XDP_FEATURES = 3, XDP_ACT_NDO_XMIT = 4 };

struct genl_answer {
	uint16_t attribute; /* whose value, of 16 or 64 bits, is wanted */
	uint64_t value;
	bool found;
};

static int genl_cb(const struct nlmsghdr *h, void *arg)
{
	struct genl_answer *g = arg;
	const struct nlattr *a;

	mnl_attr_for_each(a, h, sizeof(struct genlmsghdr)) if (mnl_attr_get_type(a) == g->attribute)
	{
		const void *p = mnl_attr_get_payload(a);

		g->value = mnl_attr_get_payload_len(a) >= 8 ? ld64(p) : ld16(p);
		g->found = true;
	}
	return MNL_CB_OK;
}

static void genl_start(union nl_buf *m, uint16_t family, uint8_t command)
{
	struct genlmsghdr *g = nl_start(m, family, 0, sizeof(*g));

	g->cmd = command;
	g->version = 1;
}

int loader_can_redirect(uint32_t ifindex)
{
	struct genl_answer family = { .attribute = CTRL_ATTR_FAMILY_ID },
			   features = { .attribute = NETDEV_DEV_XDP_FEATURES };
	struct nl n = { .sock = mnl_socket_open2(NETLINK_GENERIC, SOCK_CLOEXEC) };
	union nl_buf m;
	int rc;

	if (!n.sock || mnl_socket_bind(n.sock, 0, MNL_SOCKET_AUTOPID) < 0) {
		rc = -errno;
		nl_close(&n);
		return rc;
	}
	genl_start(&m, GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
	mnl_attr_put_strz(&m.h, CTRL_ATTR_FAMILY_NAME, "netdev");
	rc = nl_call(&n, &m, genl_cb, &family);
	if (rc == -ENOENT || (!rc && !family.found))
		rc = -EOPNOTSUPP;
	if (!rc) {
		genl_start(&m, (uint16_t)family.value, NETDEV_DEV_GET);
		mnl_attr_put_u32(&m.h, NETDEV_DEV_IFINDEX, ifindex);
		rc = nl_call(&n, &m, genl_cb, &features);
	}
	nl_close(&n);
	if (rc)
		return rc;
	return features.found && features.value & XDP_ACT_NDO_XMIT;
}

static int ethtool(const char *device, struct ethtool_value *v)
{
	struct ifreq r = { .ifr_data = (void *)v };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), rc;

	if (fd < 0)
		return -errno;
	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", device);
	rc = ioctl(fd, SIOCETHTOOL, &r) ? -errno : 0;
	close(fd);
	return rc;
}

bool loader_has_gro(const char *device)
{
	struct ethtool_value v = { .cmd = ETHTOOL_GGRO };

	return !ethtool(device, &v) && v.data;
}

int loader_set_gro(const char *device, bool on, struct err *e)
{
	struct ethtool_value v = { .cmd = ETHTOOL_SGRO, .data = on };
	int rc = ethtool(device, &v);

	if (!rc && loader_has_gro(device) != on) /* a driver may keep it as it is */
		rc = -EOPNOTSUPP;
	return rc ? err_set(e, rc, "cannot turn GRO of %s %s: %s", device, on ? "on" : "off", strerror(-rc)) : 0;
}
