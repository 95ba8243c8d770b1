/* SPDX-License-Identifier: BSD-2-Clause */
/* Names of drop reasons, for whoever prints them. Any thread. */
#include "fwd/drop.h"

#include "fwd/base/util.h"

static const struct {
	const char *text, *symbol;
} rows[] = {
#define DROP(number, sym, string) [number] = { string, #sym },
#include "fwd/drop.def"
#undef DROP
};

_Static_assert(ARRAY_LEN(rows) <= 256, "counters are arrays of 256");

const char *drop_text(unsigned number)
{
	return number < ARRAY_LEN(rows) ? rows[number].text : NULL;
}

const char *drop_symbol(unsigned number)
{
	return number < ARRAY_LEN(rows) ? rows[number].symbol : NULL;
}
