/* SPDX-License-Identifier: Apache-2.0 */
/* A VM without KVM whose vCPUs a debugger can look at: registers in arrays, 1:1 page tables. */
#ifndef TEST_GDB_FIXTURE_H
#define TEST_GDB_FIXTURE_H

#include <linux/kvm.h>

#include "gdb/stub.h"
#include "vm_fixture.h"

#define KERNEL_BASE 0xffffffff80000000ull /* RAM is here, too, when `mapped` */

static struct gdb_registers fake_registers[MAX_CPUS];
static struct debug_control fake_armed[MAX_CPUS];
static struct kvm_run fake_run[MAX_CPUS];
static bool mapped = true;

static int fake_get(struct vcpu *v, struct gdb_registers *r)
{
	*r = fake_registers[v->index];
	return 0;
}

static int fake_set(struct vcpu *v, const struct gdb_registers *r)
{
	fake_registers[v->index] = *r;
	return 0;
}

static int fake_translate(struct vcpu *v, uint64_t address, uint64_t *gpa)
{
	(void)v;
	*gpa = mapped && address >= KERNEL_BASE ? address - KERNEL_BASE : address;
	return mapped ? 0 : -1;
}

static int fake_arm(struct vcpu *v, const struct debug_control *c)
{
	fake_armed[v->index] = *c;
	return 0;
}

static const char *fake_state(struct vcpu *v)
{
	(void)v;
	return "tested";
}

static const struct target_ops fake_target = {.get_registers = fake_get,
					      .set_registers = fake_set,
					      .translate = fake_translate,
					      .arm = fake_arm,
					      .state = fake_state};

static inline void open_debugged_vm(const struct trap *trap)
{
	static struct vm_config cfg = {.name = "debugged"};
	struct error e;
	unsigned int i;

	open_vm(&cfg);
	CHECK(gdb_listen(&vm, in_folder("gdb.sock"), &e) == 0);
	vm.gdb->ops = &fake_target;
	vm.gdb->trap = trap;
	for (i = 0; i < cfg.cpus; i++) {
		vm.vcpus[i].vm = &vm;
		vm.vcpus[i].index = i;
		vm.vcpus[i].fd = -1;
		vm.vcpus[i].run = &fake_run[i];
	}
}

static inline void remove_debugged_vm(void)
{
	unlink(in_folder("gdb.sock"));
	remove_vm();
}

/* vCPU `cpu` leaves the guest by #DB (1) or #BP (3). */
static inline void debug_exit(unsigned int cpu, uint32_t exception, uint64_t pc, uint64_t dr6)
{
	fake_run[cpu].debug.arch.exception = exception;
	fake_run[cpu].debug.arch.pc = pc;
	fake_run[cpu].debug.arch.dr6 = dr6;
	gdb_debug_exit(&vm.vcpus[cpu]);
	settle();
}

#endif
