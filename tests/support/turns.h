/* SPDX-License-Identifier: BSD-2-Clause */
/* How often a test with random input goes round: under a sanitizer a quarter, which takes as long as all do without. */
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#define TURNS(n) ((n) / 4)
#else
#define TURNS(n) (n)
#endif
