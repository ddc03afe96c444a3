// SPDX-License-Identifier: Apache-2.0
/* A vCPU's life: creation, first registers, the KVM_RUN loop and its exits. */
#include <errno.h>
#include <linux/kvm.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cpuid.h"
#include "gdb/gdb.h"
#include "hermit/machine.h"
#include "isle/isle.h"
#include "jail/jail.h"
#include "log.h"
#include "snapshot/snapshot.h"
#include "vm.h"
#include "x86.h"

#define MSR_TSC		  0x10
#define MSR_MISC_ENABLE	  0x1a0
#define MISC_FAST_STRING  1ull
#define MSR_MTRR_DEF_TYPE 0x2ff
#define MTRR_ENABLED_WB	  0x806ull /* enabled, default write-back */
#define CPUID_POWER	  0x80000007
#define INVARIANT_TSC	  (1u << 8) /* of its EDX */

#define VCPU_STACK (64u << 10) /* bytes; a vCPU's deepest path is a few KiB */

#define SEL_CODE 0x10
#define SEL_DATA 0x18
#define SEL_TSS	 0x20

static int kvm_error(struct error *e, const char *what)
{
	return error_set(e, ERROR_MACHINE, "KVM: %s: %s", what, strerror(errno));
}

/* KVM allocates and clears what is asked for. */
static int get_supported_cpuid(const struct vm *vm, struct cpuid_table *t, unsigned int room)
{
	t->head.nent = room;
	return ioctl(vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, t);
}

static int set_cpuid(struct vcpu *v, struct error *e)
{
	static struct cpuid_table table; /* made once; vCPUs are created by one thread */
	struct vm *vm = v->vm;
	struct cpuid_machine m = {.topology = vm->cfg->topology, .model = vm->cfg->cpu_model};
	struct kvm_cpuid_entry2 *power;
	int khz;

	if (!table.head.nent) {
		if (get_supported_cpuid(vm, &table, CPUID_USUAL) &&
		    get_supported_cpuid(vm, &table, CPUID_MAX))
			return kvm_error(e, "KVM_GET_SUPPORTED_CPUID");
		khz = ioctl(v->fd, KVM_GET_TSC_KHZ);
		m.tsc_khz = khz > 0 ? khz : 0;
		m.no_xsave = cpuid_host_is_tcg();
		m.undisturbed = vm->cfg->isle.wanted;
		m.tsc_deadline =
			ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
		if (cpuid_common(&table, &m, e))
			return -1;
		power = cpuid_find(&table, CPUID_POWER, 0);
		vm->boot.tsc_invariant = power && (power->edx & INVARIANT_TSC);
	}
	cpuid_for_cpu(&table, &vm->cfg->topology, v->index);
	if (vm->restoring)
		return snapshot_set_cpuid(vm->restoring, v, &table, e);
	if (ioctl(v->fd, KVM_SET_CPUID2, &table))
		return kvm_error(e, "KVM_SET_CPUID2");
	return 0;
}

/*
 * A KVM that was initialised before the host refined its TSC calibration, on a CPU without
 * constant TSC, finds its own default rate impossible ("user requested TSC rate below
 * hardware speed") and gives a new vCPU a TSC offset of 0 but computes timers as if it had
 * one: guests then sleep for as long as the host is up.  0 asks for the present rate; the
 * write of the TSC makes KVM compute the offset with it.
 */
static void set_msrs(struct vcpu *v)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entries[3];
	} msrs = {.head.nmsrs = 3};

	ioctl(v->fd, KVM_SET_TSC_KHZ, 0);
	msrs.entries[0].index = MSR_TSC;
	msrs.entries[1].index = MSR_MTRR_DEF_TYPE;
	msrs.entries[1].data = MTRR_ENABLED_WB;
	msrs.entries[2].index = MSR_MISC_ENABLE;
	msrs.entries[2].data = MISC_FAST_STRING;
	/* KVM stops at the first that it does not know; the last two are comforts, not needs. */
	ioctl(v->fd, KVM_SET_MSRS, &msrs);
}

int vcpu_create(struct vm *vm, unsigned int index, struct error *e)
{
	struct vcpu *v = &vm->vcpus[index];

	v->vm = vm;
	v->index = index;
	v->parked = false;
	v->released = false;
	v->fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU,
		      (unsigned long)topology_apic_id(&vm->cfg->topology, index));
	if (v->fd < 0)
		return kvm_error(e, "KVM_CREATE_VCPU");
	v->run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (v->run == MAP_FAILED) {
		v->run = NULL;
		return kvm_error(e, "mapping of a vCPU");
	}
	if (set_cpuid(v, e))
		return -1;
	set_msrs(v);
	return 0;
}

