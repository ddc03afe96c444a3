// SPDX-License-Identifier: Apache-2.0
/* Stopping and going on: all-stop mode, each vCPU a thread that gdb numbers from 1. */
#include <linux/kvm.h>
#include <string.h>
#include <unistd.h>

#include "control.h"
#include "gdb/stub.h"
#include "log.h"

static void tell(struct gdb *g, bool stopped)
{
	if (g->told != stopped)
		control_event(g->vm->control, stopped ? "STOP" : "RESUME", NULL);
	g->told = stopped;
}

static struct gdb_cpu *first_hit(struct gdb *g)
{
	unsigned int i;

	for (i = 0; i < g->vm->cfg->cpus; i++)
		if (g->cpus[i].hit)
			return &g->cpus[i];
	return NULL;
}

/* Takes the first hit for the stop reply; without one, `signal` is the reason. */
static void choose(struct gdb *g, unsigned int signal)
{
	struct gdb_cpu *hit = first_hit(g);

	g->signal = hit ? SIGNAL_TRAP : signal;
	g->why = hit ? hit->hit : HIT_NONE;
	if (hit) {
		g->why_reg = hit->reg;
		g->cpu = (unsigned int)(hit - g->cpus);
		hit->hit = HIT_NONE;
	}
	g->cpu_regs = g->cpu_run = g->cpu;
}

static bool is_watch(const struct gdb *g, const struct gdb_cpu *c)
{
	return c->hit == HIT_REGISTER && g->registers[c->reg].type != BP_HARDWARE;
}

/*
 * What other vCPUs hit at the same time: a breakpoint is hit again when they go on, if it still
 * stands; a watched access is over and has to be remembered.
 */
static void forget_repeatable(struct gdb *g)
{
	unsigned int i;

	for (i = 0; i < g->vm->cfg->cpus; i++) {
		g->cpus[i].stepping = false;
		if (g->cpus[i].hit && !is_watch(g, &g->cpus[i]))
			g->cpus[i].hit = HIT_NONE;
	}
}

static void stop(struct gdb *g, unsigned int signal)
{
	struct rsp_reply *r = &g->reply;

	vm_break(g->vm);
	g->running = false;
	choose(g, signal);
	forget_repeatable(g);
	tell(g, true);
	if (g->silent)
		return;
	stub_stop_reply(g, r);
	server_send(g, r);
}

void run_interrupt(struct gdb *g, unsigned int signal)
{
	if (g->running)
		stop(g, signal);
}

void gdb_stopped(struct vm *vm, unsigned int signal)
{
	if (vm->gdb && vm->gdb->client.fd >= 0) {
		vm->gdb->told = true; /* who stopped it has told them */
		run_interrupt(vm->gdb, signal);
	}
}

bool run_resume(struct gdb *g, const enum action actions[MAX_CPUS])
{
	struct vm *vm = g->vm;
	bool steps = false;
	unsigned int i;

	for (i = 0; i < vm->cfg->cpus; i++)
		if (g->cpus[i].hit && actions[i] == ACTION_STAY)
			g->cpus[i].hit = HIT_NONE;
	if (first_hit(g) || vm->state == VM_PANICKED) {
		choose(g, SIGNAL_ABORT);
		return false;
	}
	for (i = 0; i < vm->cfg->cpus; i++) {
		g->cpus[i].stepping = actions[i] == ACTION_STEP;
		steps |= g->cpus[i].stepping;
		atomic_store(&vm->vcpus[i].frozen, actions[i] == ACTION_STAY);
		if (breakpoints_arm(g, i, INJECT_NONE, 0))
			log_guest("gdb: vCPU %u cannot be debugged by this KVM", i);
	}
	g->running = true;
	g->was_paused = false;
	if (!steps) /* a step is over at once: no two events for each */
		tell(g, false);
	vm_continue(vm);
	return true;
}

void run_release(struct gdb *g)
{
	struct vm *vm = g->vm;
	unsigned int i;

	if (vm->request < REQUEST_POWEROFF)
		vm_break(vm); /* no vCPU is in the guest while its code changes */
	breakpoint_remove_all(g);
	for (i = 0; i < vm->cfg->cpus; i++) {
		g->cpus[i] = (struct gdb_cpu){0};
		atomic_store(&vm->vcpus[i].frozen, false);
		breakpoints_arm(g, i, INJECT_NONE, 0);
	}
	g->running = false;
	if (vm->state != VM_DEBUG)
		return;
	if (g->was_paused) {
		vm->state = VM_PAUSED;
		return;
	}
	vm_continue(vm);
	tell(g, false);
}

