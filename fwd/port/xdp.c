/* SPDX-License-Identifier: BSD-2-Clause */
/* AF_XDP ports: open and close. Control thread; the packet path is xdp_rings.c.
 *
 * Every port registers the whole frame area as a UMEM of its own and its queues share that, so frames still move between
 * ports without a copy. One registration for all ports would have to be zero-copy everywhere or nowhere (the kernel passes
 * the mode of the first socket on), and its first socket could not be closed before the last.
 *
 * Order: look at the device; attach (drivers reset their queues then); bind every queue; xskmap; steer_dev, from where on
 * frames come. A queue without a socket would lose its flows, so one that cannot be bound fails the open. */
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "fwd/base/log.h"
#include "fwd/port/xdp.h"
#include "fwd/settings.h"
#include "xdp/loader.h"

#ifndef XDP_MAX_TX_SKB_BUDGET
#define XDP_MAX_TX_SKB_BUDGET 9 /* setsockopt, Linux 6.17: frames one sendto may move, 32 by default */
#endif
#ifndef SO_PREFER_BUSY_POLL
#define SO_PREFER_BUSY_POLL 69 /* Linux 5.11 */
#define SO_BUSY_POLL_BUDGET 70
#endif
enum { BUSY_BUDGET = 64 };
enum { FRAME_MAX_L2 = 14 + 4, BUSY_TRIES = 100, BUSY_PAUSE_NS = 1000000, SEND_BUFFER = 8 * 1024 * 1024 };

struct loader *port_loader;
uint8_t *xdp_holder;
static unsigned n_open;

/* ---- the device ---- */
struct device {
	bool veth, combined; /* queues are counted as combined channels */
	uint32_t n_rx, n_tx; /* 0 = the driver does not tell */
};

static int ethtool(int fd, struct ifreq *r, void *cmd)
{
	r->ifr_data = cmd;
	return ioctl(fd, SIOCETHTOOL, r) ? -errno : 0;
}

static int look_at(int fd, struct port *p, struct device *d, struct err *e)
{
	const char *dev = p->conf.device;
	struct ifreq r = { 0 };
	memcpy(r.ifr_name, dev, MIN(strlen(dev), sizeof(r.ifr_name) - 1));
	if (!dev[0] || ioctl(fd, SIOCGIFINDEX, &r))
		return err_set(e, -ENODEV, "port %s: there is no device '%s'; see 'ip link'", p->conf.name, dev);
	p->ifindex = (uint32_t)r.ifr_ifindex;
	if (ioctl(fd, SIOCGIFMTU, &r))
		return err_set(e, -errno, "port %s: cannot read the MTU of %s: %s", p->conf.name, dev, strerror(errno));
	if (r.ifr_mtu + FRAME_MAX_L2 > BIG_ROOM)
		return err_set(e, -ERANGE,
			       "port %s: %s has MTU %d, at most %d is supported; 'ip link set dev %s mtu 9000'",
			       p->conf.name, dev, r.ifr_mtu, BIG_ROOM - FRAME_MAX_L2, dev);
	p->mtu = (uint16_t)r.ifr_mtu;
	p->mtu_max = (r.ifr_mtu + FRAME_MAX_L2 > FRAME_ROOM ? BIG_ROOM : FRAME_ROOM) - FRAME_MAX_L2;
	p->reopen = false;
	if (ioctl(fd, SIOCGIFFLAGS, &r))
		return err_set(e, -errno, "port %s: cannot read the state of %s: %s", p->conf.name, dev,
			       strerror(errno));
	bool admin_up = r.ifr_flags & IFF_UP, running = r.ifr_flags & IFF_RUNNING;
	if (ioctl(fd, SIOCGIFHWADDR, &r))
		return err_set(e, -errno, "port %s: cannot read the MAC of %s: %s", p->conf.name, dev, strerror(errno));
	memcpy(p->mac.b, r.ifr_hwaddr.sa_data, 6);
	struct ethtool_drvinfo info = { .cmd = ETHTOOL_GDRVINFO };
	d->veth = ethtool(fd, &r, &info) == 0 && strcmp(info.driver, "veth") == 0;
	/* IFF_RUNNING lags behind the carrier; without this call it must do */
	struct ethtool_value link = { .cmd = ETHTOOL_GLINK };
	p->up = admin_up && (ethtool(fd, &r, &link) ? running : link.data);
	struct ethtool_channels ch = { .cmd = ETHTOOL_GCHANNELS };
	if (ethtool(fd, &r, &ch) == 0) {
		d->combined = ch.combined_count;
		d->n_rx = ch.rx_count + ch.combined_count;
		d->n_tx = ch.tx_count + ch.combined_count;
	}
	return 0;
}

