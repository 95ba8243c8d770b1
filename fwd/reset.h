/* SPDX-License-Identifier: BSD-2-Clause */
/* TCP resets made by the engine for connections that it ends (RFC 9293 3.5.2). Workers only. */
#pragma once

#include "fwd/decide.h"

/* Tells both ends of the connection of 'd' (with its record, stored tuples in d->out) that it is over, as far as this packet
 * tells the sequence numbers that they take. The packet stays the caller's. */
void reset_connection(const struct decision *d);
