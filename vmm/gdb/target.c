// SPDX-License-Identifier: Apache-2.0
/* The KVM side of the debugger: registers, addresses, and what makes a vCPU exit. */
#include "gdb/target.h"

#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vm.h"

#define PAGE 4096u

/* Debug registers, Intel SDM volume 3, 18.2: what reads as one whatever was written. */
#define DR7_FIXED 0x400u
#define DR6_FIXED 0xffff0ff0u

static void take_fpu(struct gdb_registers *r, const struct kvm_fpu *fpu)
{
	unsigned int i;

	/* The tag word in memory has one bit a register (FXSAVE); gdb wants two: 3 is empty. */
	for (i = 0; i < 8; i++) {
		memcpy(r->st[i], fpu->fpr[i], sizeof(r->st[i]));
		if (!(fpu->ftwx >> i & 1))
			r->ftag |= 3u << 2 * i;
	}
	r->fctrl = fpu->fcw;
	r->fstat = fpu->fsw;
	r->fop = fpu->last_opcode;
	r->fioff = (uint32_t)fpu->last_ip;
	r->fooff = (uint32_t)fpu->last_dp;
	memcpy(r->xmm, fpu->xmm, sizeof(r->xmm));
	r->mxcsr = fpu->mxcsr;
}

static void give_fpu(const struct gdb_registers *r, struct kvm_fpu *fpu)
{
	unsigned int i;

	fpu->ftwx = 0;
	for (i = 0; i < 8; i++) {
		memcpy(fpu->fpr[i], r->st[i], sizeof(r->st[i]));
		if ((r->ftag >> 2 * i & 3) != 3)
			fpu->ftwx |= (uint8_t)(1u << i);
	}
	fpu->fcw = (uint16_t)r->fctrl;
	fpu->fsw = (uint16_t)r->fstat;
	memcpy(fpu->xmm, r->xmm, sizeof(r->xmm));
	fpu->mxcsr = r->mxcsr;
}

static int get_registers(struct vcpu *v, struct gdb_registers *r)
{
	struct kvm_sregs s;
	struct kvm_regs g;
	struct kvm_fpu fpu;

	if (ioctl(v->fd, KVM_GET_REGS, &g) || ioctl(v->fd, KVM_GET_SREGS, &s) ||
	    ioctl(v->fd, KVM_GET_FPU, &fpu))
		return -1;
	*r = (struct gdb_registers){
		.rax = g.rax,
		.rbx = g.rbx,
		.rcx = g.rcx,
		.rdx = g.rdx,
		.rsi = g.rsi,
		.rdi = g.rdi,
		.rbp = g.rbp,
		.rsp = g.rsp,
		.r8 = g.r8,
		.r9 = g.r9,
		.r10 = g.r10,
		.r11 = g.r11,
		.r12 = g.r12,
		.r13 = g.r13,
		.r14 = g.r14,
		.r15 = g.r15,
		.rip = g.rip,
		.eflags = (uint32_t)g.rflags,
		.cs = s.cs.selector,
		.ss = s.ss.selector,
		.ds = s.ds.selector,
		.es = s.es.selector,
		.fs = s.fs.selector,
		.gs = s.gs.selector,
		.fs_base = s.fs.base,
		.gs_base = s.gs.base,
		.cr0 = s.cr0,
		.cr2 = s.cr2,
		.cr3 = s.cr3,
		.cr4 = s.cr4,
		.cr8 = s.cr8,
		.efer = s.efer,
	};
	take_fpu(r, &fpu);
	return 0;
}

/* Only what changed: KVM does much for a write of CR0, and may refuse what it accepted before. */
static int set_system(struct vcpu *v, const struct gdb_registers *r)
{
	struct kvm_sregs s, before;

	if (ioctl(v->fd, KVM_GET_SREGS, &s))
		return -1;
	before = s;
	s.fs.base = r->fs_base;
	s.gs.base = r->gs_base;
	s.cr0 = r->cr0;
	s.cr2 = r->cr2;
	s.cr3 = r->cr3;
	s.cr4 = r->cr4;
	s.cr8 = r->cr8;
	s.efer = r->efer;
	return memcmp(&s, &before, sizeof(s)) ? ioctl(v->fd, KVM_SET_SREGS, &s) : 0;
}