/* Names the ethtool command that leaves 'n' queues. */
static int refuse_queues(const struct port *p, const struct device *d, unsigned n, const char *why, struct err *e)
{
	char words[48];
	if (d->combined)
		snprintf(words, sizeof(words), "combined %u", n);
	else
		snprintf(words, sizeof(words), "rx %u tx %u", n, n);
	return err_set(e, -EINVAL, "port %s: %s has %u receive queues, %s %u; 'ethtool -L %s %s'", p->conf.name,
		       p->conf.device, d->n_rx, why, n, p->conf.device, words);
}

static int check_queues(const struct port *p, const struct device *d, struct err *e)
{
	const struct port_conf *conf = &p->conf;
	if (d->n_rx > QUEUES_MAX)
		return refuse_queues(p, d, QUEUES_MAX, "at most supported are", e);
	if (conf->queues && conf->queues < d->n_rx)
		return refuse_queues(p, d, conf->queues, "all must be served, not only", e);
	if (conf->queues > d->n_rx && d->n_rx)
		log_warn("port %s: %s has %u receive queues, not %u", conf->name, conf->device, d->n_rx, conf->queues);
	return 0;
}

/* ---- sockets ---- */
static bool busy_poll(int fd, int us)
{
	const int on = 1, budget = BUSY_BUDGET;
	return !setsockopt(fd, SOL_SOCKET, SO_PREFER_BUSY_POLL, &on, sizeof(on)) &&
	       !setsockopt(fd, SOL_SOCKET, SO_BUSY_POLL, &us, sizeof(us)) &&
	       !setsockopt(fd, SOL_SOCKET, SO_BUSY_POLL_BUDGET, &budget, sizeof(budget));
}

static void tune(struct port *p, struct xdp_queue *x)
{
	int budget = TX_SIZE, buffer = SEND_BUFFER;
	struct xdp_options o = { 0 };
	socklen_t len = sizeof(o);
	/* Both only save system calls; an older kernel goes on without. */
	setsockopt(x->fd, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &budget, sizeof(budget));
	setsockopt(x->fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof(buffer));
	x->busy_poll = settings.busy_poll_us && busy_poll(x->fd, (int)settings.busy_poll_us);
	if (settings.busy_poll_us && !x->busy_poll)
		log_warn("port %s: busy-poll is off: %s; it needs Linux 5.11", p->conf.name, strerror(errno));
	if (getsockopt(x->fd, SOL_XDP, XDP_OPTIONS, &o, &len) || !(o.flags & XDP_OPTIONS_ZEROCOPY))
		p->zero_copy = false;
}

/* 0 or -errno. A predecessor's socket is let go of from a workqueue, 3 to 5 ms after it died: EBUSY is waited out. */
static int bind_queue(struct port *p, unsigned queue, bool generic)
{
	struct xdp_port *xp = p->priv;
	struct xdp_queue *x = &xp->queue[queue];
	/* asked for only when needed: a driver that can do it only by copying would copy everything */
	const uint16_t sg = p->mtu_max + FRAME_MAX_L2 > FRAME_ROOM ? XDP_USE_SG : 0;
	/* without XDP_COPY and XDP_ZEROCOPY the kernel tries zero-copy first and falls back */
	struct xsk_socket_config c = { .rx_size = RX_SIZE,
				       .tx_size = TX_SIZE,
				       .libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD,
				       .bind_flags = (uint16_t)(XDP_USE_NEED_WAKEUP | sg | (generic ? XDP_COPY : 0)) };
	for (unsigned tries = 0;; tries++) {
		int rc = xsk_socket__create_shared(&x->xsk, p->conf.device, queue, xp->umem, &x->rx, &x->tx, &x->fill,
						   &x->comp, &c);
		if (rc == 0)
			break;
		x->xsk = NULL;
		if (rc != -EBUSY || tries == BUSY_TRIES)
			return rc;
		nanosleep(&(struct timespec){ .tv_nsec = BUSY_PAUSE_NS }, NULL);
	}
	x->fd = xsk_socket__fd(x->xsk);
	x->holder = (uint8_t)(p->index + 1);
	p->queue[queue].priv = x;
	tune(p, x);
	return 0;
}

