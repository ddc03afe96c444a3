// SPDX-License-Identifier: Apache-2.0
#include "snapshot/sum.h"

#include <string.h>

typedef uint64_t lanes __attribute__((vector_size(32), aligned(32)));

#define PER_PAGE (SUM_PAGE / sizeof(lanes))
#define MIX	 0x9e3779b97f4a7c15ull /* 2^64 / golden ratio: odd, bits well spread */

/* splitmix64's finisher; 0 stays 0. */
static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

static inline __attribute__((always_inline)) uint64_t page_sum(const lanes *p)
{
	lanes a = {0}, b = {0}, c = {0}, d = {0};
	uint64_t sum = 0;
	unsigned int i;

	/* Two chains, a to b and c to d: one alone would wait for itself. */
#pragma GCC unroll 8
	for (i = 0; i < PER_PAGE; i += 2) {
		a += p[i];
		b += a;
		c += p[i + 1];
		d += c;
	}
	/* Rotated: what changes the high bits alone shall not end in them alone. */
	a ^= b << 23 | b >> 41;
	c ^= d << 23 | d >> 41;
	for (i = 0; i < 4; i++) {
		sum = (sum + a[i]) * MIX;
		sum = (sum + c[i]) * MIX;
	}
	return mix(sum);
}

static inline __attribute__((always_inline)) uint64_t pages_sum(const lanes *p, uint64_t first,
								uint64_t pages)
{
	uint64_t sum = 0, end = first + pages;

	for (; first < end; first++, p += PER_PAGE)
		sum += page_sum(p) * (2 * first + 1); /* odd: loses nothing */
	return sum;
}

/* The same code twice: half as many instructions where the CPU has AVX2. */
__attribute__((target("avx2"))) static uint64_t pages_avx2(const lanes *p, uint64_t first,
							   uint64_t pages)
{
	return pages_sum(p, first, pages);
}

uint64_t sum_pages(const void *data, uint64_t first, uint64_t pages)
{
	if (__builtin_cpu_supports("avx2"))
		return pages_avx2(data, first, pages);
	return pages_sum(data, first, pages);
}

uint64_t sum_bytes(const void *data, size_t len)
{
	uint8_t page[SUM_PAGE] __attribute__((aligned(64)));
	uint64_t sum = mix(len + MIX), first;
	size_t n;

	for (first = 0; len; first++, len -= n, data = (const uint8_t *)data + n) {
		n = len < sizeof(page) ? len : sizeof(page);
		memcpy(page, data, n);
		memset(page + n, 0, sizeof(page) - n);
		sum += sum_pages(page, first, 1);
	}
	return sum;
}

bool sum_is_zero(const void *page)
{
	const lanes *p = page;
	unsigned int i, end;
	lanes any = {0};

	for (i = 0; i < PER_PAGE; i = end) {
		for (end = i + 8; i < end; i++)
			any |= p[i];
		if (any[0] | any[1] | any[2] | any[3])
			return false;
	}
	return true;
}