void vcpu_close(struct vcpu *v)
{
	if (v->run)
		munmap(v->run, v->vm->run_size);
	if (v->fd > 0)
		close(v->fd);
	v->run = NULL;
	v->fd = -1;
}

static void set_segments(struct kvm_sregs *s, bool long_mode)
{
	struct kvm_segment code = {.limit = 0xffffffff,
				   .selector = SEL_CODE,
				   .type = 0xb,
				   .present = 1,
				   .s = 1,
				   .g = 1};
	struct kvm_segment data = {.limit = 0xffffffff,
				   .selector = SEL_DATA,
				   .type = 0x3,
				   .present = 1,
				   .s = 1,
				   .g = 1,
				   .db = 1};

	code.l = long_mode;
	code.db = !long_mode;
	s->cs = code;
	s->ds = s->es = s->fs = s->gs = s->ss = data;
	s->tr = (struct kvm_segment){.limit = 0x67, .selector = SEL_TSS, .type = 0xb, .present = 1};
	s->gdt.base = GDT_GPA;
	s->gdt.limit = 5 * 8 - 1;
	s->idt.base = 0;
	s->idt.limit = 0;
}

int vcpu_set_entry(struct vcpu *v, const struct boot_entry *entry, struct error *e)
{
	struct kvm_regs regs = {.rip = entry->rip,
				.rax = entry->rax,
				.rbx = entry->rbx,
				.rsi = entry->rsi,
				.rflags = 2};
	struct kvm_sregs sregs;
	bool long_mode = entry->method == BOOT_LINUX64;

	if (ioctl(v->fd, KVM_GET_SREGS, &sregs))
		return kvm_error(e, "KVM_GET_SREGS");
	set_segments(&sregs, long_mode);
	if (long_mode) {
		sregs.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
		sregs.cr3 = PAGE_TABLE_GPA;
		sregs.cr4 = CR4_PAE;
		sregs.efer = EFER_LME | EFER_LMA;
	} else {
		sregs.cr0 = CR0_PE | CR0_ET;
	}
	if (ioctl(v->fd, KVM_SET_SREGS, &sregs))
		return kvm_error(e, "KVM_SET_SREGS");
	if (ioctl(v->fd, KVM_SET_REGS, &regs))
		return kvm_error(e, "KVM_SET_REGS");
	return 0;
}

static void access_bus(struct vm *vm, const struct bus *bus, uint64_t addr, bool write,
		       uint8_t *data, unsigned int len)
{
	const struct bus_range *r = bus_find(bus, addr, len);

	if (!r) {
		if (!write)
			memset(data, 0xff, len);
		return;
	}
	if (r->unlocked) {
		r->fn(r->opaque, addr - r->start, write, data, len);
		return;
	}
	loop_lock(&vm->loop);
	r->fn(r->opaque, addr - r->start, write, data, len);
	pthread_mutex_unlock(&vm->lock);
}

static void on_io(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	uint32_t i, value = 0;

	if (run->io.port == GDB_TRAP_PORT && run->io.direction == KVM_EXIT_IO_OUT)
		gdb_trap_exit(v);
	if (v->vm->hermit && run->io.direction == KVM_EXIT_IO_OUT && run->io.count == 1) {
		memcpy(&value, data, sizeof(value)); /* of a page; what is of the port counts */
		if (run->io.size < sizeof(value))
			value &= (1u << 8 * run->io.size) - 1;
		if (unikernel_out(v, run->io.port, value))
			return;
	}
	for (i = 0; i < run->io.count; i++, data += run->io.size)
		access_bus(v->vm, &v->vm->ports, run->io.port, run->io.direction == KVM_EXIT_IO_OUT,
			   data, run->io.size);
}

/* The VM ends: what happened, and where the guest was. */
static void fail(struct vcpu *v, const char *what, uint64_t detail)
{
	struct kvm_regs regs = {0};

	ioctl(v->fd, KVM_GET_REGS, &regs);
	pthread_mutex_lock(&v->vm->lock);
	vm_fail(v->vm, "vCPU %u: %s (%#llx) at rip %#llx", v->index, what,
		(unsigned long long)detail, (unsigned long long)regs.rip);
	pthread_mutex_unlock(&v->vm->lock);
}

static void on_system_event(struct vcpu *v)
{
	enum vm_request request = REQUEST_POWEROFF;

	if (v->run->system_event.type == KVM_SYSTEM_EVENT_RESET)
		request = REQUEST_RESET;
	else if (v->run->system_event.type == KVM_SYSTEM_EVENT_CRASH)
		request = REQUEST_PANICKED;
	pthread_mutex_lock(&v->vm->lock);
	vm_ask(v->vm, request);
	pthread_mutex_unlock(&v->vm->lock);
}

