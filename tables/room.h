/* SPDX-License-Identifier: BSD-2-Clause */
/* Deleted entries come back only after a grace period. The control thread may wait for one: that is what it does when a
 * table refuses although it is not full, so that deleting and adding in one transaction works on a full table, too. */
#pragma once

#include <errno.h>

#include "fwd/base/rcu.h"
#include "tables/table.h"

/* Control thread only. 'r' is what an insert answered, 'adds' false when it was to replace an entry. True: there may
 * be room now, try once more. Pointers to entries that were unlinked before this call are void after it. */
static inline bool room_after_wait(const struct table *t, int r, bool adds)
{
	if (r != -ENOSPC || (adds && table_count(t) >= t->capacity))
		return false;
	rcu_wait();
	return true;
}