/* Where the driver does not tell how many queues there are, binding does: EINVAL past the last. */
static int bind_all(struct port *p, const struct device *d, bool generic, struct frame_cache *frames, struct err *e)
{
	struct xdp_port *xp = p->priv;
	unsigned n = d->n_rx ? d->n_rx : QUEUES_MAX, q;
	for (q = 0; q < n; q++) {
		int rc = bind_queue(p, q, generic);
		if (rc == -EINVAL && q && !d->n_rx)
			break;
		if (rc == -EINVAL && !q && p->mtu_max + FRAME_MAX_L2 > FRAME_ROOM)
			return err_set(e, rc,
				       "port %s: MTU %u of %s needs Linux 6.6 or newer; 'ip link set dev %s mtu 1500'",
				       p->conf.name, p->mtu, p->conf.device, p->conf.device);
		if (rc == -EBUSY)
			return err_set(e, rc, "port %s: queue %u of %s is in use by another AF_XDP program",
				       p->conf.name, q, p->conf.device);
		if (rc)
			return err_set(e, rc, "port %s: cannot bind to queue %u of %s: %s", p->conf.name, q,
				       p->conf.device, strerror(-rc));
		p->n_queues = (uint16_t)(q + 1);
		xdp_refill(&xp->queue[q], frames);
		if (xp->queue[q].n_fill < FILL_MAX / 4)
			return err_set(e, -ENOMEM, "port %s: not enough free frames for %u queues (%d each)",
				       p->conf.name, n, FILL_MAX);
	}
	p->n_tx_queues = d->n_tx && d->n_tx < p->n_queues ? (uint16_t)d->n_tx : p->n_queues;
	return 0;
}

static int umem_create(struct port *p, struct err *e)
{
	struct xdp_port *xp = p->priv;
	struct xsk_umem_config c = { .fill_size = FILL_MAX, .comp_size = TX_SIZE, .frame_size = FRAME_SIZE };
	int rc = xsk_umem__create(&xp->umem, frame_area.base, (uint64_t)frame_area.n * FRAME_SIZE, &xp->queue[0].fill,
				  &xp->queue[0].comp, &c);
	if (rc == -ENOBUFS || rc == -EPERM)
		return err_set(e, rc,
			       "port %s: cannot lock %zu MiB for AF_XDP: needs CAP_IPC_LOCK, or a larger 'ulimit -l'",
			       p->conf.name, frame_area.size >> 20);
	if (rc)
		return err_set(e, rc, "port %s: cannot register memory for AF_XDP: %s", p->conf.name, strerror(-rc));
	return 0;
}

static int show_device(const struct port *p)
{
	struct steer_dev dev = { .slot = p->index,
				 .on_exit = p->conf.on_exit == PORT_EXIT_PASS ? 2 : 1,
				 .zone = p->conf.zone };
	memcpy(dev.mac, p->mac.b, 6);
	return loader_steer_dev_set(port_loader, p->ifindex, &dev);
}

static int show_to_programs(struct port *p, struct err *e)
{
	int rc = 0;
	for (unsigned q = 0; q < p->n_queues && !rc; q++)
		rc = loader_xsk_set(port_loader, p->index, q, ((struct xdp_queue *)p->queue[q].priv)->fd);
	if (!rc && p->index != PORT_GATE)
		rc = show_device(p);
	if (rc)
		return err_set(e, rc, "port %s: cannot enter %s into the steering maps: %s", p->conf.name,
			       p->conf.device, strerror(-rc));
	return 0;
}

/* Closes the sockets and takes back every chunk that was in their rings or inside the kernel. */
static void sockets_free(struct port *p)
{
	struct xdp_port *xp = p->priv;
	struct frame_cache frames = { 0 };
	for (unsigned q = 0; q < QUEUES_MAX; q++)
		if (xp->queue[q].xsk)
			xsk_socket__delete(xp->queue[q].xsk);
	if (xp->umem)
		xsk_umem__delete(xp->umem);
	for (uint32_t i = 0; xdp_holder && i < frame_area.n; i++) {
		if (xdp_holder[i] != p->index + 1)
			continue;
		xdp_holder[i] = 0;
		frame_put(&frames, frame_area.base + (size_t)i * FRAME_SIZE);
	}
	frame_cache_flush(&frames);
	if (xp->groups_fd > 0)
		close(xp->groups_fd);
	free(xp);
	p->priv = NULL;
	if (--n_open == 0) {
		free(xdp_holder);
		xdp_holder = NULL;
	}
}

static int port_memory(struct port *p, struct err *e)
{
	struct xdp_port *xp = calloc(1, sizeof(*xp));
	if (!xdp_holder && xp)
		xdp_holder = calloc(frame_area.n, 1);
	if (!xp || !xdp_holder) {
		free(xp);
		return err_set(e, -ENOMEM, "port %s: no memory", p->conf.name);
	}
	p->priv = xp;
	n_open++;
	return 0;
}

/* Solicitations for pool and service addresses go to groups that the kernel, which does not have these addresses, never joined:
 * a device that filters groups would keep them from us. The membership ends with its socket. */
static void hear_groups(struct port *p)
{
	struct xdp_port *xp = p->priv;
	const struct packet_mreq m = { .mr_ifindex = (int)p->ifindex, .mr_type = PACKET_MR_ALLMULTI };
	xp->groups_fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0); /* protocol 0: it receives nothing */
	if (xp->groups_fd < 0 || setsockopt(xp->groups_fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &m, sizeof(m)))
		log_warn("port %s: device %s does not take all multicast (%s): neighbours may not find IPv6 pool and "
			 "service addresses; try 'ip link set %s allmulticast on'",
			 p->conf.name, p->conf.device, strerror(errno), p->conf.device);
}

