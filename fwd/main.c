/* SPDX-License-Identifier: BSD-2-Clause */
/* sluiced: the composition root. Everything is started in the order of main(), stopped in reverse, and the control thread's
 * loop is here: command sockets, netlink, the workers' requests, signals, ten ticks a second. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/config.h"
#include "cli/server.h"
#include "fwd/base/clock.h"
#include "fwd/base/log.h"
#include "fwd/base/rcu.h"
#include "fwd/claim.h"
#include "fwd/control.h"
#include "fwd/decide.h"
#include "fwd/export.h"
#include "fwd/fib.h"
#include "fwd/frag.h"
#include "fwd/health.h"
#include "fwd/icmp.h"
#include "fwd/meter.h"
#include "fwd/nat_log.h"
#include "fwd/netlink.h"
#include "fwd/observe.h"
#include "fwd/offload.h"
#include "fwd/probe.h"
#include "fwd/proxy_sync.h"
#include "fwd/resolve.h"
#include "fwd/settings.h"
#include "fwd/steering.h"
#include "fwd/worker.h"
#include "tables/adopt.h"
#include "tables/affinity.h"
#include "tables/ct_window.h"
#include "tables/ipmasq.h"
#include "tables/nat.h"
#include "tables/policy.h"
#include "tables/proxy.h"
#include "xdp/gate.h"

enum { FRAMES_PER_WORKER = 16 * 1024, TICK_MS = 100, SLICE_MS = 10 };

static struct {
	const char *config, *socket, *name;
	bool check, no_kernel;
	struct loader *loader;
	int lock_fd;
	char lock_path[108];
	bool started, stop;
} run = { .name = "main", .lock_fd = -1 };

static void usage(FILE *f)
{
	fprintf(f, "usage: sluiced -c FILE [-s SOCKET] [-n NAME] [-t] [-K] [-v]\n"
		   "  -c FILE    configuration: a list of sluicectl commands (default /etc/sluice/sluice.conf)\n"
		   "  -s SOCKET  command socket (default " CLI_SOCKET_DIR "/NAME.sock, sluice.sock for instance main)\n"
		   "  -n NAME    instance name (default main): pins, lock and state carry it\n"
		   "  -t         check the configuration and exit\n"
		   "  -K         no kernel side: pcap and mem ports only, needs no capability\n"
		   "  -v         log more   -V  print the version   -h  this text\n");
}

/* ---- start ---- */

static void on_connection_gone(unsigned slot, bool v6, uint32_t conn)
{
	export_stop(ct_of(v6), conn); /* first: its NAT port may be another's in a moment */
	decide_connection_gone(slot, v6, conn);
}

static int init_tables(struct err *e)
{
	int err;
	if ((err = endpoint_init(e)) || (err = ipcache_init(e)) || (err = ipmasq_init(e)) || (err = tunnel_init(e)) ||
	    (err = neighbor_init(e)) || (err = policy_init(e)) || (err = proxy_init(e)) || (err = service_init(e)) ||
	    (err = affinity_init(e)) || (err = frag_init(e)) || (err = fib_init(e)) || (err = resolve_init(e)) ||
	    (err = observe_init(e)) || (err = probe_init(e)) || (err = nat_log_init(e)) || (err = claim_init(e)))
		return err;
	ct_on_delete = on_connection_gone;
	ct_may_evict = decide_may_evict;
	frag_queue_init();
	return 0;
}

static uint64_t *pool_bits(unsigned pool, enum steer_proto which)
{
	return run.loader ? loader_pool_bits(run.loader, pool, which) : NULL;
}

static int init_kernel(struct err *e)
{
	int err;
	if (run.no_kernel)
		return 0;
	if ((err = loader_check_caps(e)))
		return err;
	netlink_on_link = control_link;
	return netlink_init(e);
}

/* Once the settings are known: the size of the replay table is one. */
static int open_loader(struct err *e)
{
	loader_replay_flows = settings.offload_flows;
	int err = loader_open(&run.loader, run.name, e);
	if (err)
		return err;
	port_loader = run.loader;
	gen_use(loader_gen_area(run.loader));
	nat_set_bits_provider(pool_bits);
	nat_bits_kept = loader_adopted(run.loader);
	control_init(run.loader);
	steering_init(run.loader);
	return offload_init(run.loader, e);
}

