// SPDX-License-Identifier: Apache-2.0
#include "loop.h"

#include <sched.h>
#include <string.h>
#include <unistd.h>

#define BATCH  16
#define YIELDS 500

int loop_create(struct loop *l, pthread_mutex_t *lock)
{
	memset(l, 0, sizeof(*l));
	l->lock = lock;
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	return l->epoll_fd < 0 ? -1 : 0;
}

void loop_destroy(struct loop *l)
{
	close(l->epoll_fd);
	l->epoll_fd = -1;
}

int loop_add(struct loop *l, struct loop_source *s, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = s};

	return epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, s->fd, &ev);
}

void loop_change(struct loop *l, struct loop_source *s, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = s};

	epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, s->fd, &ev);
}

void loop_remove(struct loop *l, struct loop_source *s)
{
	int i;

	epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);
	for (i = 0; i < l->batch_len; i++)
		if (l->batch[i].data.ptr == s)
			l->batch[i].data.ptr = NULL;
}

void loop_lock(struct loop *l)
{
	unsigned int tries;

	/* Bounded: a loop that gets no CPU is not helped by a guest that gets none either. */
	for (tries = 0; tries < YIELDS && atomic_load(&l->waiting); tries++)
		sched_yield();
	pthread_mutex_lock(l->lock);
}

void loop_allow_mild(struct loop *l)
{
	if (sched_getscheduler(0) == SCHED_OTHER)
		l->mild = gettid();
}

void loop_set_mild(struct loop *l, bool mild)
{
	const struct sched_param none = {0};

	/* sched(7), SCHED_BATCH: the same share of the CPU, but no preemption by a wake-up. */
	if (l->mild && l->is_mild != mild &&
	    !sched_setscheduler(l->mild, mild ? SCHED_BATCH : SCHED_OTHER, &none))
		l->is_mild = mild;
}

void loop_once(struct loop *l, int timeout_ms)
{
	struct epoll_event batch[BATCH];
	struct loop_source *s;
	int i, n;

	n = epoll_wait(l->epoll_fd, batch, BATCH, timeout_ms);
	if (n <= 0)
		return;
	atomic_store(&l->waiting, true);
	pthread_mutex_lock(l->lock);
	atomic_store(&l->waiting, false);
	l->batch = batch;
	l->batch_len = n;
	for (i = 0; i < n; i++) {
		s = batch[i].data.ptr;
		if (s)
			s->fn(s->arg, batch[i].events);
	}
	l->batch = NULL;
	l->batch_len = 0;
	pthread_mutex_unlock(l->lock);
}
