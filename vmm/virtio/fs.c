// SPDX-License-Identifier: Apache-2.0
#include "virtio/fs.h"

#include <errno.h>
#include <linux/fuse.h>
#include <linux/virtio_fs.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"
#include "virtio/vhost_user.h"
#include "virtio/virtiofsd.h"

#define NQUEUES 2 /* the urgent one and one for requests */

struct fs {
	struct virtio_dev dev; /* first: a virtio_dev pointer is ours */
	struct vhost_user back_end;
	struct virtio_fs_config config;
	char tag[sizeof(((struct virtio_fs_config *)0)->tag) + 1];
	struct loop_source log; /* what virtiofsd says */
	void (*on_loss)(void *arg, const char *tag);
	void *on_loss_arg;
	struct vq_chain chain;
};

/* --- without a back end --- */

/* A request without room for an answer (FUSE_FORGET) wants none. */
static void refuse(struct vq *q, const struct vq_chain *c)
{
	struct fuse_out_header out = {.len = sizeof(out), .error = -ENOTCONN};
	struct fuse_in_header in = {0};
	uint32_t written = 0;

	iov_read(c->iov, c->nread, 0, &in, sizeof(in));
	out.unique = in.unique;
	if (c->write_len >= sizeof(out))
		written = iov_write(c->iov + c->nread, c->nwrite, 0, &out, sizeof(out));
	vq_push(q, c->head, written);
}

static void refuse_all(struct fs *f, struct vq *q)
{
	unsigned int round;
	int r = 0;

	for (round = 0; round < q->size; round++) {
		r = vq_pop(q, &f->chain);
		if (r <= 0)
			break;
		refuse(q, &f->chain);
	}
	virtio_finish(&f->dev, q, r);
}

/* The answer is there: virtiofsd finished this one before it was lost. */
static bool is_answered(const struct vq_chain *c)
{
	struct fuse_in_header in = {0};
	struct fuse_out_header out = {0};

	iov_read(c->iov, c->nread, 0, &in, sizeof(in));
	iov_read(c->iov + c->nread, c->nwrite, 0, &out, sizeof(out));
	return in.unique && out.unique == in.unique && out.len >= sizeof(out);
}

enum used { USED_NO, USED_MAYBE, USED_YES };

/*
 * Whether the newest use of `head`, made available as number `at`, was given back.  Number v of
 * the used ring came after number v of the available ring: from `at` on an entry is this use;
 * before it, it is this one or an older one.
 */
static enum used look_up(const struct vq *q, uint16_t head, uint16_t at, uint16_t used)
{
	enum used answer = USED_NO;
	uint16_t back, v, id;

	for (back = 1; back <= q->size; back++) {
		v = used - back;
		id = __atomic_load_n(&q->used[2 + 4 * (v & (q->size - 1))], __ATOMIC_RELAXED);
		if (id != head)
			continue;
		if ((uint16_t)(v - at) < 0x8000)
			return USED_YES;
		answer = USED_MAYBE;
	}
	return answer;
}

/* The chain at number `at` of the available ring is refused, if it is still to be answered. */
static bool refuse_one(struct fs *f, struct vq *q, uint16_t at, enum used used)
{
	q->next_avail = at;
	if (used == USED_YES || vq_pop(q, &f->chain) <= 0) {
		q->broken = false; /* what was there is the driver's again, and something else */
		return false;
	}
	if (used == USED_MAYBE && is_answered(&f->chain))
		return false;
	refuse(q, &f->chain);
	return true;
}

/*
 * Takes a ring over whose back end did not say how far it came.  What is outstanding are the
 * newest uses of heads that were not given back, found from the newest entry backwards; one
 * that is older than a whole ring is out of sight and stays with the guest.
 */
static void take_over(struct fs *f, struct vq *q)
{
	uint16_t avail, used, missing, at, head, back;
	bool seen[VQ_MAX_SIZE] = {false};

	if (!q->ready || q->broken)
		return;
	avail = __atomic_load_n(&q->avail[1], __ATOMIC_ACQUIRE);
	used = __atomic_load_n(&q->used[1], __ATOMIC_ACQUIRE);
	missing = avail - used;
	q->next_used = q->given = q->last_signal = used;
	for (back = 1; back <= q->size && missing; back++) {
		at = avail - back;
		head = __atomic_load_n(&q->avail[2 + (at & (q->size - 1))], __ATOMIC_RELAXED);
		if (head >= q->size || seen[head])
			continue;
		seen[head] = true;
		if (refuse_one(f, q, at, look_up(q, head, at, used)))
			missing--;
	}
	q->next_avail = avail;
}

static void fs_lost(struct virtio_dev *dev)
{
	struct fs *f = (struct fs *)dev;
	unsigned int i;

	log_line("share %s: virtiofsd is lost (%s); the guest gets errors from now on", f->tag,
		 f->back_end.why);
	for (i = 0; i < NQUEUES && virtio_is_running(dev); i++) {
		take_over(f, &dev->queues[i]);
		refuse_all(f, &dev->queues[i]);
	}
	if (f->on_loss)
		f->on_loss(f->on_loss_arg, f->tag);
}

/* --- the device --- */

