/* SPDX-License-Identifier: BSD-2-Clause */
/* rtt serve PORT: sends every UDP datagram back, until a signal.
 * rtt ADDRESS PORT COUNT PPS [WARM]: WARM datagrams, then COUNT that are measured, PPS a second, each answered before the next one goes;
 * prints 'us P50 P99 P99.9 lost N'. One connection, so that it is one the kernel may replay; ICMP echoes would not be. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "fwd/base/clock.h"

static int by_size(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static int serve(int fd, struct sockaddr_in *at)
{
	char data[2048];
	if (bind(fd, (struct sockaddr *)at, sizeof(*at))) {
		perror("rtt: bind");
		return 1;
	}
	for (;;) {
		struct sockaddr_in from;
		socklen_t size = sizeof(from);
		const ssize_t n = recvfrom(fd, data, sizeof(data), 0, (struct sockaddr *)&from, &size);
		if (n >= 0 && sendto(fd, data, (size_t)n, 0, (struct sockaddr *)&from, size) < 0)
			perror("rtt: sendto");
	}
}

/* ns until its answer came, 0: none did in a second. */
static uint64_t ask(int fd, uint64_t number)
{
	const uint64_t start = clock_ns();
	uint64_t got;
	if (send(fd, &number, sizeof(number), 0) != sizeof(number))
		return 0;
	do
		if (recv(fd, &got, sizeof(got), 0) != sizeof(got))
			return 0;
	while (got != number); /* a late one */
	return clock_ns() - start;
}

int main(int argc, char **argv)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	const bool server = argc == 3 && strcmp(argv[1], "serve") == 0;
	const int fd = socket(AF_INET, SOCK_DGRAM, 0);
	if ((!server && argc != 5 && argc != 6) || (!server && inet_pton(AF_INET, argv[1], &at.sin_addr) != 1)) {
		fprintf(stderr, "usage: rtt serve PORT | rtt ADDRESS PORT COUNT PPS [WARM]\n");
		return 2;
	}
	at.sin_port = htons((uint16_t)atoi(argv[2]));
	if (server)
		return serve(fd, &at);
	const struct timeval second = { .tv_sec = 1 };
	const unsigned count = (unsigned)atoi(argv[3]), warm = argc > 5 ? (unsigned)atoi(argv[5]) : 0;
	const uint64_t gap = NS_PER_S / (uint64_t)atoi(argv[4]);
	uint64_t *ns = calloc(count ? count : 1, sizeof(*ns)), due = clock_ns();
	unsigned n = 0;
	if (!ns || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second)) ||
	    connect(fd, (struct sockaddr *)&at, sizeof(at))) {
		perror("rtt");
		return 1;
	}
	for (unsigned i = 0; i < warm + count; i++, due += gap) {
		const struct timespec t = { .tv_sec = (time_t)(due / NS_PER_S), .tv_nsec = (long)(due % NS_PER_S) };
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
		const uint64_t took = ask(fd, i);
		if (i >= warm && took)
			ns[n++] = took;
	}
	if (!n) {
		fprintf(stderr, "rtt: no answer from %s port %s\n", argv[1], argv[2]);
		return 1;
	}
	qsort(ns, n, sizeof(*ns), by_size);
	printf("us %.1f %.1f %.1f lost %u\n", (double)ns[(n - 1) / 2] / 1e3, (double)ns[(n - 1) * 99ul / 100] / 1e3,
	       (double)ns[(n - 1) * 999ul / 1000] / 1e3, count - n);
	free(ns);
	close(fd);
	return 0;
}