static int xdp_open(struct port *p, struct err *e)
{
	static const enum loader_mode modes[] = {
		[PORT_MODE_AUTO] = LOADER_AUTO, [PORT_MODE_NATIVE] = LOADER_NATIVE, [PORT_MODE_GENERIC] = LOADER_GENERIC
	};
	enum loader_prog prog = p->index == PORT_GATE ? PROG_GATE : PROG_STEER;
	enum loader_mode got = LOADER_NATIVE;
	struct frame_cache frames = { 0 };
	struct device d = { 0 };
	if (!port_loader)
		return err_set(e, -EINVAL, "port %s: the BPF programs are not loaded", p->conf.name);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set(e, -errno, "port %s: socket: %s", p->conf.name, strerror(errno));
	int rc = look_at(fd, p, &d, e);
	close(fd);
	if (rc || (rc = check_queues(p, &d, e)) || (rc = port_memory(p, e)))
		return rc;
	if ((rc = loader_attach_xdp(port_loader, prog, p->conf.device, modes[p->conf.mode], &got, e)))
		goto fail;
	p->zero_copy = true;
	rc = umem_create(p, e);
	if (!rc)
		rc = bind_all(p, &d, got == LOADER_GENERIC, &frames, e);
	frame_cache_flush(&frames);
	if (!rc)
		rc = show_to_programs(p, e);
	if (rc)
		goto fail_attached;
	if (prog == PROG_STEER)
		hear_groups(p);
	p->mode_text = got == LOADER_GENERIC ? "generic" : "native";
	p->rx_csum = p->conf.checksum == PORT_CSUM_COMPLETE         ? PKT_CSUM_COMPLETE
		     : p->conf.checksum == PORT_CSUM_AUTO && d.veth ? PKT_CSUM_MAYBE_PARTIAL
								    : PKT_CSUM_UNKNOWN;
	log_info("port %s: %s, %u queues, XDP %s, %s", p->conf.name, p->conf.device, p->n_queues, p->mode_text,
		 p->zero_copy ? "zero-copy" : "copy");
	return 0;
fail_attached:
	/* the gate's program is its filter and stays; sockets gone, it drops */
	if (prog == PROG_STEER)
		loader_detach(port_loader, prog, p->ifindex, NULL);
fail:
	sockets_free(p);
	return rc;
}

static void xdp_changed(struct port *p)
{
	if (!p->priv || p->index == PORT_GATE)
		return;
	const int rc = show_device(p);
	if (rc)
		log_warn("port %s: cannot change %s in the steering maps: %s", p->conf.name, p->conf.device,
			 strerror(-rc));
}

static void xdp_close(struct port *p, bool clean)
{
	struct err e;
	if (!p->priv) /* its device went away and did not come back */
		return;
	if (clean && p->index != PORT_GATE) {
		loader_steer_dev_del(port_loader, p->ifindex);
		if (loader_detach(port_loader, PROG_STEER, p->ifindex, &e))
			log_warn("port %s: %s", p->conf.name, e.text);
	}
	for (unsigned q = 0; clean && q < p->n_queues; q++)
		loader_xsk_del(port_loader, p->index, q);
	sockets_free(p);
}

static int xdp_wait_fd(struct port_queue *q)
{
	return ((struct xdp_queue *)q->priv)->fd;
}

static void xdp_stats(struct port_queue *q, struct port_stats *s)
{
	const struct xdp_queue *x = q->priv;
	struct xdp_statistics k = { 0 };
	socklen_t len = sizeof(k);
	s->rx_no_frame += LOAD_RELAXED(&x->no_big);
	s->wakeups += LOAD_RELAXED(&x->wakeups);
	s->completed += LOAD_RELAXED(&x->completed);
	s->unsent += LOAD_RELAXED(&x->n_unsent);
	s->filled += LOAD_RELAXED(&x->n_fill);
	if (getsockopt(x->fd, SOL_XDP, XDP_STATISTICS, &k, &len))
		return;
	s->rx_dropped += k.rx_dropped;
	s->rx_ring_full += k.rx_ring_full;
	s->rx_fill_empty += k.rx_fill_ring_empty_descs;
	s->rx_invalid += k.rx_invalid_descs;
	s->tx_invalid += k.tx_invalid_descs;
	s->tx_ring_empty += k.tx_ring_empty_descs;
}

const struct port_ops port_ops_xdp = {
	.kind = "xdp",
	.open = xdp_open,
	.close = xdp_close,
	.changed = xdp_changed,
	.rx = xdp_rx,
	.tx = xdp_tx,
	.poll = xdp_poll,
	.wait_fd = xdp_wait_fd,
	.stats = xdp_stats,
};