static void on_exit_reason(struct vcpu *v)
{
	struct kvm_run *run = v->run;

	v->exits[run->exit_reason < EXIT_KINDS ? run->exit_reason : 0]++;
	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		on_io(v);
		break;
	case KVM_EXIT_MMIO:
		access_bus(v->vm, &v->vm->mmio, run->mmio.phys_addr, run->mmio.is_write,
			   run->mmio.data, run->mmio.len);
		break;
	case KVM_EXIT_INTR:
		break;
	case KVM_EXIT_DEBUG:
		gdb_debug_exit(v);
		break;
	case KVM_EXIT_SYSTEM_EVENT:
		on_system_event(v);
		break;
	case KVM_EXIT_SHUTDOWN:
		fail(v, "triple fault", 0);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		fail(v, "the CPU refused to enter the guest",
		     run->fail_entry.hardware_entry_failure_reason);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		fail(v, "KVM internal error", run->internal.suberror);
		break;
	default:
		fail(v, "an exit that this machine has no use for", run->exit_reason);
	}
}

static bool is_held(struct vcpu *v)
{
	return atomic_load(&v->vm->hold) || atomic_load(&v->frozen);
}

/* Waits until the guest may go on; false: the thread shall end. */
static bool park(struct vcpu *v)
{
	struct vm *vm = v->vm;
	bool go;

	pthread_mutex_lock(&vm->lock);
	v->parked = true;
	pthread_cond_broadcast(&vm->changed);
	while (is_held(v) && !vm->leave)
		pthread_cond_wait(&vm->changed, &vm->lock);
	v->parked = false;
	v->run->immediate_exit = 0;
	go = !vm->leave;
	pthread_mutex_unlock(&vm->lock);
	return go;
}

bool vcpu_rest(struct vcpu *v)
{
	return !is_held(v) || park(v);
}

static void enter_jail(struct vcpu *v)
{
	struct error e;

	if (jail_vcpu(&e) == 0)
		return;
	pthread_mutex_lock(&v->vm->lock);
	vm_fail(v->vm, "vCPU %u: %s", v->index, e.text);
	pthread_mutex_unlock(&v->vm->lock);
}

/* An isle's CPUs take in nothing but its vCPUs, so that they have to go there themselves. */
static void enter_place(struct vcpu *v)
{
	const struct vm_config *cfg = v->vm->cfg;
	unsigned int cpu = cfg->affinity[v->index].first;
	int r = cfg->isle.wanted ? isle_enter(cpu) : 0;

	if (!r)
		return;
	pthread_mutex_lock(&v->vm->lock);
	vm_fail(v->vm, "vCPU %u: CPU %u of its isle: %s", v->index, cpu, strerror(r));
	pthread_mutex_unlock(&v->vm->lock);
}

/*
 * KVM puts the result of an I/O exit into the guest's registers at the next KVM_RUN.  A vCPU
 * that parks goes there once more and comes back at once, so that its registers are whole for
 * whoever looks (Documentation/virt/kvm/api.rst, KVM_RUN, note on pending operations).
 */
void *vcpu_thread(void *arg)
{
	struct vcpu *v = arg;
	bool unfinished = false;

	atomic_store(&v->tid, gettid());
	enter_place(v);
	enter_jail(v);
	for (;;) {
		if (is_held(v)) {
			if (unfinished)
				v->run->immediate_exit = 1;
			else if (!park(v))
				return NULL;
		}
		if (v->vm->hermit && !v->released && !unikernel_may_run(v))
			continue;
		unfinished = ioctl(v->fd, KVM_RUN, 0) == 0;
		if (unfinished)
			on_exit_reason(v);
		else if (errno != EINTR && errno != EAGAIN)
			fail(v, "KVM_RUN failed", errno);
	}
}

int vcpu_start(struct vcpu *v)
{
	const struct cpu_range *range = &v->vm->cfg->affinity[v->index];
	pthread_attr_t attr;
	unsigned int i;
	cpu_set_t cpus;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, VCPU_STACK);
	if (range->count && !v->vm->cfg->isle.wanted) {
		CPU_ZERO(&cpus);
		for (i = 0; i < range->count; i++)
			CPU_SET(range->first + i, &cpus);
		pthread_attr_setaffinity_np(&attr, sizeof(cpus), &cpus);
	}
	r = pthread_create(&v->thread, &attr, vcpu_thread, v);
	v->started = !r;
	pthread_attr_destroy(&attr);
	return r;
}

/*
 * immediate_exit catches a vCPU that is about to enter the guest, the signal one that is in
 * it; between them there is no gap (Documentation/virt/kvm/api.rst, KVM_CAP_IMMEDIATE_EXIT).
 */
void vcpu_kick(struct vcpu *v)
{
	v->run->immediate_exit = 1;
	pthread_kill(v->thread, VCPU_SIGNAL);
}
