/* SPDX-License-Identifier: BSD-2-Clause */
/* Drop reasons: the rows of drop.def. */
#pragma once

#include <stdint.h>

enum drop {
	DROP_NONE = 0, /* not a drop: go on */
#define DROP(number, sym, text) DROP_##sym = number,
#include "fwd/drop.def"
#undef DROP
};

/* "Policy denied"; NULL when 'number' is no reason. */
const char *drop_text(unsigned number);
/* "POLICY"; NULL when 'number' is no reason. */
const char *drop_symbol(unsigned number);
