/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop: one thread, epoll, callbacks.  Callbacks run with the VM's lock held
 * (the lock is handed in), so they see devices that no vCPU is changing.
 */
#ifndef HG_LOOP_H
#define HG_LOOP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

/* One watched descriptor, embedded in its owner.  `fn` may delete any source, its own too. */
struct loop_source {
	int fd;
	void (*fn)(void *arg, uint32_t events); /* events: EPOLL* bits */
	void *arg;
};

struct loop {
	int epoll_fd;
	pthread_mutex_t *lock;
	struct epoll_event *batch; /* being dispatched, or NULL */
	int batch_len;
	bool stop;
	atomic_bool waiting; /* the loop's thread wants the lock */
	pid_t mild;	     /* the loop's thread, if loop_set_mild() may concern it */
	bool is_mild;
};

int loop_create(struct loop *l, pthread_mutex_t *lock); /* 0, or -1 with errno */
void loop_destroy(struct loop *l);

int loop_add(struct loop *l, struct loop_source *s, uint32_t events); /* 0, or -1 with errno */
void loop_change(struct loop *l, struct loop_source *s, uint32_t events);
/* After this no callback of s runs any more, even if its event was already fetched. */
void loop_remove(struct loop *l, struct loop_source *s);

/*
 * Takes the lock for a vCPU, which may come back for it for ever and at once: a loop that is
 * waiting goes first, so that a guest hammering its devices cannot keep the host from acting.
 */
void loop_lock(struct loop *l);

/*
 * A mild loop that is woken waits until what runs on its CPU pauses, or its time is up; other
 * CPUs take it at once all the same.  A vCPU that wakes it goes on and adds to its work.
 * loop_allow_mild(): by the loop's thread; nothing where somebody gave that a policy of his own.
 * loop_set_mild(): by any, with the lock.  Threads that a mild loop makes are as it is.
 */
void loop_allow_mild(struct loop *l);
void loop_set_mild(struct loop *l, bool mild);

/* Waits up to timeout_ms (-1: for ever) and runs what came; the caller holds no lock. */
void loop_once(struct loop *l, int timeout_ms);

#endif
