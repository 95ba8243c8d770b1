/* SPDX-License-Identifier: BSD-2-Clause */
/* Stamps on the gate wire (contract: tables/abi/gate.h). */
#pragma once

#include "fwd/base/net.h"
#include "tables/abi/gate.h"

static const struct mac gate_gateway_mac = { GATE_GATEWAY_MAC };

INLINE struct mac gate_stamp(enum gate_kind kind, uint32_t id)
{
	return (struct mac){ { GATE_MAC0, (uint8_t)(GATE_MAC1 | kind), (uint8_t)(id >> 24), (uint8_t)(id >> 16),
			       (uint8_t)(id >> 8), (uint8_t)id } };
}
/* The kind of the stamp at 'm', 0 when it is none; '*id' is set. */
INLINE unsigned gate_stamp_read(const uint8_t *m, uint32_t *id)
{
	*id = rd32(m + 2);
	return m[0] == GATE_MAC0 && (m[1] & 0xe0) == GATE_MAC1 ? m[1] & 0x1fu : 0;
}