/* First transaction, once the settings that count at start are known: what ports stand on. */
static int prepare(struct err *e)
{
	struct port_conf gate = { .name = "gate", .kind = "xdp", .device = GATE_NET_DEVICE };
	struct gate_info info;
	int err;
	if ((err = nat_init(e)) || (err = ct_init(0, 0, e)))
		return err;
	if (!run.no_kernel && (err = open_loader(e)))
		return err;
	if ((err = ct_window_open(e)) || (err = frames_init(FRAMES_PER_WORKER * settings.worker_count, e)) ||
	    (err = workers_init(settings.worker_count, e)))
		return err;
	if (!run.loader)
		return 0;
	if ((err = gate_create(run.loader, settings.worker_count, 1500, &info, e)) ||
	    (err = port_open(&gate, PORT_GATE, NULL, e)))
		return err;
	icmp_host_ifindex = info.host_ifindex;
	resolve_gate_changed(&info.host_mac, info.mtu);
	return 0;
}

/* ---- what follows a change of the configuration ---- */

static void on_endpoint(const struct endpoint *old, const struct endpoint *now)
{
	struct err e = { "" };
	proxy_sync_dirty();
	if (control_endpoint_changed(now ? now->id : old->id, old, &e))
		log_error("%s", e.text);
}

static void on_prefix(bool added, const struct ipnet *n)
{
	steering_dirty();
	control_host_prefix(n, added);
}

static void on_tunnels(void)
{
	steering_dirty();
}

static void on_remotes(void)
{
	resolve_remotes_changed(); /* before the number of one that went is another's */
	offload_dirty();
}

/* What a crash interrupted was ours until then. */
static bool ask_first(void)
{
	return settings.duplicate_detection && (run.started || !run.loader || !loader_adopted(run.loader));
}

static void on_address(bool added, const struct ipaddr *a)
{
	steering_dirty();
	if (added)
		claim_begin(a, ask_first());
	else
		claim_dirty();
}

static void on_pool(bool added, int index, const struct nat_pool *p)
{
	(void)index;
	if (p->prefix)
		steering_dirty(); /* routed to us: nobody asks for its addresses */
	else
		on_address(added, &p->addr);
}

static void on_vtep(bool added, const struct vtep *v)
{
	(void)added;
	(void)v;
	steering_dirty();
	offload_dirty();
}

static void on_port(bool added, const struct port_conf *conf, struct port *p)
{
	(void)added;
	(void)conf;
	fib_ports_changed();
	if (p)
		resolve_port_changed(p->index);
	steering_dirty();
	offload_dirty();
}

static void on_setting(const char *name)
{
	if (strcmp(name, "host-routes") == 0)
		control_host_routes(settings.host_routes);
	if (strcmp(name, "offload") == 0 || strcmp(name, "nat identification") == 0) {
		export_setting_changed();
		offload_dirty();
	}
}

static const struct config_hooks hooks = {
	.prepare = prepare,
	.endpoint_changed = on_endpoint,
	.prefix_changed = on_prefix,
	.tunnels_changed = on_tunnels,
	.remotes_changed = on_remotes,
	.pool_changed = on_pool,
	.service_changed = on_address,
	.vtep_changed = on_vtep,
	.port_changed = on_port,
	.setting_changed = on_setting,
	.policy_changed = proxy_sync_dirty,
};

/* ---- loop ---- */

static void notify_supervisor(const char *text)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	if (!path || strlen(path) >= sizeof(a.sun_path))
		return;
	memcpy(a.sun_path, path, strlen(path));
	if (a.sun_path[0] == '@')
		a.sun_path[0] = 0;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
	if (sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&a, len) < 0)
		log_warn("cannot tell the supervisor at %s: %s", path, strerror(errno));
	close(fd);
}

static int watch(int ep, int fd)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.fd = fd };
	return fd < 0 ? 0 : epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
}

static void on_signal(int fd)
{
	struct signalfd_siginfo s;
	struct err e = { "" };
	if (read(fd, &s, sizeof(s)) != sizeof(s))
		return;
	if (s.ssi_signo != SIGHUP) {
		run.stop = true;
		return;
	}
	config_devices_required = false;
	int err = config_reload(run.config, &e);
	config_devices_required = !run.no_kernel;
	if (err)
		log_error("reload refused, nothing changed: %s", e.text);
	else
		log_info("configuration read again from %s", run.config);
}

