/* SPDX-License-Identifier: BSD-2-Clause */
/* The one key hash: AES rounds under a random key (CRC32C is linear: a seed would not protect it). Two rounds do not
 * mix every byte with every other, three do, for about one cycle more.
 * The key is drawn once per process start; tests may fix it. A hash is never stored in an arena. */
#pragma once

#include <immintrin.h>

#include "fwd/base/net.h"

extern __m128i hash_seed[4];

/* Draws the key from getrandom(2); 'fixed' != 0 makes it a constant for repeatable tests. */
void hash_init(uint64_t fixed);

INLINE uint64_t hash_key16(__m128i k)
{
	k = _mm_aesenc_si128(_mm_xor_si128(k, hash_seed[0]), hash_seed[1]);
	k = _mm_aesenc_si128(k, hash_seed[2]);
	return (uint64_t)_mm_cvtsi128_si64(_mm_aesenc_si128(k, hash_seed[3]));
}
INLINE uint64_t hash_key40(const void *key)
{
	const uint8_t *k = key;
	__m128i a = _mm_aesenc_si128(_mm_xor_si128(_mm_loadu_si128((const void *)k), hash_seed[0]), hash_seed[1]);
	__m128i b =
		_mm_aesenc_si128(_mm_xor_si128(_mm_loadu_si128((const void *)(k + 16)), hash_seed[2]), hash_seed[3]);
	a = _mm_aesenc_si128(_mm_xor_si128(a, b),
			     _mm_xor_si128(hash_seed[0], _mm_cvtsi64_si128((long long)ld64(k + 32))));
	return (uint64_t)_mm_cvtsi128_si64(_mm_aesenc_si128(_mm_aesenc_si128(a, hash_seed[1]), hash_seed[2]));
}
/* Any length that is a multiple of 8 bytes: the general form the tables use; 16 and 40 give the same as the above. */
INLINE uint64_t hash_key(const void *key, unsigned len)
{
	if (len == 16)
		return hash_key16(_mm_loadu_si128(key));
	if (len == 40)
		return hash_key40(key);
	const uint8_t *k = key;
	__m128i a = hash_seed[3];
	for (; len >= 16; len -= 16, k += 16)
		a = _mm_aesenc_si128(_mm_xor_si128(a, _mm_loadu_si128((const void *)k)), hash_seed[1]);
	if (len)
		a = _mm_aesenc_si128(_mm_xor_si128(a, _mm_cvtsi64_si128((long long)ld64(k))), hash_seed[0]);
	a = _mm_aesenc_si128(a, hash_seed[2]);
	a = _mm_aesenc_si128(a, hash_seed[1]);
	return (uint64_t)_mm_cvtsi128_si64(_mm_aesenc_si128(a, hash_seed[3]));
}
