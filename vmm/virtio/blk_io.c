// SPDX-License-Identifier: Apache-2.0
#include "virtio/blk_io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "log.h"

/*
 * COOP_TASKRUN (since 5.19): a completion does not interrupt the loop, which looks for it by
 * itself before it sleeps.  Not SINGLE_ISSUER: a device reset submits in a vCPU's thread.
 */
#define OLD_FLAGS IORING_SETUP_R_DISABLED
#define FLAGS	  (OLD_FLAGS | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG)

#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define ZERO  (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE)

/* tmpfs and others know no ZERO_RANGE: drop the storage, then get new storage. */
static int zero_range(int fd, uint64_t offset, uint64_t len)
{
	if (fallocate(fd, ZERO, (off_t)offset, (off_t)len) == 0)
		return 0;
	if (errno != EOPNOTSUPP || fallocate(fd, PUNCH, (off_t)offset, (off_t)len))
		return -1;
	return fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len);
}

static long call_plain(const struct io_engine *e, const struct io *io)
{
	int fd = e->fds[io->file];
	long result = -1;

	do {
		switch (io->kind) {
		case IO_READ:
			result = preadv2(fd, io->iov, io->niov, io->offset, 0);
			break;
		case IO_WRITE:
			result = pwritev2(fd, io->iov, io->niov, io->offset, 0);
			break;
		case IO_DURABLE_WRITE:
			result = pwritev2(fd, io->iov, io->niov, io->offset, RWF_DSYNC);
			break;
		case IO_SYNC:
			result = fdatasync(fd);
			break;
		case IO_PUNCH:
			result = fallocate(fd, PUNCH, io->offset, io->len);
			break;
		case IO_ZERO:
			result = zero_range(fd, io->offset, io->len);
			break;
		}
	} while (result < 0 && errno == EINTR);
	return result < 0 ? -errno : result;
}

static void run_plain(struct io_engine *e, struct io *io)
{
	io->result = call_plain(e, io);
	io->next = NULL;
	*e->ended_tail = io;
	e->ended_tail = &io->next;
}

static void prepare(struct io_uring_sqe *sqe, const struct io *io)
{
	int fd = (int)io->file;

	switch (io->kind) {
	case IO_READ:
		if (io->niov == 1) /* no vector to import: the common case of small requests */
			io_uring_prep_read(sqe, fd, io->iov->iov_base, io->iov->iov_len,
					   io->offset);
		else
			io_uring_prep_readv(sqe, fd, io->iov, io->niov, io->offset);
		break;
	case IO_WRITE:
	case IO_DURABLE_WRITE:
		if (io->niov == 1)
			io_uring_prep_write(sqe, fd, io->iov->iov_base, io->iov->iov_len,
					    io->offset);
		else
			io_uring_prep_writev(sqe, fd, io->iov, io->niov, io->offset);
		sqe->rw_flags = io->kind == IO_DURABLE_WRITE ? RWF_DSYNC : 0;
		break;
	case IO_SYNC:
		io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
		break;
	case IO_PUNCH:
		io_uring_prep_fallocate(sqe, fd, PUNCH, io->offset, io->len);
		break;
	case IO_ZERO:
		io_uring_prep_fallocate(sqe, fd, ZERO, io->offset, io->len);
		break;
	}
	io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
}

/* A read or write of one buffer has a length of 32 bits there. */
static bool fits(const struct io *io)
{
	return io->niov != 1 || io->kind >= IO_SYNC || io->iov->iov_len <= 1u << 30;
}

void io_start(struct io_engine *e, struct io *io)
{
	struct io_uring_sqe *sqe = NULL;

	if (e->have_ring && !e->memory[io->file] && fits(io))
		sqe = io_uring_get_sqe(&e->ring);
	if (!sqe) {
		run_plain(e, io); /* also when the ring is full: never wait for room */
		return;
	}
	prepare(sqe, io);
	io_uring_sqe_set_data(sqe, io);
	e->queued++;
}

/* False: nothing moves any more. */
static bool submit(struct io_engine *e, bool wait)
{
	struct io_uring_cqe *cqe;
	int n;

	if (e->queued) {
		n = wait ? io_uring_submit_and_wait(&e->ring, 1) : io_uring_submit(&e->ring);
		if (n > 0) {
			e->queued -= n;
			e->in_flight += n;
		} else if (n != -EINTR && n != -EAGAIN && n != -EBUSY) {
			log_guest("io_uring: %s", strerror(-n));
			if (!wait || !e->in_flight)
				return false;
			io_uring_wait_cqe(&e->ring, &cqe);
		}
	} else if (wait && e->in_flight) {
		io_uring_wait_cqe(&e->ring, &cqe);
	}
	return true;
}

