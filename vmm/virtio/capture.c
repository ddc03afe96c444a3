// SPDX-License-Identifier: Apache-2.0
#include "virtio/capture.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "virtio/queue.h"

#define MAGIC	  0xa1b2c3d4u /* in the writer's byte order, microseconds */
#define SNAPLEN	  0x40000u    /* libpcap's largest: nothing is cut */
#define LINK_TYPE 1	      /* LINKTYPE_ETHERNET */

struct file_header {
	uint32_t magic;
	uint16_t major, minor;
	uint32_t reserved[2], snaplen, link_type;
};

struct record {
	uint32_t seconds, microseconds, captured, length;
};

int capture_open(struct capture *c, const char *path, struct error *e)
{
	const struct file_header header = {
		.magic = MAGIC, .major = 2, .minor = 4, .snaplen = SNAPLEN, .link_type = LINK_TYPE};
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd >= 0 && write(fd, &header, sizeof(header)) == sizeof(header)) {
		*c = (struct capture){.fd = fd, .used = sizeof(header)};
		return 0;
	}
	error_set(e, ERROR_USER, "cannot capture packets to %s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

void capture_close(struct capture *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

static void end(struct capture *c, const char *why)
{
	/* Half a record would make readers stumble. */
	if (ftruncate(c->fd, (off_t)c->used))
		log_line("capture: %s", strerror(errno));
	log_line("the capture of packets ends: %s", why);
	capture_close(c);
}

void capture_packet(struct capture *c, const struct iovec *iov, unsigned int n, size_t skip,
		    size_t len)
{
	struct record r = {.captured = (uint32_t)len, .length = (uint32_t)len};
	struct iovec out[VQ_MAX_SEGS + 3];
	unsigned int i, count = 1;
	size_t left = len, part;
	struct timespec now;
	ssize_t wrote;

	if (c->fd < 0)
		return;
	if (c->used + sizeof(r) + len > CAPTURE_MAX) {
		end(c, "the file is as large as it may become");
		return;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	r.seconds = (uint32_t)now.tv_sec;
	r.microseconds = (uint32_t)(now.tv_nsec / 1000);
	out[0] = (struct iovec){.iov_base = &r, .iov_len = sizeof(r)};
	for (i = 0; i < n && left && count < sizeof(out) / sizeof(out[0]); i++) {
		part = iov[i].iov_len;
		if (part <= skip) {
			skip -= part;
			continue;
		}
		part = part - skip < left ? part - skip : left;
		out[count++] = (struct iovec){.iov_base = (uint8_t *)iov[i].iov_base + skip,
					      .iov_len = part};
		left -= part;
		skip = 0;
	}
	r.captured -= (uint32_t)left;
	wrote = writev(c->fd, out, (int)count);
	if (wrote == (ssize_t)(sizeof(r) + r.captured))
		c->used += (uint64_t)wrote;
	else
		end(c, wrote < 0 ? strerror(errno) : "no space left");
}