static void tick(uint64_t now)
{
	static uint64_t next_ns, next_check_ns, steered;
	struct err e = { "" };
	if (now < next_ns)
		return;
	next_ns = now + TICK_MS * 1000000ull;
	STORE_RELEASE(&gen_area->alive_until_ns, now);
	resolve_tick(now);
	probe_tick(now);
	control_tick(now);
	meter_tick(now);
	if (!run.loader)
		return;
	netlink_tick(now);
	if (steered != fib_version()) /* transit routes, and which addresses are the kernel's */
		steering_dirty();
	steered = fib_version();
	if (now < next_check_ns)
		return;
	next_check_ns = now + 5 * NS_PER_S;
	if (gate_check(run.loader, &e) != 0 || loader_check(run.loader, &e) != 0)
		log_warn("%s", e.text);
}

/* A slice of what kernel replay needs; ms until the next one. */
static int offload_slice(uint64_t now)
{
	static uint64_t next_ns;
	static int ms = TICK_MS;
	if (now >= next_ns) {
		ms = offload_tick(now) ? SLICE_MS : TICK_MS;
		next_ns = now + (uint64_t)ms * 1000000;
	}
	return ms;
}

static int loop(int signals, struct err *e)
{
	int ep = epoll_create1(EPOLL_CLOEXEC), nl = run.loader ? netlink_fd() : -1;
	if (ep < 0 || watch(ep, signals) || watch(ep, nl) || watch(ep, server_fd()) ||
	    watch(ep, workers_request_fd()) || watch(ep, observe_fd()) || watch(ep, health_fd()) ||
	    watch(ep, probe_fd()))
		return err_set(e, -errno, "epoll: %s", strerror(errno));
	for (int ms = TICK_MS; !run.stop;) {
		struct epoll_event ev[16];
		rcu_offline();
		int n = epoll_wait(ep, ev, ARRAY_LEN(ev), ms);
		rcu_online();
		for (int i = 0; i < n; i++) {
			if (ev[i].data.fd == signals)
				on_signal(signals);
			else if (ev[i].data.fd == nl)
				netlink_read();
			else if (ev[i].data.fd == server_fd())
				server_handle();
			else if (ev[i].data.fd == health_fd())
				health_serve();
			else if (ev[i].data.fd == probe_fd())
				probe_handle();
		}
		control_requests();
		server_streams();
		tick(clock_ns());
		ms = offload_slice(clock_ns());
		if (steering_sync(e))
			log_error("%s", e->text);
		offload_sync();
		if (run.loader && proxy_sync(e))
			log_error("%s", e->text);
		rcu_poll_deferred();
	}
	close(ep);
	return 0;
}

/* ---- start and stop ---- */

/* The lock is on the file the name leads to now: a stopping instance removes its own, maybe between our open and flock. */
static bool lock_is_current(void)
{
	struct stat held, named;
	return fstat(run.lock_fd, &held) == 0 && stat(run.lock_path, &named) == 0 && held.st_ino == named.st_ino &&
	       held.st_dev == named.st_dev;
}