/* Selectors stay: a debugger that writes one would get a segment that no descriptor describes. */
static int set_registers(struct vcpu *v, const struct gdb_registers *r)
{
	struct kvm_regs g = {
		.rax = r->rax,
		.rbx = r->rbx,
		.rcx = r->rcx,
		.rdx = r->rdx,
		.rsi = r->rsi,
		.rdi = r->rdi,
		.rbp = r->rbp,
		.rsp = r->rsp,
		.r8 = r->r8,
		.r9 = r->r9,
		.r10 = r->r10,
		.r11 = r->r11,
		.r12 = r->r12,
		.r13 = r->r13,
		.r14 = r->r14,
		.r15 = r->r15,
		.rip = r->rip,
		.rflags = r->eflags,
	};
	struct kvm_fpu fpu;

	if (set_system(v, r) || ioctl(v->fd, KVM_GET_FPU, &fpu))
		return -1;
	give_fpu(r, &fpu);
	if (ioctl(v->fd, KVM_SET_FPU, &fpu))
		return -1;
	return ioctl(v->fd, KVM_SET_REGS, &g);
}

static int translate(struct vcpu *v, uint64_t address, uint64_t *gpa)
{
	struct kvm_translation t = {.linear_address = address};

	if (ioctl(v->fd, KVM_TRANSLATE, &t) || !t.valid)
		return -1;
	*gpa = t.physical_address;
	return 0;
}

/* The guest finds in DR6 what the exception was about, as the CPU would have left it. */
static void leave_dr6(struct vcpu *v, uint64_t dr6)
{
	struct kvm_debugregs regs;

	if (ioctl(v->fd, KVM_GET_DEBUGREGS, &regs))
		return;
	regs.dr6 = DR6_FIXED | dr6;
	ioctl(v->fd, KVM_SET_DEBUGREGS, &regs);
}

static int arm(struct vcpu *v, const struct debug_control *c)
{
	struct kvm_guest_debug d = {0};

	if (c->on)
		d.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP;
	/*
	 * A step that ended in the handler of whatever interrupt was due would be of little use.
	 * Kernels before 5.16 do not know BLOCKIRQ and take no notice of it.
	 */
	if (c->step)
		d.control |= KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_BLOCKIRQ;
	if (c->dr7) {
		d.control |= KVM_GUESTDBG_USE_HW_BP;
		memcpy(d.arch.debugreg, c->address, sizeof(c->address));
		d.arch.debugreg[7] = c->dr7 | DR7_FIXED;
	}
	if (c->inject == INJECT_DEBUG) {
		leave_dr6(v, c->dr6);
		d.control |= KVM_GUESTDBG_INJECT_DB;
	} else if (c->inject == INJECT_BREAKPOINT) {
		d.control |= KVM_GUESTDBG_INJECT_BP;
	}
	return ioctl(v->fd, KVM_SET_GUEST_DEBUG, &d);
}

static const char *state(struct vcpu *v)
{
	struct kvm_mp_state mp;

	if (ioctl(v->fd, KVM_GET_MP_STATE, &mp))
		return "unknown";
	switch (mp.mp_state) {
	case KVM_MP_STATE_RUNNABLE:
		return "running";
	case KVM_MP_STATE_HALTED:
		return "halted";
	case KVM_MP_STATE_UNINITIALIZED:
	case KVM_MP_STATE_INIT_RECEIVED:
		return "not started by the guest";
	}
	return "starting";
}

const struct target_ops kvm_target = {
	.get_registers = get_registers,
	.set_registers = set_registers,
	.translate = translate,
	.arm = arm,
	.state = state,
};

int target_ram(const struct target_ops *ops, struct vcpu *v, uint64_t address, uint64_t *gpa)
{
	if (!ops->translate(v, address, gpa) && memory_at(&v->vm->mem, *gpa, 1))
		return 0;
	if (!image_translate(&v->vm->boot.kernel, address, gpa) && memory_at(&v->vm->mem, *gpa, 1))
		return 0;
	return -1;
}

/* The bytes from address to the end of its page, at most len. */
static uint64_t in_page(uint64_t address, uint64_t len)
{
	uint64_t room = PAGE - (address & (PAGE - 1));

	return len < room ? len : room;
}

uint64_t target_read(const struct target_ops *ops, struct vcpu *v, uint64_t at, void *to,
		     uint64_t len)
{
	uint64_t done, part, gpa;

	for (done = 0; done < len; done += part) {
		part = in_page(at + done, len - done);
		if (target_ram(ops, v, at + done, &gpa) ||
		    memory_read(&v->vm->mem, gpa, (uint8_t *)to + done, part))
			break;
	}
	return done;
}

uint64_t target_write(const struct target_ops *ops, struct vcpu *v, uint64_t at, const void *from,
		      uint64_t len)
{
	uint64_t done, part, gpa;

	for (done = 0; done < len; done += part) {
		part = in_page(at + done, len - done);
		if (target_ram(ops, v, at + done, &gpa) ||
		    memory_write(&v->vm->mem, gpa, (const uint8_t *)from + done, part))
			break;
	}
	return done;
}
