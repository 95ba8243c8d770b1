/* SPDX-License-Identifier: BSD-2-Clause */
/* Small helpers that know nothing of packets. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define CACHE_LINE 64
#define container_of(p, type, member) ((type *)((char *)(p)-offsetof(type, member)))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define INLINE static inline __attribute__((always_inline))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
/* 'n' rounded up to a multiple of 'to', a power of two */
#define ALIGN_UP(n, to) (((n) + (to)-1) & ~((size_t)(to)-1))

/* gcc and clang tell of ThreadSanitizer in different ways. */
#if defined(__SANITIZE_THREAD__)
#define WITH_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WITH_TSAN 1
#endif
#endif
#ifndef WITH_TSAN
#define WITH_TSAN 0
#endif

#define LOAD_ACQUIRE(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define LOAD_RELAXED(p) __atomic_load_n(p, __ATOMIC_RELAXED)
#define STORE_RELEASE(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
#define STORE_RELAXED(p, v) __atomic_store_n(p, v, __ATOMIC_RELAXED)
/* Relaxed too, for aligned words of records on the path of each packet: around every atomic gcc reads all memory anew and joins
 * it with nothing, 20 instructions a packet. The caller sees to it that the compiler cannot read twice or too late. */
#if WITH_TSAN
#define LOAD_RACED(p) LOAD_RELAXED(p)
#define STORE_RACED(p, v) STORE_RELAXED(p, v)
#else
#define LOAD_RACED(p) (*(p))
#define STORE_RACED(p, v) (*(p) = (v))
#endif
