// SPDX-License-Identifier: Apache-2.0
/*
 * stream [MIB [ROUNDS]]: memory bandwidth of the first CPU, with four loops over arrays of MIB
 * each, as STREAM has them but for integers.  A line for each, the best of all rounds:
 *
 *   stream loop=copy mib=M bytes=B ticks=T mib_per_second=R
 *
 * Ticks are of the TSC; bytes are what one round reads and writes.
 */
#include "hermit.h"

#include "fwq.h"

#define MAX_MIB	   64u
#define MIB	   16u
#define ROUNDS	   5u
#define WORDS(mib) ((uint64_t)(mib) << 17)
#define LINE	   160u

static uint64_t a[WORDS(MAX_MIB)], b[WORDS(MAX_MIB)], c[WORDS(MAX_MIB)];

static void copy(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		c[i] = a[i];
}

static void scale(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		b[i] = 3 * c[i];
}

static void add(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		c[i] = a[i] + b[i];
}

static void triad(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		a[i] = b[i] + 3 * c[i];
}

static const struct loop {
	const char *name;
	void (*run)(uint64_t n);
	unsigned int arrays; /* that it reads and writes */
} loops[] = {{"copy", copy, 2}, {"scale", scale, 2}, {"add", add, 3}, {"triad", triad, 3}};

#define NLOOPS (sizeof(loops) / sizeof(loops[0]))

static void report(const struct loop *l, uint32_t mib, uint64_t ticks, uint32_t khz)
{
	char line[LINE], *end = fwq_put(line, "stream loop=");
	uint64_t bytes = ((uint64_t)mib << 20) * l->arrays;

	end = fwq_put(end, l->name);
	end = fwq_put_number(end, " mib=", mib);
	end = fwq_put_number(end, " bytes=", bytes);
	end = fwq_put_number(end, " ticks=", ticks);
	end = fwq_put_number(
		end, " mib_per_second=", (bytes >> 20) * khz / (ticks / 1000 ? ticks / 1000 : 1));
	*end++ = '\n';
	guest_write(1, line, (uint64_t)(end - line));
}

/* Whether the arrays hold what the loops must have made of them. */
static int right(uint64_t n, uint32_t rounds)
{
	uint64_t x = 1, y = 2, z = 0;

	while (rounds--) {
		z = x;
		y = 3 * z;
		z = x + y;
		x = y + 3 * z;
	}
	return a[0] == x && b[n / 2] == y && c[n - 1] == z && a[n - 1] == x;
}

int guest_main(uint64_t boot_info)
{
	uint32_t mib = MIB, rounds = ROUNDS, round;
	uint64_t best[NLOOPS], n, start, took, i;
	int argc = guest_arguments(boot_info);

	mib = argc > 1 ? fwq_number(guest_argv[1], MAX_MIB, MIB) : MIB;
	rounds = argc > 2 ? fwq_number(guest_argv[2], 1000, ROUNDS) : ROUNDS;
	n = WORDS(mib);
	for (i = 0; i < n; i++)
		a[i] = 1, b[i] = 2, c[i] = 0;
	for (round = 0; round < rounds; round++) {
		for (i = 0; i < NLOOPS; i++) {
			start = fwq_now();
			loops[i].run(n);
			took = fwq_now() - start;
			best[i] = !round || took < best[i] ? took : best[i];
		}
	}
	for (i = 0; i < NLOOPS; i++)
		report(&loops[i], mib, best[i], guest_tsc_khz(boot_info));
	if (right(n, rounds))
		return 0;
	say("the arrays hold wrong values\n");
	return 1;
}
