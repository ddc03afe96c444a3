/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads, writes and more on a few files, through io_uring or plain system calls.
 *
 * io_start() only queues; io_run() hands everything queued to the kernel with one call and
 * delivers what has ended, so that a kick with many requests costs one system call.
 * Callbacks may start further operations.
 */
#ifndef HG_VIRTIO_BLK_IO_H
#define HG_VIRTIO_BLK_IO_H

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>

#include "loop.h"

enum io_kind {
	IO_READ,
	IO_WRITE,
	IO_DURABLE_WRITE, /* on stable storage when it is done */
	IO_SYNC,	  /* fdatasync */
	IO_PUNCH,	  /* [offset, offset + len) gives its storage back and reads as zeros */
	IO_ZERO,	  /* it reads as zeros and keeps its storage */
};

struct io {
	enum io_kind kind;
	unsigned int file;	 /* a number below IO_FILES */
	const struct iovec *iov; /* of reads and writes; stays until done() */
	unsigned int niov;
	uint64_t offset, len; /* bytes; len is of IO_PUNCH and IO_ZERO */
	/* result: bytes moved (0 at the file's end), 0 for the other kinds, or -errno. */
	void (*done)(struct io *io, long result);
	long result;
	struct io *next;
};

#define IO_FILES 4

struct io_engine {
	struct loop *loop;
	bool have_ring;
	struct io_uring ring;
	struct loop_source ready; /* something has ended: io_run() is due */
	int fds[IO_FILES];	  /* -1: none */
	bool memory[IO_FILES];	  /* in RAM: an operation never waits, so plain calls do it */
	unsigned int queued;	  /* not yet handed over */
	unsigned int in_flight;
	struct io *ended, **ended_tail; /* done with plain calls; callbacks are still to come */
};

/* True when all of them are files in RAM: io_start() has done its work when it returns. */
bool io_in_memory(const struct io_engine *e);

/*
 * `depth` operations at once without waiting for room.  on_ready(arg) runs in the loop.
 * 0, or -1 with errno; a kernel without io_uring is no error.
 */
int io_open(struct io_engine *e, struct loop *loop, const int fds[IO_FILES], unsigned int depth,
	    void (*on_ready)(void *arg, uint32_t events), void *arg);
void io_close(struct io_engine *e); /* nothing is in flight; the files stay open */

void io_start(struct io_engine *e, struct io *io);

/* wait: until nothing is in flight, with all that callbacks have started. */
void io_run(struct io_engine *e, bool wait);

#endif
