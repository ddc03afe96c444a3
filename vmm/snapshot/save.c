// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <unistd.h>

#include "control.h"
#include "hermit/saved.h"
#include "snapshot/ram.h"
#include "snapshot/snapshot.h"
#include "snapshot/state.h"

#define PAGE 4096ull

/* What KVM noted joins what memory.c noted; KVM's own notes begin anew with that. */
static int fetch_log(struct vm *vm, uint32_t slot, uint64_t first, uint64_t pages, struct error *e)
{
	struct kvm_dirty_log log = {.slot = slot};
	uint64_t i, words = (pages + 63) / 64;
	uint64_t *bits;
	int r = 0;

	if (!pages)
		return 0;
	bits = calloc(words, sizeof(*bits));
	if (!bits)
		return error_set(e, ERROR_MACHINE, "out of memory");
	log.dirty_bitmap = bits;
	if (ioctl(vm->vm_fd, KVM_GET_DIRTY_LOG, &log))
		r = error_set(e, ERROR_MACHINE, "KVM: KVM_GET_DIRTY_LOG: %s", strerror(errno));
	for (i = 0; !r && i < words; i++)
		vm->mem.dirty[first / 64 + i] |= bits[i];
	free(bits);
	return r;
}

/* Rings are written through pointers that devices keep. */
static void mark_rings(const struct vm *vm)
{
	const struct virtio_dev *dev;
	const struct vq *q;
	unsigned int i, n;

	for (i = 0; i < vm->ndevices; i++) {
		dev = vm->devices[i];
		for (n = 0; n < dev->nqueues; n++) {
			q = &dev->queues[n];
			if (!q->ready)
				continue;
			/* The longest that they can be; what lies behind is only saved in vain. */
			memory_mark(&vm->mem, q->desc, 16ull * q->size);
			memory_mark(&vm->mem, q->avail, 4);
			memory_mark(&vm->mem, q->used, q->packed ? 4 : 6 + 8ull * q->size);
		}
	}
}

static int collect_dirty(struct vm *vm, struct error *e)
{
	uint64_t low = vm->mem.low / PAGE, all = vm->mem.size / PAGE;

	mark_rings(vm);
	return fetch_log(vm, 0, 0, low, e) || fetch_log(vm, 1, low, all - low, e) ? -1 : 0;
}

static int set_tracking(struct vm *vm, bool on, struct error *e)
{
	unsigned int i;

	for (i = 0; on && i < vm->ndevices; i++)
		if (vm->devices[i]->notifiers)
			return error_set(e, ERROR_USER,
					 "virtio-%s is served outside of this process, and nobody "
					 "notes what it writes: no increments",
					 vm->devices[i]->ops->name);
	if (on && vm->mem.dirty) {
		memset(vm->mem.dirty, 0, (vm->mem.size / PAGE + 63) / 64 * 8);
		return 0; /* and KVM's log was fetched */
	}
	/* In this order: to map RAM is to ask memory_at() for all of it. */
	if (machine_map_memory(vm, on ? KVM_MEM_LOG_DIRTY_PAGES : 0, e))
		return -1;
	if (memory_track(&vm->mem, on))
		return error_set(e, ERROR_MACHINE, "out of memory");
	return 0;
}

void snapshot_forget(struct vm *vm)
{
	memory_track(&vm->mem, false);
}

static void save_options(const struct vm *vm, struct snap_out *o)
{
	const struct travelling_option *t = vm->cfg->travels;
	unsigned int i;

	snap_begin(o, SNAP_OPTIONS, 0);
	for (i = 0; i < vm->cfg->ntravels; i++) {
		snap_put(o, t[i].name, strlen(t[i].name) + 1);
		snap_put(o, t[i].value, strlen(t[i].value) + 1);
	}
	snap_end(o);
}

static int save_state(struct vm *vm, struct snap_out *o, struct error *e)
{
	unsigned int i;

	save_options(vm, o);
	for (i = 0; i < vm->cfg->cpus; i++)
		if (state_save_vcpu(&vm->vcpus[i], o, e))
			return -1;
	if (state_save_clock(vm, o, e) || state_save_machine(vm, o, e))
		return -1;
	state_save_devices(vm, o);
	if (vm->hermit)
		unikernel_save(vm, o);
	return 0;
}

