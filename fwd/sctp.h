/* SPDX-License-Identifier: BSD-2-Clause */
/* SCTP (RFC 9260) as far as a gateway looks into it: ports, the checksum over the whole packet, what its chunks mean for the
 * association. 'l4' points to the common header, 'len' counts from there to the end of the IP packet and is at least
 * SCTP_HLEN. Nothing here is called by the burst loop: SCTP always goes by decide. */
#pragma once

#include <stdint.h>

#include "fwd/base/net.h"
#include "tables/ct_tags.h"

enum { SCTP_HLEN = 12 };

/* Writes the ports. The checksum, a CRC32c over header and chunks but no addresses (6.8), is not computed anew: it is linear,
 * so the ports' difference, shifted to their place, is added. A packet that came damaged so leaves with a checksum that
 * is as wrong as it was. Only the length matters of what lies behind the header, not the bytes: they may be cut off. */
void sctp_set_ports(uint8_t *l4, uint32_t len, be16 sport, be16 dport);
/* Computes the checksum of a packet whose sender left that to its device. */
void sctp_finish(uint8_t *l4, uint32_t len);
/* What the packet means for an association, in the words of the TCP machine (tables/ct_tcp.c): INIT is a SYN, INIT ACK a SYN
 * with ACK, SHUTDOWN and SHUTDOWN ACK are FINs, ABORT is an RST, everything else an ACK: also SHUTDOWN COMPLETE, which
 * follows the second of two FINs like the last ACK of TCP. */
uint8_t sctp_as_tcp(const uint8_t *l4, uint32_t len);
/* Its verification tag, and what it means for those of the association (8.5.1). */
struct ct_tagged sctp_tags(const uint8_t *l4, uint32_t len);
