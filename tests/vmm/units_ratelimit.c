// SPDX-License-Identifier: Apache-2.0
/* Unit tests of token buckets and of the limits made of them. */
#include "ratelimit.h"
#include "units.h"

#define MS 1000000ull

static void a_bucket_keeps_its_rate(void)
{
	struct token_bucket b;
	uint64_t now = 5 * MS, done = 0, end = now + 10000 * MS;

	bucket_init(&b, 1000, 50, now);
	while (now < end) {
		while (bucket_allows(&b, now)) {
			bucket_charge(&b, 1);
			done++;
		}
		CHECK(bucket_wait(&b, now) > 0 && bucket_wait(&b, now) <= MS);
		now += bucket_wait(&b, now);
	}
	CHECK(done >= 10000 + 49 && done <= 10000 + 51); /* ten seconds and one burst */
}

static void a_bucket_goes_into_debt(void)
{
	struct token_bucket b;

	bucket_init(&b, 1 << 20, 4096, 0);
	CHECK(bucket_allows(&b, 0));
	bucket_charge(&b, 1 << 20); /* more than the burst passes ... */
	CHECK(!bucket_allows(&b, 1));
	CHECK(bucket_wait(&b, 1) > 990 * MS && bucket_wait(&b, 1) < 1000 * MS);
	CHECK(!bucket_allows(&b, 900 * MS)); /* ... and is paid for */
	CHECK(bucket_allows(&b, 1001 * MS));
}

static void a_bucket_survives_extremes(void)
{
	struct token_bucket b;
	unsigned int i;

	bucket_init(&b, RATE_MAX, RATE_MAX, 0);
	CHECK(bucket_allows(&b, UINT64_MAX / 2));
	for (i = 0; i < 100; i++)
		bucket_charge(&b, UINT64_MAX);
	CHECK(!bucket_allows(&b, UINT64_MAX / 2) && bucket_wait(&b, UINT64_MAX / 2) > 0);
	bucket_init(&b, 1, 0, 0);
	bucket_charge(&b, UINT64_MAX);
	CHECK(!bucket_allows(&b, UINT64_MAX) || true);
	bucket_init(&b, 0, 0, 0); /* no limit */
	bucket_charge(&b, UINT64_MAX);
	CHECK(bucket_allows(&b, 0));
	bucket_init(&b, 3, 0, 0); /* a rate whose tenth is nothing still lets one through */
	CHECK(b.burst == 1 && bucket_allows(&b, 0));
	/* Many looks in between must not round time away. */
	bucket_charge(&b, 1);
	for (i = 1; i < 333; i++)
		CHECK(!bucket_allows(&b, i * MS));
	CHECK(bucket_allows(&b, 334 * MS));
}

static unsigned int resumed;

static void on_resume(void *arg)
{
	(void)arg;
	resumed++;
}

static void a_limit_calls_back(void)
{
	struct rate_config cfg = {.ops = 100, .ops_burst = 2};
	struct ratelimit r;

	setup(MIB(16));
	CHECK(ratelimit_init(&r, &loop, &cfg, on_resume, NULL) == 0);
	while (ratelimit_allows(&r))
		ratelimit_charge(&r, 1, 1 << 30);
	CHECK(r.waiting && r.waits == 1 && !ratelimit_allows(&r) && r.waits == 1);
	while (!resumed)
		loop_once(&loop, 1000);
	CHECK(resumed == 1 && ratelimit_allows(&r));
	ratelimit_close(&r);
	ratelimit_close(&r);
	cfg = (struct rate_config){0};
	CHECK(ratelimit_init(&r, &loop, &cfg, on_resume, NULL) == 0 && ratelimit_allows(&r));
	ratelimit_charge(&r, 1, 1);
	ratelimit_close(&r);
}

static const struct unit_test tests[] = {
	TEST(a_bucket_keeps_its_rate),
	TEST(a_bucket_goes_into_debt),
	TEST(a_bucket_survives_extremes),
	TEST(a_limit_calls_back),
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return run_units(argc, argv, tests);
}
