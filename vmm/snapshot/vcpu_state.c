// SPDX-License-Identifier: Apache-2.0
/*
 * What KVM keeps for a vCPU (Documentation/virt/kvm/api.rst), and the order it wants it back in.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "snapshot/state.h"

#define MSR_TSC		 0x10
#define MSR_TSC_DEADLINE 0x6e0
#define MSRS_MAX	 1024
#define BLOB_MAX	 65536u /* XSAVE areas and nested state are some KiB */

struct msrs {
	struct kvm_msrs head;
	struct kvm_msr_entry entries[MSRS_MAX];
};

/* State that one ioctl gets and one sets, of a fixed size. */
static const struct plain {
	enum snap_kind kind;
	unsigned long get, set;
	uint32_t size;
	const char *name;
} plain[] = {
	/* KVM_GET_MP_STATE handles a pending INIT or SIPI, which changes the rest: it comes first.
	 */
	{SNAP_MP_STATE, KVM_GET_MP_STATE, KVM_SET_MP_STATE, sizeof(struct kvm_mp_state),
	 "MP_STATE"},
	{SNAP_SREGS, KVM_GET_SREGS, KVM_SET_SREGS, sizeof(struct kvm_sregs), "SREGS"},
	{SNAP_REGS, KVM_GET_REGS, KVM_SET_REGS, sizeof(struct kvm_regs), "REGS"},
	{SNAP_XCRS, KVM_GET_XCRS, KVM_SET_XCRS, sizeof(struct kvm_xcrs), "XCRS"},
	{SNAP_DEBUGREGS, KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS, sizeof(struct kvm_debugregs),
	 "DEBUGREGS"},
	{SNAP_LAPIC, KVM_GET_LAPIC, KVM_SET_LAPIC, sizeof(struct kvm_lapic_state), "LAPIC"},
	{SNAP_EVENTS, KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, sizeof(struct kvm_vcpu_events),
	 "VCPU_EVENTS"},
};

#define NPLAIN (sizeof(plain) / sizeof(plain[0]))

union any_plain {
	struct kvm_mp_state mp_state;
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	struct kvm_xcrs xcrs;
	struct kvm_debugregs debugregs;
	struct kvm_lapic_state lapic;
	struct kvm_vcpu_events events;
};

static int kvm_error(struct error *e, const struct vcpu *v, const char *what)
{
	return error_set(e, ERROR_MACHINE, "KVM: vCPU %u: %s: %s", v->index, what, strerror(errno));
}

static int save_plain(struct vcpu *v, struct snap_out *o, struct error *e)
{
	const struct plain *p;
	union any_plain state;

	for (p = plain; p < plain + NPLAIN; p++) {
		memset(&state, 0, sizeof(state));
		if (ioctl(v->fd, p->get, &state))
			return kvm_error(e, v, p->name);
		snap_begin(o, p->kind, v->index);
		snap_put(o, &state, p->size);
		snap_end(o);
	}
	return 0;
}

static int load_plain(struct vcpu *v, const uint8_t *file, enum snap_kind kind, struct error *e)
{
	const struct plain *p = plain;
	union any_plain state;
	struct snap_in in;

	while (p->kind != kind)
		p++;
	snap_find(file, kind, v->index, &in);
	snap_take_to(&in, &state, p->size);
	if (snap_done(&in, p->name, e))
		return -1;
	return ioctl(v->fd, p->set, &state) ? kvm_error(e, v, p->name) : 0;
}

static int save_cpuid(struct vcpu *v, struct snap_out *o, struct error *e)
{
	static struct cpuid_table t; /* under the VM's lock */

	t.head.nent = CPUID_MAX;
	if (ioctl(v->fd, KVM_GET_CPUID2, &t))
		return kvm_error(e, v, "KVM_GET_CPUID2");
	snap_begin(o, SNAP_CPUID, v->index);
	snap_put(o, t.entries, t.head.nent * sizeof(t.entries[0]));
	snap_end(o);
	return 0;
}

int state_load_cpuid(struct vcpu *v, const uint8_t *file, const struct cpuid_table *host,
		     struct error *e)
{
	static struct cpuid_table t;
	struct snap_in in;

	snap_find(file, SNAP_CPUID, v->index, &in);
	t.head.nent = in.len / sizeof(t.entries[0]);
	if (t.head.nent > CPUID_MAX)
		in.bad = true;
	else
		snap_take_to(&in, t.entries, t.head.nent * sizeof(t.entries[0]));
	if (snap_done(&in, "the CPUID table", e) || state_check_cpuid(&t, host, e))
		return -1;
	return ioctl(v->fd, KVM_SET_CPUID2, &t) ? kvm_error(e, v, "KVM_SET_CPUID2") : 0;
}

