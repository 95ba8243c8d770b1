/* SPDX-License-Identifier: BSD-2-Clause */
/* Making, checking and removing the gate's veth pair (contract in gate.h). Control thread. */
#include "xdp/gate.h"

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "fwd/base/log.h"
#include "xdp/link.h"
#include "xdp/loader_priv.h"

/* Fixed, so that adoption finds them, and outside the stamps 02:e0..02:ef with a low nibble of 1..3. */
static const uint8_t host_mac[6] = { 0x02, 0xe9, 0, 0, 0, 2 }, net_mac[6] = { 0x02, 0xe9, 0, 0, 0, 3 };

/* ---- offloads ---- */

static bool feature_must_be_off(const char *name)
{
	/* The two others say nothing about what a frame looks like. */
	return !strncmp(name, "tx-", 3) && strcmp(name, "tx-lockless") && strcmp(name, "tx-nocache-copy");
}

static int ethtool(int fd, const char *dev, void *data)
{
	struct ifreq r = { .ifr_data = data };

	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", dev);
	return ioctl(fd, SIOCETHTOOL, &r) ? -errno : 0;
}

struct features {
	uint32_t n;
	struct ethtool_gstrings *names;
	struct ethtool_gfeatures *get;
	struct ethtool_sfeatures *set;
};

static int features_alloc(struct features *f, int fd, const char *dev)
{
	union {
		struct ethtool_sset_info head;
		uint8_t b[sizeof(struct ethtool_sset_info) + 4];
	} q = { .head = { .cmd = ETHTOOL_GSSET_INFO, .sset_mask = 1ull << ETH_SS_FEATURES } };
	int rc = ethtool(fd, dev, &q);
	uint32_t blocks;

	memset(f, 0, sizeof(*f));
	if (rc)
		return rc;
	f->n = ld32(q.b + sizeof(q.head));
	blocks = (f->n + 31) / 32;
	f->names = calloc(1, sizeof(*f->names) + (size_t)f->n * ETH_GSTRING_LEN);
	f->get = calloc(1, sizeof(*f->get) + blocks * sizeof(f->get->features[0]));
	f->set = calloc(1, sizeof(*f->set) + blocks * sizeof(f->set->features[0]));
	if (!f->names || !f->get || !f->set)
		return -ENOMEM;
	f->names->cmd = ETHTOOL_GSTRINGS;
	f->names->string_set = ETH_SS_FEATURES;
	f->names->len = f->n;
	f->set->cmd = ETHTOOL_SFEATURES;
	f->get->cmd = ETHTOOL_GFEATURES;
	f->get->size = f->set->size = blocks;
	return ethtool(fd, dev, f->names);
}

/* Number of transmit offloads that are on, and their names; 'f->set' then holds the request that turns them off. */
static int features_on(struct features *f, int fd, const char *dev, char *list, size_t size)
{
	int n = 0, rc = ethtool(fd, dev, f->get);
	size_t at = 0;

	list[0] = 0;
	if (rc)
		return rc;
	for (uint32_t i = 0; i < f->n; i++) {
		const char *name = (const char *)f->names->data + (size_t)i * ETH_GSTRING_LEN;
		uint32_t bit = 1u << (i & 31);

		if (!feature_must_be_off(name))
			continue;
		/* Only what the user may change; also those off by another's absence (TSO without checksum), else they
		 * come back with it. */
		f->set->features[i / 32].valid |= f->get->features[i / 32].available & bit;
		if (!(f->get->features[i / 32].active & bit))
			continue;
		n++;
		if (at < size)
			at += (size_t)snprintf(list + at, size - at, "%s%s", at ? ", " : "", name);
	}
	return n;
}

/* 0: were off. 1: some were on, are off now. 'list' names them. */
static int offloads_off(const char *dev, char *list, size_t size, struct err *e)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), rc;
	struct features f = { 0 };
	char still[256];

	if (fd < 0)
		return err_set(e, -errno, "no socket for ethtool: %s", strerror(errno));
	rc = features_alloc(&f, fd, dev);
	if (!rc)
		rc = features_on(&f, fd, dev, list, size);
	if (rc > 0) {
		rc = ethtool(fd, dev, f.set);
		if (!rc)
			rc = features_on(&f, fd, dev, still, sizeof(still));
		if (rc > 0)
			rc = err_set(e, -EIO,
				     "%s: cannot turn off %s: try 'ethtool -K %s tx off sg off tso off gso off txvlan "
				     "off'",
				     dev, still, dev);
		else if (!rc)
			rc = 1;
	}
	if (rc < 0 && rc != -EIO)
		err_set(e, rc, "%s: ethtool: %s", dev, strerror(-rc));
	free(f.names);
	free(f.get);
	free(f.set);
	close(fd);
	return rc;
}

/* ---- sysctls ---- */

