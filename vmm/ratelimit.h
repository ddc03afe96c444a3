/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rate limits of a device: operations and bytes a second, with bursts.
 *
 * Each limit is a token bucket: it fills at `rate` up to `burst`, and what is done takes
 * tokens out.  One operation may start while a bucket holds anything at all and may leave it in
 * debt, so that a request larger than the burst passes and the rate still holds over time.
 *
 *	if (!ratelimit_allows(r))
 *		return;                 resume() is called from the loop when it does
 *	ratelimit_charge(r, 1, bytes);
 *
 * All calls are made with the VM's lock held.
 */
#ifndef HG_RATELIMIT_H
#define HG_RATELIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "loop.h"

#define RATE_MAX (1ull << 40) /* of rates and bursts */

/* What was asked for; a rate of 0 is no limit, a burst of 0 is what a tenth of a second brings. */
struct rate_config {
	uint64_t ops, ops_burst;     /* operations a second; operations */
	uint64_t bytes, bytes_burst; /* bytes a second; bytes */
};

/* One limit alone, for what needs no timer: an event that may be sent only so often. */
struct token_bucket {
	uint64_t rate;	/* tokens a second, up to RATE_MAX; 0: never empty */
	uint64_t burst; /* most tokens it holds, 1 to RATE_MAX */
	int64_t level;	/* tokens; negative after an operation that took more than there were */
	uint64_t since; /* CLOCK_MONOTONIC, ns: when `level` was right */
};

void bucket_init(struct token_bucket *b, uint64_t rate, uint64_t burst, uint64_t now);

/* Brings the level up to date; true when an operation may start. */
bool bucket_allows(struct token_bucket *b, uint64_t now);
void bucket_charge(struct token_bucket *b, uint64_t tokens);

/* Nanoseconds from `now`, when bucket_allows() said no, until it says yes. */
uint64_t bucket_wait(const struct token_bucket *b, uint64_t now);

struct ratelimit {
	struct token_bucket ops, bytes;
	bool limited;	/* any of the two */
	bool waiting;	/* the timer runs; resume() will be called */
	uint64_t waits; /* how often something had to wait, for statistics */
	struct loop *loop;
	struct loop_source timer;
	void (*resume)(void *arg);
	void *arg;
};

/* Without a limit in cfg nothing is opened.  0, or -1 with errno. */
int ratelimit_init(struct ratelimit *r, struct loop *loop, const struct rate_config *cfg,
		   void (*resume)(void *arg), void *arg);
/* Another rate for one that was made, from now on; a cfg of zeros: none.  0, or -1 with errno. */
int ratelimit_set(struct ratelimit *r, const struct rate_config *cfg);
void ratelimit_close(struct ratelimit *r);

/* The slow halves of the two below. */
bool ratelimit_look(struct ratelimit *r);
void ratelimit_take(struct ratelimit *r, uint64_t ops, uint64_t bytes);

/* May an operation start now?  If not, resume(arg) is called, once, when one may. */
static inline bool ratelimit_allows(struct ratelimit *r)
{
	return !r->limited || ratelimit_look(r);
}

static inline void ratelimit_charge(struct ratelimit *r, uint64_t ops, uint64_t bytes)
{
	if (r->limited)
		ratelimit_take(r, ops, bytes);
}

uint64_t ratelimit_now(void); /* CLOCK_MONOTONIC, ns */

#endif