/* The XSAVE area has as many bytes as KVM says for this VM, at least a page. */
static uint32_t xsave_size(const struct vcpu *v)
{
	int size = ioctl(v->vm->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);

	return size > (int)sizeof(struct kvm_xsave) ? (uint32_t)size : sizeof(struct kvm_xsave);
}

static int save_xsave(struct vcpu *v, struct snap_out *o, struct error *e)
{
	uint32_t size = xsave_size(v);
	bool wide = size > sizeof(struct kvm_xsave);
	void *area = size <= BLOB_MAX ? calloc(1, size) : NULL;
	int r = 0;

	if (!area || ioctl(v->fd, wide ? KVM_GET_XSAVE2 : KVM_GET_XSAVE, area))
		r = kvm_error(e, v, "KVM_GET_XSAVE");
	snap_begin(o, SNAP_XSAVE, v->index);
	if (!r)
		snap_put(o, area, size);
	snap_end(o);
	free(area);
	return r;
}

static int load_xsave(struct vcpu *v, const uint8_t *file, struct error *e)
{
	uint32_t size = xsave_size(v);
	struct snap_in in;
	void *area;
	int r;

	snap_find(file, SNAP_XSAVE, v->index, &in);
	if (!in.bad && in.len > size)
		return error_set(e, ERROR_USER, "holds more XSAVE state than this CPU has");
	area = size <= BLOB_MAX ? calloc(1, size) : NULL;
	if (!area)
		return kvm_error(e, v, "KVM_SET_XSAVE");
	if (in.len < sizeof(struct kvm_xsave))
		in.bad = true;
	else
		snap_take_to(&in, area, in.len);
	r = snap_done(&in, "the XSAVE area", e);
	if (!r && ioctl(v->fd, KVM_SET_XSAVE, area))
		r = kvm_error(e, v, "KVM_SET_XSAVE");
	free(area);
	return r;
}

/* The state of a guest that runs guests of its own; nothing where KVM offers it none. */
static int save_nested(struct vcpu *v, struct snap_out *o, struct error *e)
{
	int size = ioctl(v->vm->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_NESTED_STATE);
	struct kvm_nested_state *n;
	int r = 0;

	if (size < (int)sizeof(*n) || size > (int)BLOB_MAX)
		return 0;
	n = calloc(1, size);
	if (!n)
		return kvm_error(e, v, "KVM_GET_NESTED_STATE");
	n->size = size;
	if (ioctl(v->fd, KVM_GET_NESTED_STATE, n)) {
		r = kvm_error(e, v, "KVM_GET_NESTED_STATE");
	} else if (n->size > sizeof(*n) || n->flags) {
		snap_begin(o, SNAP_NESTED, v->index);
		snap_put(o, n, n->size);
		snap_end(o);
	}
	free(n);
	return r;
}

static int load_nested(struct vcpu *v, const uint8_t *file, struct error *e)
{
	struct kvm_nested_state *n;
	struct snap_in in;
	int r;

	if (!snap_find(file, SNAP_NESTED, v->index, &in))
		return 0;
	if (in.len < sizeof(*n) || in.len > BLOB_MAX)
		in.bad = true;
	n = calloc(1, BLOB_MAX);
	if (!n)
		return kvm_error(e, v, "KVM_SET_NESTED_STATE");
	snap_take_to(&in, n, in.bad ? 0 : in.len);
	n->size = n->size < BLOB_MAX ? n->size : BLOB_MAX; /* all of which is ours to read */
	r = snap_done(&in, "the nested state", e);
	if (!r && ioctl(v->fd, KVM_SET_NESTED_STATE, n))
		r = kvm_error(e, v, "KVM_SET_NESTED_STATE");
	free(n);
	return r;
}

/*
 * Fills in the values KVM has for the entries' indices; what it cannot read is left out.  Each
 * call stops at the first of those.
 */
static void get_msrs(const struct vcpu *v, struct msrs *m)
{
	struct kvm_msr_entry *from = m->entries, *end = from + m->head.nmsrs, *to = m->entries;
	static struct msrs part; /* under the VM's lock, or before there is a thread */
	int n;

	for (; from < end; from++) {
		part.head.nmsrs = end - from;
		memcpy(part.entries, from, part.head.nmsrs * sizeof(*from));
		n = ioctl(v->fd, KVM_GET_MSRS, &part);
		if (n <= 0)
			continue;
		memcpy(to, part.entries, n * sizeof(*to));
		to += n;
		from += n;
		if (from >= end)
			break;
	}
	m->head.nmsrs = to - m->entries;
}

