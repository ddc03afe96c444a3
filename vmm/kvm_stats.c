// SPDX-License-Identifier: Apache-2.0
#include "kvm_stats.h"

#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vm.h"

#define MAX_STATS 512u
#define MAX_NAME  256u
#define MAX_BYTES 65536u /* of all values of one descriptor */

struct kvm_stats {
	int vm_fd, vcpu_fds[MAX_CPUS]; /* -1: none */
};

static void close_all(struct kvm_stats *s)
{
	unsigned int i;

	if (s->vm_fd >= 0)
		close(s->vm_fd);
	for (i = 0; i < MAX_CPUS; i++)
		if (s->vcpu_fds[i] >= 0)
			close(s->vcpu_fds[i]);
	free(s);
}

void kvm_stats_close(struct vm *vm)
{
	if (vm->stats)
		close_all(vm->stats);
	vm->stats = NULL;
}

/* KVM serves an ioctl of a vCPU only while that is not in KVM_RUN: it would wait for ever. */
static void open_all(struct vm *vm)
{
	struct kvm_stats *s = malloc(sizeof(*s));
	unsigned int i;

	if (!s)
		return;
	memset(s, 0xff, sizeof(*s));
	vm_hold_vcpus(vm);
	s->vm_fd = ioctl(vm->vm_fd, KVM_GET_STATS_FD, 0);
	for (i = 0; i < vm->cfg->cpus; i++)
		s->vcpu_fds[i] = ioctl(vm->vcpus[i].fd, KVM_GET_STATS_FD, 0);
	vm_release_vcpus(vm);
	vm->stats = s;
}

static bool read_at(int fd, void *to, size_t len, uint64_t offset)
{
	return pread(fd, to, len, (off_t)offset) == (ssize_t)len;
}

/* The kernel is trusted; the bounds are for a newer one that means something else. */
static int each(int fd, const struct kvm_stats_header *h, uint8_t *descs, uint64_t *values,
		stats_fn *fn, void *arg)
{
	size_t stride = sizeof(struct kvm_stats_desc) + h->name_size;
	const struct kvm_stats_desc *d;
	uint32_t i;

	if (!read_at(fd, descs, h->num_desc * stride, h->desc_offset))
		return -1;
	for (i = 0; i < h->num_desc; i++) {
		d = (const struct kvm_stats_desc *)(descs + i * stride);
		if (!d->size || d->size > MAX_BYTES / sizeof(*values) ||
		    !memchr(d->name, 0, h->name_size) ||
		    !read_at(fd, values, d->size * sizeof(*values), h->data_offset + d->offset))
			return -1;
		fn(arg, d, values);
	}
	return 0;
}

int kvm_stats_each(struct vm *vm, int vcpu, stats_fn *fn, void *arg)
{
	struct kvm_stats_header h;
	uint64_t *values;
	uint8_t *descs;
	int fd, r = -1;

	if (!vm->stats)
		open_all(vm);
	if (!vm->stats)
		return -1;
	fd = vcpu == STATS_OF_VM ? vm->stats->vm_fd : vm->stats->vcpu_fds[vcpu];
	if (fd < 0 || !read_at(fd, &h, sizeof(h), 0) || h.num_desc > MAX_STATS ||
	    h.name_size > MAX_NAME)
		return -1;
	descs = malloc(h.num_desc * (sizeof(struct kvm_stats_desc) + h.name_size));
	values = malloc(MAX_BYTES);
	if (descs && values)
		r = each(fd, &h, descs, values, fn, arg);
	free(descs);
	free(values);
	return r;
}
