// SPDX-License-Identifier: Apache-2.0
#include "ratelimit.h"

#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_SEC 1000000000ull

uint64_t ratelimit_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

void bucket_init(struct token_bucket *b, uint64_t rate, uint64_t burst, uint64_t now)
{
	if (!burst)
		burst = rate / 10 ? rate / 10 : 1;
	*b = (struct token_bucket){.rate = rate, .burst = burst, .level = burst, .since = now};
}

bool bucket_allows(struct token_bucket *b, uint64_t now)
{
	unsigned __int128 gained;
	uint64_t missing;

	if (!b->rate)
		return true;
	missing = (uint64_t)((int64_t)b->burst - b->level);
	gained = (unsigned __int128)(now - b->since) * b->rate / NS_PER_SEC;
	if (gained >= missing) {
		b->level = b->burst;
		b->since = now;
	} else if (gained) {
		b->level += (int64_t)gained;
		/* Only the time that made whole tokens is used up; rounded up, never in favour. */
		b->since += (uint64_t)((gained * NS_PER_SEC + b->rate - 1) / b->rate);
	}
	return b->level > 0;
}

void bucket_charge(struct token_bucket *b, uint64_t tokens)
{
	/* A debt is bounded, so that no sum of charges can overflow the level. */
	if (!b->rate)
		return;
	if (tokens > RATE_MAX)
		tokens = RATE_MAX;
	if (b->level > -(int64_t)RATE_MAX)
		b->level -= (int64_t)tokens;
}

uint64_t bucket_wait(const struct token_bucket *b, uint64_t now)
{
	unsigned __int128 ns;
	uint64_t passed = now - b->since;

	if (!b->rate || b->level > 0)
		return 0;
	ns = ((unsigned __int128)(1 - b->level) * NS_PER_SEC + b->rate - 1) / b->rate;
	return ns > passed ? (uint64_t)(ns - passed) : 1;
}

static void on_timer(void *arg, uint32_t events)
{
	struct ratelimit *r = arg;
	uint64_t count;

	(void)events;
	if (read(r->timer.fd, &count, sizeof(count)) != sizeof(count))
		return;
	r->waiting = false;
	r->resume(r->arg);
}

int ratelimit_set(struct ratelimit *r, const struct rate_config *cfg)
{
	const struct itimerspec at_once = {.it_value.tv_nsec = 1};
	uint64_t now = ratelimit_now();

	if (!r->limited && !cfg->ops && !cfg->bytes)
		return 0;
	bucket_init(&r->ops, cfg->ops, cfg->ops_burst, now);
	bucket_init(&r->bytes, cfg->bytes, cfg->bytes_burst, now);
	if (r->limited) /* what waits looks again at once: at the new rate it may be free to go */
		return r->waiting ? timerfd_settime(r->timer.fd, 0, &at_once, NULL) : 0;
	r->timer = (struct loop_source){.fn = on_timer, .arg = r};
	r->timer.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (r->timer.fd < 0)
		return -1;
	if (loop_add(r->loop, &r->timer, EPOLLIN)) {
		close(r->timer.fd);
		return -1;
	}
	r->limited = true;
	return 0;
}

int ratelimit_init(struct ratelimit *r, struct loop *loop, const struct rate_config *cfg,
		   void (*resume)(void *arg), void *arg)
{
	memset(r, 0, sizeof(*r));
	r->loop = loop;
	r->resume = resume;
	r->arg = arg;
	return ratelimit_set(r, cfg);
}

void ratelimit_close(struct ratelimit *r)
{
	if (!r->limited)
		return;
	loop_remove(r->loop, &r->timer);
	close(r->timer.fd);
	r->limited = false;
}

bool ratelimit_look(struct ratelimit *r)
{
	struct itimerspec at = {0};
	uint64_t now, wait, wait_bytes;

	if (r->waiting)
		return false;
	now = ratelimit_now();
	/* Both, so that both are up to date. */
	if (bucket_allows(&r->ops, now) & bucket_allows(&r->bytes, now))
		return true;
	wait = bucket_wait(&r->ops, now);
	wait_bytes = bucket_wait(&r->bytes, now);
	wait = wait > wait_bytes ? wait : wait_bytes;
	at.it_value.tv_sec = wait / NS_PER_SEC;
	at.it_value.tv_nsec = wait % NS_PER_SEC;
	if (timerfd_settime(r->timer.fd, 0, &at, NULL))
		return true; /* cannot happen; a limit that is not kept is better than a hang */
	r->waiting = true;
	r->waits++;
	return false;
}

void ratelimit_take(struct ratelimit *r, uint64_t ops, uint64_t bytes)
{
	bucket_charge(&r->ops, ops);
	bucket_charge(&r->bytes, bytes);
}