static int list_msrs(struct vcpu *v, struct msrs *m, struct error *e)
{
	struct {
		struct kvm_msr_list head;
		uint32_t indices[MSRS_MAX];
	} list = {.head.nmsrs = MSRS_MAX};
	uint32_t i;

	if (ioctl(v->vm->kvm_fd, KVM_GET_MSR_INDEX_LIST, &list))
		return kvm_error(e, v, "KVM_GET_MSR_INDEX_LIST");
	m->head.nmsrs = list.head.nmsrs;
	for (i = 0; i < list.head.nmsrs; i++)
		m->entries[i] = (struct kvm_msr_entry){.index = list.head.indices[i]};
	return 0;
}

static int save_msrs(struct vcpu *v, struct snap_out *o, struct error *e)
{
	static struct msrs m;

	if (list_msrs(v, &m, e))
		return -1;
	get_msrs(v, &m);
	snap_begin(o, SNAP_MSRS, v->index);
	snap_put(o, m.entries, m.head.nmsrs * sizeof(m.entries[0]));
	snap_end(o);
	return 0;
}

static int set_msr(const struct vcpu *v, uint32_t index, uint64_t value)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} m = {.head.nmsrs = 1, .entry = {.index = index, .data = value}};

	return ioctl(v->fd, KVM_SET_MSRS, &m) == 1 ? 0 : -1;
}

static int take_msrs(const struct vcpu *v, const uint8_t *file, struct msrs *m, struct error *e)
{
	struct snap_in in;

	snap_find(file, SNAP_MSRS, v->index, &in);
	m->head.nmsrs = in.len / sizeof(m->entries[0]);
	if (m->head.nmsrs > MSRS_MAX)
		in.bad = true;
	else
		snap_take_to(&in, m->entries, m->head.nmsrs * sizeof(m->entries[0]));
	return snap_done(&in, "the list of MSRs", e);
}

/*
 * What the new vCPU has already is left alone: some MSRs can be read but not written, and a
 * write has side effects.  The TSC and its deadline come last (state_load_deadline()).
 */
static int load_msrs(struct vcpu *v, const uint8_t *file, struct error *e)
{
	static struct msrs want, have;
	const struct kvm_msr_entry *w, *h, *end;

	if (take_msrs(v, file, &want, e))
		return -1;
	have = want;
	get_msrs(v, &have);
	h = have.entries;
	end = h + have.head.nmsrs;
	for (w = want.entries; w < want.entries + want.head.nmsrs; w++) {
		bool known = h < end && h->index == w->index;
		bool same = known && h->data == w->data;

		h += known;
		if (same || w->index == MSR_TSC || w->index == MSR_TSC_DEADLINE)
			continue;
		if (set_msr(v, w->index, w->data))
			return error_set(e, ERROR_MACHINE,
					 "needs MSR %#x to be %#llx, which KVM refuses here",
					 w->index, (unsigned long long)w->data);
	}
	return 0;
}

uint64_t state_get_msr(const struct vcpu *v, uint32_t index)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} m = {.head.nmsrs = 1, .entry.index = index};

	return ioctl(v->fd, KVM_GET_MSRS, &m) == 1 ? m.entry.data : 0;
}

int state_save_vcpu(struct vcpu *v, struct snap_out *o, struct error *e)
{
	return save_plain(v, o, e) || save_xsave(v, o, e) || save_nested(v, o, e) ||
			       save_msrs(v, o, e) || save_cpuid(v, o, e)
		       ? -1
		       : 0;
}

/*
 * SREGS set the mode that nested state and registers are checked against, and the APIC base for
 * LAPIC; the timer mode in LAPIC decides what MSRs may do; events and run state come last.
 */
int state_load_vcpu(struct vcpu *v, const uint8_t *file, struct error *e)
{
	if (load_plain(v, file, SNAP_SREGS, e) || load_nested(v, file, e) ||
	    load_plain(v, file, SNAP_REGS, e) || load_plain(v, file, SNAP_XCRS, e) ||
	    load_xsave(v, file, e) || load_plain(v, file, SNAP_DEBUGREGS, e) ||
	    load_plain(v, file, SNAP_LAPIC, e) || load_msrs(v, file, e) ||
	    load_plain(v, file, SNAP_EVENTS, e))
		return -1;
	return load_plain(v, file, SNAP_MP_STATE, e);
}

int state_load_deadline(struct vcpu *v, const uint8_t *file, struct error *e)
{
	struct kvm_msr_entry m;
	struct snap_in in;

	snap_find(file, SNAP_MSRS, v->index, &in);
	while (in.len >= sizeof(m)) {
		snap_take_to(&in, &m, sizeof(m));
		if (m.index == MSR_TSC_DEADLINE && m.data)
			set_msr(v, MSR_TSC_DEADLINE, m.data);
	}
	return snap_done(&in, "the list of MSRs", e);
}