static int write_state(int fd, const struct snap_out *o, struct error *e)
{
	size_t at = 0;
	ssize_t n;

	while (at < o->len) {
		n = pwrite(fd, o->data + at, o->len - at, (off_t)at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			error_set(e, ERROR_MACHINE, "the state file: %s", strerror(errno));
			if (ftruncate(fd, 0))
				return -1; /* a part of one is refused as well: its sum is wrong */
			return -1;
		}
		at += n;
	}
	return 0;
}

/* All is still.  The state file comes last: without it the memory file is nothing. */
static int save_all(struct vm *vm, const struct snapshot_request *r, struct snapshot_result *result,
		    struct error *e)
{
	const uint64_t *dirty = r->base ? vm->mem.dirty : NULL;
	struct snap_out o;
	int failed;

	if (vm->mem.dirty && collect_dirty(vm, e))
		return -1;
	snap_create(&o, result->id);
	failed = ftruncate(r->state_fd, 0)
			 ? error_set(e, ERROR_MACHINE, "the state file: %s", strerror(errno))
			 : save_state(vm, &o, e);
	if (!failed)
		failed = ram_write(&vm->mem, dirty, r->base, r->memory_fd, result->id, &o,
				   &result->written, e);
	if (!failed && snap_finish(&o))
		failed = error_set(e, ERROR_MACHINE, "the state is too large");
	if (!failed)
		failed = write_state(r->state_fd, &o, e);
	snap_discard(&o);
	return failed;
}

/* What an increment builds on is noted once the snapshot is complete, never before. */
static int note_base(struct vm *vm, const struct snapshot_request *r,
		     const struct snapshot_result *result, struct error *e)
{
	bool on = r->track || r->base;

	if (!on && !vm->mem.dirty)
		return 0;
	if (set_tracking(vm, on, e)) {
		snapshot_forget(vm);
		return -1;
	}
	memcpy(vm->snapshot_base, result->id, SNAP_ID);
	return 0;
}

static int check_request(const struct vm *vm, const struct snapshot_request *r, struct error *e)
{
	if (vm->request || (vm->state != VM_RUNNING && vm->state != VM_PAUSED))
		return error_set(e, ERROR_USER,
				 "the VM has panicked, ends, is being reset or debugged");
	if (r->base && !vm->mem.dirty)
		return error_set(e, ERROR_USER,
				 "nothing was noted since: make a full snapshot with 'track' first "
				 "(a reset ends it)");
	if (r->base && memcmp(r->base, vm->snapshot_base, SNAP_ID))
		return error_set(e, ERROR_USER,
				 "the base is not the last snapshot with 'track' of this VM");
	return unikernel_can_save(vm, e) || state_can_save_devices(vm, e) ? -1 : 0;
}

int snapshot_save(struct vm *vm, const struct snapshot_request *r, struct snapshot_result *result,
		  struct error *e)
{
	bool ran = vm->state == VM_RUNNING;
	int failed;

	if (check_request(vm, r, e))
		return -1;
	if (getrandom(result->id, SNAP_ID, 0) != SNAP_ID)
		return error_set(e, ERROR_MACHINE, "no random numbers: %s", strerror(errno));
	vm_stop(vm);
	if (ran)
		control_event(vm->control, "STOP", NULL);
	/* A vCPU may have asked for the end before it parked. */
	failed = vm->request ? error_set(e, ERROR_USER, "the VM ends or is being reset") : 0;
	if (!failed) {
		state_quiesce_devices(vm);
		failed = save_all(vm, r, result, e) || note_base(vm, r, result, e) ? -1 : 0;
		state_resume_devices(vm);
	}
	if (ran) {
		vm_continue(vm);
		if (vm->state == VM_RUNNING)
			control_event(vm->control, "RESUME", NULL);
	}
	return failed;
}
