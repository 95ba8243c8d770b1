/* SPDX-License-Identifier: BSD-2-Clause */
/* Live figures and the watchdog. Control thread.
 *
 * Counters only grow, so a rate is what two looks at them differ by. A look is taken once a second; what is shown is of the
 * last whole interval, so it is as old as a second. Workers do nothing for it but count.
 *
 * The watchdog uses the same looks: a worker goes round at least ten times a second (it never sleeps longer), and a device
 * gives frames back once it sent them. Whoever does not for STALL_NS is logged once, shown as stalled, and logged again when
 * it goes on. */
#pragma once

#include "fwd/port/port.h"

struct meter_worker {
	uint64_t packets_per_s;     /* received, or handed over by others */
	uint64_t cycles_per_packet; /* TSC cycles of loops that moved something: all included; 0 when there were none */
	uint64_t io_per_packet;     /* part of it at ports and rings: system calls, copies of the kernel in them */
	uint64_t busy_permille;     /* share of the time spent in such loops */
	bool stalled;
};
struct meter_port {
	uint64_t rx_per_s, tx_per_s, dropped_per_s;
};

/* Whenever there is time; takes a look when one is due. 'now_ns': clock_ns(). */
void meter_tick(uint64_t now_ns);
/* Zeroes before the second look, and for what does not exist. */
struct meter_worker meter_worker(unsigned id);
struct meter_port meter_port(unsigned index);
/* Does queue 'q' of port 'index' hold frames that the device does not give back? */
bool meter_queue_stalled(unsigned index, unsigned q);