static void fs_activate(struct virtio_dev *dev)
{
	vhost_user_start(&((struct fs *)dev)->back_end);
}

static void fs_notify(struct virtio_dev *dev, unsigned int queue)
{
	struct fs *f = (struct fs *)dev;

	if (f->back_end.lost)
		refuse_all(f, &dev->queues[queue]);
	else
		notifiers_kick(dev, queue);
}

static void fs_reset(struct virtio_dev *dev)
{
	vhost_user_stop(&((struct fs *)dev)->back_end);
}

static void close_log(struct fs *f)
{
	if (f->log.fd < 0)
		return;
	loop_remove(f->dev.loop, &f->log);
	close(f->log.fd);
	f->log.fd = -1;
}

static void fs_destroy(struct virtio_dev *dev)
{
	struct fs *f = (struct fs *)dev;

	vhost_user_close(&f->back_end);
	close_log(f);
	virtio_end(dev);
	free(f);
}

static const char *fs_cannot_save(const struct virtio_dev *dev)
{
	(void)dev;
	return "what virtiofsd knows of the guest's open files is not in it";
}

static const struct virtio_ops fs_ops = {
	.id = VIRTIO_ID_FS,
	.name = "fs",
	.nqueues = NQUEUES,
	.queue_size = 256,
	.activate = fs_activate,
	.notify = fs_notify,
	.reset = fs_reset,
	.destroy = fs_destroy,
	.cannot_save = fs_cannot_save,
};

/* The guest can make virtiofsd complain: lines are cut short and counted. */
static void on_log(void *arg, uint32_t events)
{
	struct fs *f = arg;
	char text[512], *line, *rest = text;
	ssize_t n = read(f->log.fd, text, sizeof(text) - 1);

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		close_log(f);
		return;
	}
	text[n] = '\0';
	while ((line = strsep(&rest, "\n")))
		if (*line)
			log_guest("share %s: virtiofsd: %s", f->tag, line);
}

struct virtio_dev *fs_create_fd(const struct guest_memory *mem, struct loop *loop, const char *tag,
				int fd, int log_fd, struct error *e)
{
	struct fs *f = calloc(1, sizeof(*f));

	if (!f || virtio_init(&f->dev, &fs_ops, mem, loop)) {
		error_set(e, ERROR_MACHINE, "virtio-fs: %s", strerror(errno));
		goto fail;
	}
	snprintf(f->tag, sizeof(f->tag), "%s", tag);
	memcpy(f->config.tag, f->tag, sizeof(f->config.tag)); /* no NUL when it is full */
	f->config.num_request_queues = NQUEUES - 1;
	f->dev.config = (uint8_t *)&f->config;
	f->dev.config_len = sizeof(f->config);
	if (vhost_user_open(&f->back_end, fd, &f->dev, e)) {
		fd = -1;
		virtio_end(&f->dev);
		goto fail;
	}
	f->back_end.on_loss = fs_lost;
	f->log = (struct loop_source){.fd = log_fd, .fn = on_log, .arg = f};
	if (log_fd >= 0)
		loop_add(loop, &f->log, EPOLLIN);
	return &f->dev;
fail:
	if (fd >= 0)
		close(fd);
	free(f);
	return NULL;
}

static int connect_to(const struct share_config *share, struct error *e)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(share->path) >= sizeof(addr.sun_path))
		return error_set(e, ERROR_USER, "--share %s: a socket's path has at most %zu bytes",
				 share->tag, sizeof(addr.sun_path) - 1);
	strcpy(addr.sun_path, share->path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && !connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		return fd;
	error_set(e, ERROR_USER, "--share %s: %s: %s (is virtiofsd running there?)", share->tag,
		  share->path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

/* What the daemon said last before it gave up is the reason that helps. */
static void add_last_words(const struct share_config *share, int log_fd, struct error *e)
{
	char text[300] = "", *end;
	ssize_t n = log_fd < 0 ? 0 : read(log_fd, text, sizeof(text) - 1);
	struct error before = *e;

	if (n > 0 && (end = strchr(text, '\n')))
		*end = '\0';
	if (n > 0)
		error_set(e, ERROR_MACHINE, "--share %s: virtiofsd: %s", share->tag, text);
	else
		error_set(e, before.code, "--share %s: %.400s", share->tag, before.text);
}

struct virtio_dev *fs_create(const struct guest_memory *mem, struct loop *loop,
			     const struct share_config *share, const char *virtiofsd,
			     const char *run_dir, struct error *e)
{
	struct virtio_dev *dev;
	int fd, log_fd = -1;

	fd = share->path_is_socket ? connect_to(share, e)
				   : virtiofsd_start(share, virtiofsd, run_dir, &log_fd, e);
	if (fd < 0)
		return NULL;
	dev = fs_create_fd(mem, loop, share->tag, fd, log_fd, e);
	if (dev)
		return dev;
	add_last_words(share, log_fd, e);
	if (log_fd >= 0)
		close(log_fd);
	return NULL;
}

void fs_on_loss(struct virtio_dev *dev, void (*fn)(void *arg, const char *tag), void *arg)
{
	struct fs *f = (struct fs *)dev;

	f->on_loss = fn;
	f->on_loss_arg = arg;
}
