/* SPDX-License-Identifier: BSD-2-Clause */
#include "fwd/port/dpdk_tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int configure(int s, const char *name, const struct mac *mac, uint16_t mtu, uint32_t *ifindex)
{
	struct ifreq r = { 0 };
	memcpy(r.ifr_name, name, MIN(strlen(name), sizeof(r.ifr_name) - 1));
	if (ioctl(s, SIOCGIFINDEX, &r))
		return -errno;
	*ifindex = (uint32_t)r.ifr_ifindex;
	r.ifr_mtu = mtu;
	if (ioctl(s, SIOCSIFMTU, &r))
		return -errno;
	r.ifr_hwaddr.sa_family = ARPHRD_ETHER;
	memcpy(r.ifr_hwaddr.sa_data, mac->b, sizeof(mac->b));
	if (ioctl(s, SIOCSIFHWADDR, &r) || ioctl(s, SIOCGIFFLAGS, &r))
		return -errno;
	r.ifr_flags |= IFF_UP;
	return ioctl(s, SIOCSIFFLAGS, &r) ? -errno : 0;
}

int dpdk_tap_open(const char *port, const char *name, const struct mac *mac, uint16_t mtu, uint32_t *ifindex,
		  struct err *e)
{
	struct ifreq r = { .ifr_flags = IFF_TAP | IFF_NO_PI };
	int s = -1, rc, fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return err_set(e, -errno, "port %s: tap %s: /dev/net/tun: %s", port, name, strerror(errno));
	memcpy(r.ifr_name, name, MIN(strlen(name), sizeof(r.ifr_name) - 1));
	if (ioctl(fd, TUNSETIFF, &r)) {
		rc = -errno;
		close(fd);
		return err_set(e, rc, "port %s: cannot make or take the tap device %s: %s", port, name,
			       rc == -EINVAL ? "it exists and is no tap device" : strerror(-rc));
	}
	rc = -errno;
	s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s >= 0) {
		rc = configure(s, name, mac, mtu, ifindex);
		close(s);
	}
	if (s >= 0 && rc == 0)
		return fd;
	close(fd);
	return err_set(e, rc, "port %s: cannot set up the tap device %s: %s", port, name, strerror(-rc));
}

void dpdk_tap_carrier(int fd, bool up)
{
	int on = up;
	/* before Linux 5.0 the device just looks up */
	(void)ioctl(fd, TUNSETCARRIER, &on);
}