static int take_lock(struct err *e)
{
	if (mkdir(CLI_SOCKET_DIR, 0755) != 0 && errno != EEXIST)
		return err_set(e, -errno, "cannot create " CLI_SOCKET_DIR ": %s", strerror(errno));
	snprintf(run.lock_path, sizeof(run.lock_path), CLI_SOCKET_DIR "/%s.lock", run.name);
	do {
		if (run.lock_fd >= 0)
			close(run.lock_fd);
		run.lock_fd = open(run.lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (run.lock_fd < 0)
			return err_set(e, -errno, "cannot open %s: %s", run.lock_path, strerror(errno));
		if (flock(run.lock_fd, LOCK_EX | LOCK_NB) != 0)
			return err_set(e, -EEXIST,
				       "instance %s runs already (%s is locked); stop it or choose another -n NAME",
				       run.name, run.lock_path);
	} while (!lock_is_current());
	return 0;
}

/* What a crash left in memory, back in place before the first packet. */
static int adopt(struct err *e)
{
	adopt_state((uint32_t)(clock_ns() / NS_PER_S), n_workers);
	const struct adoption *a = &adoption;
	const char *why = adopt_reason();
	/* first the rows that lead to the pools' bitmaps, then the bitmaps lose what is not theirs */
	int err = steering_sync(e);
	nat_bits_settle();
	if (a->tried)
		log_info("took over %u connections and %u translations in %u.%u ms; %u had expired, %u dropped",
			 a->connections, a->mappings, a->microseconds / 1000, a->microseconds / 100 % 10, a->expired,
			 a->dropped);
	if (*why)
		log_warn("state: %s", why);
	return err;
}

static void stop(bool started)
{
	if (started)
		log_info("stops: the configuration stays in %s, %u connections and %u translations end here",
			 run.config, ct_count(&ct4) + ct_count(&ct6), nat_count());
	offload_stop();
	if (started)
		workers_stop();
	nat_log_fini(started);
	offload_fini(started);
	server_close();
	probe_fini();
	observe_fini();
	health_stop();
	for (unsigned i = 0; i < PORTS_MAX; i++)
		if (ports[i] && ports[i]->ops)
			port_close(ports[i], started || !run.loader || !loader_adopted(run.loader));
	if (run.loader) {
		if (started)
			proxy_sync_stop();
		netlink_fini();
		/* a start that failed after a crash leaves the containers as closed as they were */
		loader_close(run.loader, started || !loader_adopted(run.loader));
	}
	/* a start that failed after the state was taken over: it is the only copy */
	if (started || !adoption.tried)
		arena_remove_all();
	unlink(run.lock_path);
}

static int start_and_run(struct err *e)
{
	sigset_t set;
	int err;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	char state[64], path[108];
	snprintf(state, sizeof(state), "/dev/shm/sluice-%s", run.name);
	if ((err = take_lock(e)) || (err = arena_set_dir(state, e)))
		return err;
	if ((err = init_tables(e)) || (err = init_kernel(e)))
		goto fail;
	if (arena_small_pages())
		log_info("tables have 4 KiB pages; they get 2 MiB ones by "
			 "'mount -o remount,huge=advise /dev/shm' and a restart");
	config_init();
	config_hooks = hooks;
	if ((err = config_load(run.config, false, e)) || (err = adopt(e)))
		goto fail;
	if (run.loader && loader_adopted(run.loader))
		log_info("adopted the kernel side of a former run; %u leftovers removed",
			 loader_adopt_done(run.loader));
	snprintf(path, sizeof(path), CLI_SOCKET_DIR "/%s.sock", strcmp(run.name, "main") ? run.name : "sluice");
	if ((err = server_open(run.socket ? run.socket : path, e)) || (err = workers_start(e)))
		goto fail;
	config_started();
	run.started = true;
	config_devices_required = !run.no_kernel;
	notify_supervisor("READY=1");
	log_info("%s: %u worker%s, ready", run.name, n_workers, n_workers == 1 ? "" : "s");
	err = loop(signals, e);
	notify_supervisor("STOPPING=1");
	stop(true);
	return err;
fail:
	stop(false);
	return err;
}

static int check_only(struct err *e)
{
	int err = init_tables(e);
	if (err)
		return err;
	config_init();
	err = config_load(run.config, true, e);
	if (!err)
		printf("%s: ok\n", run.config);
	return err;
}

int main(int argc, char **argv)
{
	struct err e = { "" };
	int c;
	run.config = "/etc/sluice/sluice.conf";
	while ((c = getopt(argc, argv, "c:s:n:tKvVh")) != -1) {
		switch (c) {
		case 'c':
			run.config = optarg;
			break;
		case 's':
			run.socket = optarg;
			break;
		case 'n':
			run.name = optarg;
			break;
		case 't':
			run.check = true;
			break;
		case 'K':
			run.no_kernel = true;
			break;
		case 'v':
			log_set_level(LOG_DEBUG);
			break;
		case 'V':
			printf("sluiced %s\n", SLUICE_VERSION);
			return 0;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (optind < argc || strlen(run.name) > 32 ||
	    strspn(run.name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != strlen(run.name)) {
		usage(stderr);
		return 2;
	}
	hash_init(0);
	rcu_thread_register();
	if (run.check ? check_only(&e) : start_and_run(&e)) {
		log_error("%s", e.text);
		return 1;
	}
	return 0;
}