static const struct {
	const char *path;
	const char *value;
	bool optional; /* a kernel without IPv6 has none */
} sysctls[] = {
	{ "ipv6/conf/" GATE_HOST_DEVICE "/addr_gen_mode", "1", true },
	{ "ipv6/conf/" GATE_HOST_DEVICE "/accept_ra", "0", true },
	{ "ipv6/conf/" GATE_HOST_DEVICE "/accept_redirects", "0", true },
	{ "ipv6/conf/" GATE_NET_DEVICE "/addr_gen_mode", "1", true },
	{ "ipv6/conf/" GATE_NET_DEVICE "/disable_ipv6", "1", true },
	{ "ipv4/conf/" GATE_HOST_DEVICE "/accept_local", "1", false },
	{ "ipv4/conf/" GATE_HOST_DEVICE "/accept_redirects", "0", false },
	{ "ipv4/conf/" GATE_HOST_DEVICE "/send_redirects", "0", false },
};

/* First byte of /proc/sys/net/PATH, or -errno. */
static int sysctl_get(const char *path)
{
	char full[160], c = 0;
	int fd, rc;

	snprintf(full, sizeof(full), "/proc/sys/net/%s", path);
	fd = open(full, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	rc = read(fd, &c, 1) == 1 ? c : -EIO;
	close(fd);
	return rc;
}

/* Writes only what differs, so that a read-only /proc/sys set up by somebody else will do. 1: changed. */
static int sysctl_set(const char *path, const char *value, bool optional, struct err *e)
{
	int now = sysctl_get(path), fd, rc = 0;
	char full[160];

	if (now == value[0] || (now == -ENOENT && optional))
		return 0;
	snprintf(full, sizeof(full), "/proc/sys/net/%s", path);
	fd = open(full, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		rc = -errno;
	if (fd >= 0)
		close(fd);
	if (rc)
		return err_set(e, rc, "cannot write %s to %s (%s): mount /proc/sys writable", value, full,
			       strerror(-rc));
	return 1;
}

static int rp_filter_set(struct err *e)
{
	int all = sysctl_get("ipv4/conf/all/rp_filter");

	return sysctl_set("ipv4/conf/" GATE_HOST_DEVICE "/rp_filter", all == '1' ? "2" : "0", false, e);
}

/* ---- the gate ---- */

/* Either end with a name of ours that is not half of a veth pair of ours is somebody else's. */
static int pair_find(struct loader *l, uint32_t n_queues, bool *fits, struct err *e)
{
	struct link h, n;
	bool has_h = link_get(&l->nl, GATE_HOST_DEVICE, &h), has_n = link_get(&l->nl, GATE_NET_DEVICE, &n);

	*fits = false;
	if ((has_h && !h.veth) || (has_n && !n.veth))
		return err_set(e, -EEXIST, "a device named %s is not a veth: rename or delete it",
			       has_h && !h.veth ? GATE_HOST_DEVICE : GATE_NET_DEVICE);
	*fits = has_h && has_n && h.peer == n.ifindex && n.peer == h.ifindex && h.n_tx == n_queues &&
		h.n_rx == n_queues && n.n_tx == n_queues && n.n_rx == n_queues;
	if (*fits || (!has_h && !has_n))
		return 0;
	log_info("replacing %s/%s, whose shape does not fit %u queues; its addresses and routes are lost",
		 GATE_HOST_DEVICE, GATE_NET_DEVICE, n_queues);
	if (has_h)
		link_delete(&l->nl, h.ifindex);
	if (has_n && !(has_h && h.peer == n.ifindex))
		link_delete(&l->nl, n.ifindex);
	return 0;
}

static int gate_settings(struct err *e)
{
	char list[256];
	int rc = rp_filter_set(e);

	for (size_t i = 0; rc >= 0 && i < ARRAY_LEN(sysctls); i++)
		rc = sysctl_set(sysctls[i].path, sysctls[i].value, sysctls[i].optional, e);
	if (rc >= 0)
		rc = offloads_off(GATE_HOST_DEVICE, list, sizeof(list), e);
	return rc < 0 ? rc : 0;
}

/* Settings, then programs, then up: no frame meets a half-made gate. */
static int gate_equip(struct loader *l, const struct link *h, const struct link *n, uint32_t n_queues, uint16_t mtu,
		      struct err *e)
{
	struct gate_conf c = { .host_ifindex = h->ifindex, .n_queues = n_queues };
	char why[200];
	int rc = gate_settings(e);

	if (rc)
		return rc;
	memcpy(c.host_mac, h->mac.b, 6);
	rc = link_set(&l->nl, h->ifindex, IFF_NOARP, IFF_NOARP, mtu);
	if (!rc)
		rc = link_set(&l->nl, n->ifindex, IFF_NOARP, IFF_NOARP, mtu);
	if (rc)
		return err_set(e, rc, "cannot set up the gate: %s%s", strerror(-rc), nl_why(&l->nl, why));
	rc = loader_gate_conf_set(l, &c);
	if (rc)
		return err_set(e, rc, "cannot write gate_conf: %s", strerror(-rc));
	if ((rc = loader_attach_xdp(l, PROG_GATE, GATE_NET_DEVICE, LOADER_NATIVE, NULL, e)) ||
	    (rc = loader_attach_tc(l, PROG_NET_TO_HOST, GATE_NET_DEVICE, e)) ||
	    (rc = loader_attach_tc(l, PROG_TO_HOST, GATE_HOST_DEVICE, e)) ||
	    (rc = loader_attach_tc(l, PROG_FROM_HOST, GATE_HOST_DEVICE, e)))
		return rc;
	rc = link_set(&l->nl, h->ifindex, IFF_UP, IFF_UP, 0);
	if (!rc)
		rc = link_set(&l->nl, n->ifindex, IFF_UP, IFF_UP, 0);
	if (rc)
		return err_set(e, rc, "cannot bring the gate up: %s%s", strerror(-rc), nl_why(&l->nl, why));
	return 0;
}

int gate_create(struct loader *l, uint32_t n_queues, uint16_t mtu, struct gate_info *info, struct err *e)
{
	struct link h, n;
	char why[200];
	bool fits;
	int rc;

	if (!n_queues || n_queues > STEER_QUEUES)
		return err_set(e, -EINVAL, "the gate cannot have %u queues: use 1 to %d workers", n_queues,
			       STEER_QUEUES);
	rc = pair_find(l, n_queues, &fits, e);
	if (rc)
		return rc;
	if (!fits) {
		const struct link_end host = { GATE_HOST_DEVICE, host_mac, -1 }, net = { GATE_NET_DEVICE, net_mac, -1 };
		rc = link_veth(&l->nl, &host, &net, n_queues, mtu);
		if (rc)
			return err_set(e, rc, "cannot create %s/%s: %s%s", GATE_HOST_DEVICE, GATE_NET_DEVICE,
				       strerror(-rc), nl_why(&l->nl, why));
	}
	if (!link_get(&l->nl, GATE_HOST_DEVICE, &h) || !link_get(&l->nl, GATE_NET_DEVICE, &n))
		return err_set(e, -ENODEV, "the gate vanished while it was being made: start again");
	rc = gate_equip(l, &h, &n, n_queues, mtu, e);
	if (!rc && info)
		*info = (struct gate_info){ .host_ifindex = h.ifindex,
					    .net_ifindex = n.ifindex,
					    .host_mac = h.mac,
					    .mtu = mtu,
					    .adopted = fits };
	return rc;
}

int gate_check(struct loader *l, struct err *e)
{
	char list[256];
	int rp, off;

	(void)l;
	rp = rp_filter_set(e);
	if (rp < 0)
		return rp;
	off = offloads_off(GATE_HOST_DEVICE, list, sizeof(list), e);
	if (off > 0)
		err_set(e, 0, "%s: somebody turned on %s; off again", GATE_HOST_DEVICE, list);
	else if (!off && rp)
		err_set(e, 0, "%s: somebody changed rp_filter; put back", GATE_HOST_DEVICE);
	return off ? off : rp;
}

int gate_destroy(struct loader *l, struct err *e)
{
	struct link h;
	char why[200];
	int rc;

	if (!link_get(&l->nl, GATE_HOST_DEVICE, &h))
		return 0;
	rc = link_delete(&l->nl, h.ifindex);
	return rc ? err_set(e, rc, "cannot remove %s: %s%s", GATE_HOST_DEVICE, strerror(-rc), nl_why(&l->nl, why)) : 0;
}

static bool has_address(const char *dev)
{
	struct ifaddrs *all, *a;
	bool yes = false;

	if (getifaddrs(&all))
		return true;
	for (a = all; a; a = a->ifa_next)
		yes |= !strcmp(a->ifa_name, dev) && a->ifa_addr &&
		       (a->ifa_addr->sa_family == AF_INET || a->ifa_addr->sa_family == AF_INET6);
	freeifaddrs(all);
	return yes;
}

/* Addresses on sluice_host are the operator's: they shall survive a restart. Down, it carries nothing. */
void gate_release(struct loader *l)
{
	struct link h;
	struct err e;

	/* Also a predecessor's, when this run made none. */
	if (!attach_is_ours(l, PROG_GATE, nl_ifindex(GATE_NET_DEVICE)) || !link_get(&l->nl, GATE_HOST_DEVICE, &h))
		return;
	if (!has_address(GATE_HOST_DEVICE)) {
		if (gate_destroy(l, &e))
			log_warn("%s", e.text);
		return;
	}
	link_set(&l->nl, h.ifindex, 0, IFF_UP, 0);
	if (attach_remove(l, PROG_TO_HOST, h.ifindex, &e) || attach_remove(l, PROG_FROM_HOST, h.ifindex, &e) ||
	    attach_remove(l, PROG_NET_TO_HOST, h.peer, &e) || attach_remove(l, PROG_GATE, h.peer, &e))
		log_warn("%s", e.text);
	log_info("%s has addresses: left in place, down", GATE_HOST_DEVICE);
}
