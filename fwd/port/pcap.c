/* SPDX-License-Identifier: BSD-2-Clause */
/* Ports made of capture files: 'in' is read once, as fast as the worker asks; what is sent is appended to 'out'. Either may
 * be missing: then nothing is received, or what is sent goes nowhere. One queue; its worker alone touches the files, so
 * there is no lock. The out file is flushed once per loop: a reader beside us never waits for a buffer to fill. */
#include <errno.h>
#include <pcap/pcap.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "fwd/port/port.h"

struct pcap_files {
	pcap_t *in, *out;
	pcap_dumper_t *dumper;
	bool dirty;
	int fd;             /* readable until the in file ends, so that the worker does not sleep before */
	uint64_t skipped;   /* frames we cannot hold, or that were cut when captured */
	uint64_t unwritten; /* flushes of the out file that failed (disk full) */
};

static void files_free(struct pcap_files *f)
{
	if (f->dumper)
		pcap_dump_close(f->dumper);
	if (f->out)
		pcap_close(f->out);
	if (f->in)
		pcap_close(f->in);
	if (f->fd >= 0)
		close(f->fd);
	free(f);
}

static int files_open(struct pcap_files *f, const struct port_conf *conf, struct err *e)
{
	char text[PCAP_ERRBUF_SIZE] = "";
	f->fd = eventfd(conf->in[0] ? 1 : 0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (f->fd < 0)
		return err_set(e, -errno, "port %s: eventfd: %s", conf->name, strerror(errno));
	if (conf->in[0]) {
		f->in = pcap_open_offline(conf->in, text);
		if (!f->in)
			return err_set(e, -EINVAL, "port %s: cannot read capture file: %s", conf->name, text);
		if (pcap_datalink(f->in) != DLT_EN10MB)
			return err_set(e, -EINVAL,
				       "port %s: %s holds link type %s; only Ethernet captures can be replayed",
				       conf->name, conf->in, pcap_datalink_val_to_name(pcap_datalink(f->in)));
	}
	if (conf->out[0]) {
		f->out = pcap_open_dead(DLT_EN10MB, 65535);
		f->dumper = f->out ? pcap_dump_open(f->out, conf->out) : NULL;
		if (!f->dumper)
			return err_set(e, -EINVAL, "port %s: cannot write capture file: %s", conf->name,
				       f->out ? pcap_geterr(f->out) : "no memory");
		pcap_dump_flush(f->dumper);
	}
	return 0;
}

static int pcap_port_open(struct port *p, struct err *e)
{
	if (!p->conf.in[0] && !p->conf.out[0])
		return err_set(e, -EINVAL, "port %s: a pcap port needs 'in FILE', 'out FILE' or both", p->conf.name);
	if (p->conf.queues > 1)
		return err_set(e, -EINVAL, "port %s: a pcap port has one queue", p->conf.name);
	struct pcap_files *f = calloc(1, sizeof(*f));
	if (!f)
		return err_set(e, -ENOMEM, "port %s: no memory", p->conf.name);
	int rc = files_open(f, &p->conf, e);
	if (rc) {
		files_free(f);
		return rc;
	}
	p->priv = p->queue[0].priv = f;
	p->n_queues = 1;
	p->mac = (struct mac){ { 0x02, 0, 0, 0, 0x20, (uint8_t)p->index } };
	p->mtu = 1500;
	p->mtu_max = BIG_ROOM - ETH_HLEN_;
	p->up = true;
	p->rx_csum = p->conf.checksum == PORT_CSUM_COMPLETE ? PKT_CSUM_COMPLETE : PKT_CSUM_UNKNOWN;
	p->mode_text = "file";
	return 0;
}

static void pcap_port_close(struct port *p, bool clean)
{
	(void)clean;
	files_free(p->priv);
}

/* The file ended, or is broken from here on. */
static void end_of_file(struct pcap_files *f, bool broken)
{
	uint64_t v;
	if (broken)
		STORE_RELAXED(&f->skipped, f->skipped + 1);
	pcap_close(f->in);
	f->in = NULL;
	if (read(f->fd, &v, sizeof(v)) < 0)
		return; /* was not readable */
}

static unsigned pcap_rx(struct port_queue *q, struct frame_cache *c, struct pkt *pkts, unsigned max)
{
	struct pcap_files *f = q->priv;
	unsigned n = 0;
	while (f->in && n < max) {
		struct pcap_pkthdr *h;
		const u_char *bytes;
		/* the frame first: a record once read cannot be put back */
		uint8_t *data = frame_get(c);
		if (!data)
			break;
		int rc = pcap_next_ex(f->in, &h, &bytes);
		if (rc == 1 && h->caplen == h->len && h->len > FRAME_ROOM && h->len <= BIG_ROOM) {
			frame_put(c, data);
			data = frame_get_big(c);
		}
		if (rc != 1 || !data || h->caplen != h->len || h->len > BIG_ROOM) {
			if (data)
				frame_put(c, data);
			if (rc == 1)
				STORE_RELAXED(&f->skipped, f->skipped + 1);
			else
				end_of_file(f, rc == PCAP_ERROR);
			continue;
		}
		memcpy(data, bytes, h->len);
		pkt_init(&pkts[n++], data, h->len, q->port->index, q->port->rx_csum);
	}
	return n;
}

static unsigned pcap_tx(struct port_queue *q, struct frame_cache *c, const struct txd *d, unsigned n)
{
	struct pcap_files *f = q->priv;
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	for (unsigned i = 0; i < n; i++) {
		struct pcap_pkthdr h = { .ts = { .tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000 },
					 .caplen = d[i].len,
					 .len = d[i].len };
		if (f->dumper)
			pcap_dump((u_char *)f->dumper, &h, d[i].data);
		frame_put(c, d[i].data);
	}
	f->dirty = f->dumper;
	return n;
}

static bool pcap_poll(struct port_queue *q, struct frame_cache *c)
{
	(void)c;
	struct pcap_files *f = q->priv;
	if (f->dirty && pcap_dump_flush(f->dumper))
		STORE_RELAXED(&f->unwritten, f->unwritten + 1);
	f->dirty = false;
	return false;
}

static int pcap_wait_fd(struct port_queue *q)
{
	return ((struct pcap_files *)q->priv)->fd;
}

static void pcap_port_stats(struct port_queue *q, struct port_stats *s)
{
	const struct pcap_files *f = q->priv;
	s->rx_dropped += LOAD_RELAXED(&f->skipped);
	s->tx_invalid += LOAD_RELAXED(&f->unwritten);
}

const struct port_ops port_ops_pcap = {
	.kind = "pcap",
	.open = pcap_port_open,
	.close = pcap_port_close,
	.rx = pcap_rx,
	.tx = pcap_tx,
	.poll = pcap_poll,
	.wait_fd = pcap_wait_fd,
	.stats = pcap_port_stats,
};
