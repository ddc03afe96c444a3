// SPDX-License-Identifier: Apache-2.0
/*
 * Time across a snapshot: the guest's clocks go on as if it had been stopped, not as if the time
 * in between had not been.  kvmclock and every TSC advance by the wall-clock time since the save,
 * so that the guest's wall clock is right at once and its monotonic clock never goes back.
 * (Documentation/virt/kvm/devices/vcpu.rst, KVM_VCPU_TSC_OFFSET: the same for a migration.)
 */
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "log.h"
#include "snapshot/state.h"

#define MSR_TSC	  0x10
#define NS	  1000000000ull
#define TEN_YEARS (10 * 366 * 86400ull * NS) /* more is a clock gone wrong, or a bad file */
#define TOLERATED 250			     /* parts per million: KVM's own tolerance for a TSC */

/* What the section holds, once; then a struct tsc_state a vCPU in its own. */
struct clock_state {
	uint64_t kvmclock; /* ns */
	uint64_t realtime; /* ns since 1970, at the same moment */
};

struct tsc_state {
	uint64_t tsc;
	uint64_t offset; /* to the host's, of use only relative to those of other vCPUs */
	uint32_t khz;
	uint32_t has_offset;
};

static int kvm_error(struct error *e, const char *what)
{
	return error_set(e, ERROR_MACHINE, "KVM: %s: %s", what, strerror(errno));
}

static uint64_t realtime_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * NS + ts.tv_nsec;
}

/* Linux 5.16 and up: a TSC can be set without the time that the call takes. */
static int tsc_offset(const struct vcpu *v, unsigned long request, uint64_t *offset)
{
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uintptr_t)offset};

	return ioctl(v->fd, request, &attr);
}

int state_save_clock(struct vm *vm, struct snap_out *o, struct error *e)
{
	struct kvm_clock_data data = {0};
	struct clock_state c;
	struct tsc_state t;
	unsigned int i;
	int khz;

	if (ioctl(vm->vm_fd, KVM_GET_CLOCK, &data))
		return kvm_error(e, "KVM_GET_CLOCK");
	c.kvmclock = data.clock;
	c.realtime = data.flags & KVM_CLOCK_REALTIME ? data.realtime : realtime_ns();
	snap_begin(o, SNAP_CLOCK, 0);
	snap_put(o, &c, sizeof(c));
	snap_end(o);
	for (i = 0; i < vm->cfg->cpus; i++) {
		memset(&t, 0, sizeof(t));
		khz = ioctl(vm->vcpus[i].fd, KVM_GET_TSC_KHZ, 0);
		t.khz = khz > 0 ? khz : 0;
		t.has_offset = !tsc_offset(&vm->vcpus[i], KVM_GET_DEVICE_ATTR, &t.offset);
		t.tsc = state_get_msr(&vm->vcpus[i], MSR_TSC);
		snap_begin(o, SNAP_TSC, i);
		snap_put(o, &t, sizeof(t));
		snap_end(o);
	}
	return 0;
}

/* A hypervisor without TSC scaling cannot slow a TSC down; a guest may live with a little. */
static int set_rate(const struct vcpu *v, const struct tsc_state *t, struct error *e)
{
	int here = ioctl(v->fd, KVM_GET_TSC_KHZ, 0);
	uint64_t differ;

	if (!t->khz || here <= 0 || (uint32_t)here == t->khz)
		return 0;
	if (ioctl(v->fd, KVM_SET_TSC_KHZ, (unsigned long)t->khz) == 0)
		return 0;
	ioctl(v->fd, KVM_SET_TSC_KHZ, 0);
	differ = t->khz > (uint32_t)here ? t->khz - here : here - t->khz;
	if (differ * 1000000 / here <= TOLERATED)
		return 0;
	return error_set(e, ERROR_MACHINE,
			 "is of a machine whose TSC runs at %u kHz; this host's runs at %d kHz and "
			 "cannot be scaled",
			 t->khz, here);
}

static uint64_t ticks(uint64_t ns, uint32_t khz)
{
	return (uint64_t)((unsigned __int128)ns * khz / 1000000);
}

static int write_tsc(const struct vcpu *v, uint64_t tsc, struct error *e)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} m = {.head.nmsrs = 1, .entry = {.index = MSR_TSC, .data = tsc}};

	return ioctl(v->fd, KVM_SET_MSRS, &m) == 1 ? 0 : kvm_error(e, "the TSC");
}

/*
 * With offsets, vCPU 0 gets what makes its TSC right now, and the others keep their distance
 * from it to the tick.  Without, each is written; KVM brings those together that are close.
 */
static int set_tscs(struct vm *vm, const struct tsc_state *t, uint64_t saved_at, struct error *e)
{
	uint64_t now = realtime_ns(), offset, first = 0, want;
	unsigned int i;

	for (i = 0; i < vm->cfg->cpus; i++) {
		if (set_rate(&vm->vcpus[i], &t[i], e))
			return -1;
		now = realtime_ns();
		want = t[i].tsc + ticks(now > saved_at ? now - saved_at : 0, t[i].khz);
		if (!t[0].has_offset || tsc_offset(&vm->vcpus[i], KVM_GET_DEVICE_ATTR, &offset)) {
			if (write_tsc(&vm->vcpus[i], want, e))
				return -1;
			continue;
		}
		if (i == 0)
			first = offset + want - state_get_msr(&vm->vcpus[i], MSR_TSC);
		offset = first + t[i].offset - t[0].offset;
		if (tsc_offset(&vm->vcpus[i], KVM_SET_DEVICE_ATTR, &offset))
			return kvm_error(e, "KVM_VCPU_TSC_OFFSET");
	}
	return 0;
}

int state_load_clock(struct vm *vm, const uint8_t *file, struct error *e)
{
	struct kvm_clock_data data = {0};
	struct tsc_state t[MAX_CPUS];
	struct clock_state c;
	struct snap_in in;
	unsigned int i;
	uint64_t now;

	snap_find(file, SNAP_CLOCK, 0, &in);
	snap_take_to(&in, &c, sizeof(c));
	if (snap_done(&in, "the clock", e))
		return -1;
	for (i = 0; i < vm->cfg->cpus; i++) {
		snap_find(file, SNAP_TSC, i, &in);
		snap_take_to(&in, &t[i], sizeof(t[i]));
		if (snap_done(&in, "a TSC", e))
			return -1;
	}
	now = realtime_ns();
	if (now < c.realtime || now - c.realtime > TEN_YEARS) {
		log_line("the snapshot's time is in the future or long ago: its clock goes on from "
			 "there");
		c.realtime = now;
	}
	if (set_tscs(vm, t, c.realtime, e))
		return -1;
	now = realtime_ns();
	data.clock = c.kvmclock + (now > c.realtime ? now - c.realtime : 0);
	if (ioctl(vm->vm_fd, KVM_SET_CLOCK, &data))
		return kvm_error(e, "KVM_SET_CLOCK");
	for (i = 0; i < vm->cfg->cpus; i++) {
		if (state_load_deadline(&vm->vcpus[i], file, e))
			return -1;
		/* Keeps the guest's watchdogs from counting the time in between. */
		ioctl(vm->vcpus[i].fd, KVM_KVMCLOCK_CTRL);
	}
	return 0;
}
