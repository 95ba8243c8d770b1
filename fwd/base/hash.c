/* SPDX-License-Identifier: BSD-2-Clause */
/* The key of the key hash. Drawn before the first table is opened; constant afterwards, so every thread may read it. */
#include "fwd/base/hash.h"

#include <stdlib.h>
#include <sys/random.h>

#include "fwd/base/log.h"

__m128i hash_seed[4];

/* splitmix64 (Steele, Lea, Flood 2014): turns a small constant into well mixed words */
static uint64_t mix(uint64_t *s)
{
	uint64_t z = *s += 0x9e3779b97f4a7c15;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

void hash_init(uint64_t fixed)
{
	uint64_t w[8];

	if (fixed) {
		for (unsigned i = 0; i < ARRAY_LEN(w); i++)
			w[i] = mix(&fixed);
	} else if (getrandom(w, sizeof(w), 0) != sizeof(w)) {
		/* 64 bytes never come short (getrandom(2)); a guessable key would open the tables to collisions */
		log_error("getrandom: no random bytes for the hash key");
		abort();
	}
	memcpy(hash_seed, w, sizeof(hash_seed));
}
