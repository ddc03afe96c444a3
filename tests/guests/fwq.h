/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fixed work quantum: the same piece of work over and over, each time measured by the time stamp
 * counter.  What one takes longer than the fastest is what the machine did meanwhile.  Used by a
 * unikernel (jitter.c) and by a thread of the host (tests/nested/programs/jitter.c), so that both
 * do the same; it needs no library and no floating point.
 */
#ifndef GUEST_FWQ_H
#define GUEST_FWQ_H

#include <stddef.h>
#include <stdint.h>

#define FWQ_MAX_SAMPLES 65536u
#define FWQ_SAMPLES	10000u
#define FWQ_WORK	20000u /* additions that depend on each other: a few microseconds */
#define FWQ_TEXT	2048u  /* bytes of a report at most */

static uint32_t fwq_times[FWQ_MAX_SAMPLES] __attribute__((unused)); /* TSC ticks */

static inline uint64_t fwq_now(void)
{
	uint32_t low, high;

	/* LFENCE: neither does the work begin before it is measured, nor end after. */
	__asm__ volatile("lfence; rdtsc; lfence" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

static inline void fwq_quantum(uint32_t work)
{
	uint64_t count = work;

	__asm__ volatile("1: sub $1, %0; jnz 1b" : "+r"(count) : : "cc");
}

static inline void fwq_measure(uint32_t samples, uint32_t work)
{
	uint64_t start, took;
	uint32_t i;

	for (i = 0; i < samples; i++) {
		start = fwq_now();
		fwq_quantum(work);
		took = fwq_now() - start;
		fwq_times[i] = took < UINT32_MAX ? (uint32_t)took : UINT32_MAX;
	}
}

static inline void fwq_sift(uint32_t root, uint32_t end)
{
	uint32_t child, t;

	for (; (child = 2 * root + 1) < end; root = child) {
		if (child + 1 < end && fwq_times[child] < fwq_times[child + 1])
			child++;
		if (fwq_times[root] >= fwq_times[child])
			return;
		t = fwq_times[root];
		fwq_times[root] = fwq_times[child];
		fwq_times[child] = t;
	}
}

/* A heapsort: no recursion, no memory. */
static inline void fwq_sort(uint32_t n)
{
	uint32_t i, t;

	for (i = n / 2; i-- > 0;)
		fwq_sift(i, n);
	for (i = n; i-- > 1;) {
		t = fwq_times[0];
		fwq_times[0] = fwq_times[i];
		fwq_times[i] = t;
		fwq_sift(0, i);
	}
}

static inline char *fwq_put(char *to, const char *text)
{
	while (*text)
		*to++ = *text++;
	return to;
}

static inline char *fwq_put_number(char *to, const char *name, uint64_t value)
{
	char digits[20];
	int n = 0;

	to = fwq_put(to, name);
	do {
		digits[n++] = (char)('0' + value % 10);
	} while (value /= 10);
	while (n)
		*to++ = digits[--n];
	return to;
}

/*
 * What fwq_measure() found, as lines of KEY=VALUE; times are TSC ticks:
 *
 *   jitter samples=N work=W tsc_khz=K min= p50= p90= p99= p999= max= mean= excess_ppm=
 *   jitter-over ticks=T count=C      samples that took T or more ticks over the fastest
 *
 * excess_ppm is the time lost in all, in millionths of what only fastest ones would take.
 * `text` has FWQ_TEXT bytes.  The end of the text; it has no NUL.
 */
static inline char *fwq_report(char *text, uint32_t n, uint32_t work, uint32_t tsc_khz)
{
	uint64_t sum = 0, over;
	uint32_t i;

	fwq_sort(n);
	for (i = 0; i < n; i++)
		sum += fwq_times[i];
	text = fwq_put_number(text, "jitter samples=", n);
	text = fwq_put_number(text, " work=", work);
	text = fwq_put_number(text, " tsc_khz=", tsc_khz);
	text = fwq_put_number(text, " min=", fwq_times[0]);
	text = fwq_put_number(text, " p50=", fwq_times[n / 2]);
	text = fwq_put_number(text, " p90=", fwq_times[(uint64_t)n * 90 / 100]);
	text = fwq_put_number(text, " p99=", fwq_times[(uint64_t)n * 99 / 100]);
	text = fwq_put_number(text, " p999=", fwq_times[(uint64_t)n * 999 / 1000]);
	text = fwq_put_number(text, " max=", fwq_times[n - 1]);
	text = fwq_put_number(text, " mean=", sum / n);
	text = fwq_put_number(text, " excess_ppm=",
			      (sum - (uint64_t)fwq_times[0] * n) /
				      ((uint64_t)fwq_times[0] * n / 1000000 + 1));
	*text++ = '\n';
	for (over = 256, i = 0; over < 1u << 30 && i < n; over *= 4) {
		while (i < n && fwq_times[i] - fwq_times[0] < over)
			i++;
		text = fwq_put_number(text, "jitter-over ticks=", over);
		text = fwq_put_number(text, " count=", n - i);
		*text++ = '\n';
	}
	return text;
}

/* A number from 1 to max; else `preset`. */
static inline uint32_t fwq_number(const char *text, uint32_t max, uint32_t preset)
{
	uint64_t n = 0;

	for (; *text >= '0' && *text <= '9' && n <= max; text++)
		n = 10 * n + (uint64_t)(*text - '0');
	return *text || !n || n > max ? preset : (uint32_t)n;
}

#endif