static void reap(struct io_engine *e)
{
	struct io_uring_cqe *cqe;
	struct io *io;
	int result;

	while (io_uring_peek_cqe(&e->ring, &cqe) == 0) {
		io = io_uring_cqe_get_data(cqe);
		result = cqe->res;
		io_uring_cqe_seen(&e->ring, cqe);
		e->in_flight--;
		if (result == -EAGAIN || result == -EINTR ||
		    (result == -EOPNOTSUPP && io->kind == IO_ZERO))
			run_plain(e, io);
		else
			io->done(io, result);
	}
}

static void deliver(struct io_engine *e)
{
	struct io *io;

	while ((io = e->ended)) {
		e->ended = io->next;
		if (!e->ended)
			e->ended_tail = &e->ended;
		io->done(io, io->result);
	}
}

void io_run(struct io_engine *e, bool wait)
{
	do {
		deliver(e);
		if (!e->have_ring)
			return;
		if (!submit(e, wait))
			return;
		reap(e);
	} while (e->ended || e->queued || (wait && e->in_flight));
}

/*
 * A ring can open files, connect and more, and seccomp sees none of it: this one may do what
 * a disk needs, to the disk's files, for as long as it lives.
 */
static int restrict_ring(struct io_uring *ring)
{
	static const uint8_t ops[] = {IORING_OP_READ,	IORING_OP_READV, IORING_OP_WRITE,
				      IORING_OP_WRITEV, IORING_OP_FSYNC, IORING_OP_FALLOCATE};
	struct io_uring_restriction r[sizeof(ops) + 1] = {0};
	unsigned int i;

	for (i = 0; i < sizeof(ops); i++) {
		r[i].opcode = IORING_RESTRICTION_SQE_OP;
		r[i].sqe_op = ops[i];
	}
	r[i].opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED;
	r[i].sqe_flags = IOSQE_FIXED_FILE;
	return io_uring_register_restrictions(ring, r, sizeof(ops) + 1);
}

/*
 * A tmpfs knows no non-blocking calls: io_uring would hand each one to a worker thread, two
 * switches for a copy from memory to memory.
 */
static bool is_memory(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC ||
					 fs.f_type == HUGETLBFS_MAGIC);
}

bool io_in_memory(const struct io_engine *e)
{
	unsigned int i;

	for (i = 0; i < IO_FILES; i++)
		if (e->fds[i] >= 0 && !e->memory[i])
			return false;
	return true;
}

int io_open(struct io_engine *e, struct loop *loop, const int fds[IO_FILES], unsigned int depth,
	    void (*on_ready)(void *arg, uint32_t events), void *arg)
{
	unsigned int i;

	memset(e, 0, sizeof(*e));
	memcpy(e->fds, fds, sizeof(e->fds));
	e->loop = loop;
	e->ended_tail = &e->ended;
	for (i = 0; i < IO_FILES; i++)
		e->memory[i] = fds[i] >= 0 && is_memory(fds[i]);
	if (io_in_memory(e))
		return 0;
	if (io_uring_queue_init(depth, &e->ring, FLAGS) < 0 &&
	    io_uring_queue_init(depth, &e->ring, OLD_FLAGS) < 0)
		return 0; /* no io_uring here, or not for us: plain system calls do it */
	if (io_uring_register_files(&e->ring, fds, IO_FILES) || restrict_ring(&e->ring) ||
	    io_uring_enable_rings(&e->ring)) {
		io_uring_queue_exit(&e->ring);
		return 0;
	}
	e->ready = (struct loop_source){.fd = e->ring.ring_fd, .fn = on_ready, .arg = arg};
	if (loop_add(loop, &e->ready, EPOLLIN)) {
		io_uring_queue_exit(&e->ring);
		return -1;
	}
	e->have_ring = true;
	return 0;
}

void io_close(struct io_engine *e)
{
	if (!e->have_ring)
		return;
	loop_remove(e->loop, &e->ready);
	io_uring_queue_exit(&e->ring);
	e->have_ring = false;
}