/* The software breakpoint that vCPU v has run into, by the address of its instruction. */
static bool on_breakpoint(struct gdb *g, struct vcpu *v, uint64_t pc)
{
	uint64_t gpa;

	return !target_ram(g->ops, v, pc, &gpa) && breakpoint_at(g, gpa);
}

/* An OUT is over when it is told of: back to its address, as after an int3's exit. */
static enum hit judge_out(struct gdb *g, struct vcpu *v)
{
	struct gdb_registers regs;

	if (g->ops->get_registers(v, &regs))
		return HIT_NONE;
	regs.rip -= g->trap->len;
	if (!on_breakpoint(g, v, regs.rip) || g->ops->set_registers(v, &regs))
		return HIT_NONE;
	return HIT_SOFTWARE;
}

/* What an exit means to us; HIT_NONE: it is the guest's own affair. */
static enum hit judge(struct gdb *g, struct vcpu *v, struct gdb_cpu *c)
{
	if (c->exception == EXCEPTION_OUT)
		return judge_out(g, v);
	if (c->exception == EXCEPTION_BP)
		return on_breakpoint(g, v, c->pc) ? HIT_SOFTWARE : HIT_NONE;
	for (c->reg = 0; c->reg < DEBUG_REGISTERS; c->reg++)
		if ((c->dr6 >> c->reg & 1) && g->registers[c->reg].used)
			return HIT_REGISTER;
	return (c->dr6 & DR6_STEP) && c->stepping ? HIT_STEP : HIT_NONE;
}

static void hand_to_guest(struct gdb *g, unsigned int cpu)
{
	const struct gdb_cpu *c = &g->cpus[cpu];

	if (c->exception != EXCEPTION_OUT)
		breakpoints_arm(g, cpu,
				c->exception == EXCEPTION_BP ? INJECT_BREAKPOINT : INJECT_DEBUG,
				c->dr6 & (DR6_HITS | DR6_STEP));
}

static bool any_exited(const struct gdb *g)
{
	unsigned int i;

	for (i = 0; i < g->vm->cfg->cpus; i++)
		if (g->cpus[i].exited)
			return true;
	return false;
}

/*
 * vCPUs only note their exits: to look at them takes system calls that their threads are not
 * given, and all vCPUs have to stop anyway if it is a hit.
 */
void gdb_wake(struct vm *vm)
{
	struct gdb *g = vm->gdb;
	unsigned int i;

	if (!g || !any_exited(g))
		return;
	vm_break(vm);
	for (i = 0; i < vm->cfg->cpus; i++) {
		if (!g->cpus[i].exited)
			continue;
		g->cpus[i].exited = false;
		g->cpus[i].hit = judge(g, &vm->vcpus[i], &g->cpus[i]);
		if (!g->cpus[i].hit)
			hand_to_guest(g, i);
	}
	if (g->running && first_hit(g))
		stop(g, SIGNAL_TRAP);
	else if (!gdb_holds(vm))
		vm_continue(vm);
}

static void note_exit(struct vcpu *v, const struct gdb_cpu *exit)
{
	struct vm *vm = v->vm;
	struct gdb_cpu *c;
	uint64_t one = 1;

	pthread_mutex_lock(&vm->lock);
	if (vm->gdb) {
		c = &vm->gdb->cpus[v->index];
		c->exited = true;
		c->exception = exit->exception;
		c->pc = exit->pc;
		c->dr6 = exit->dr6;
		atomic_store(&vm->hold, true); /* this vCPU goes no further */
		if (write(vm->wake.fd, &one, sizeof(one)) < 0)
			log_guest("gdb: an exit was not told");
	}
	pthread_mutex_unlock(&vm->lock);
}

void gdb_debug_exit(struct vcpu *v)
{
	const struct gdb_cpu exit = {.exception = v->run->debug.arch.exception,
				     .pc = v->run->debug.arch.pc,
				     .dr6 = v->run->debug.arch.dr6};

	note_exit(v, &exit);
}

void gdb_trap_exit(struct vcpu *v)
{
	const struct gdb_cpu exit = {.exception = EXCEPTION_OUT};

	note_exit(v, &exit);
}

void gdb_machine_rebuilt(struct vm *vm)
{
	struct gdb *g = vm->gdb;
	unsigned int i;

	if (!g || g->client.fd < 0)
		return;
	memset(g->cpus, 0, sizeof(g->cpus));
	for (i = 0; i < vm->cfg->cpus; i++)
		atomic_store(&vm->vcpus[i].frozen, false);
	breakpoints_rewrite(g);
	breakpoints_arm_all(g);
}
