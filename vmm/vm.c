// SPDX-License-Identifier: Apache-2.0
#include "vm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "control.h"
#include "gdb/gdb.h"
#include "hermit/machine.h"
#include "log.h"
#include "snapshot/snapshot.h"

#define KICK_AGAIN 100000000 /* ns */

/*
 * Bytes of its files.  To clear a huge page takes longer than such a guest runs, mostly.  A larger
 * one, and any Linux, soon touches all of the first ones.
 */
#define SMALL_GUEST (256ull << 10)

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

void vm_ask(struct vm *vm, enum vm_request request)
{
	uint64_t one = 1;

	if (request > vm->request)
		vm->request = request;
	atomic_store(&vm->hold, true); /* the asking vCPU does not run on meanwhile */
	if (write(vm->wake.fd, &one, sizeof(one)) < 0)
		log_line("eventfd: %s", strerror(errno));
}

void vm_fail(struct vm *vm, const char *fmt, ...)
{
	va_list ap;

	if (vm->request == REQUEST_ERROR)
		return; /* the first failure is the cause */
	va_start(ap, fmt);
	vm->fault.code = ERROR_MACHINE;
	vsnprintf(vm->fault.text, sizeof(vm->fault.text), fmt, ap);
	va_end(ap);
	vm_ask(vm, REQUEST_ERROR);
}

/* A signal between a vCPU's look at `hold` and a read() that waits would be lost: it gets more. */
static void wait_until_parked(struct vm *vm, struct vcpu *v)
{
	struct timespec until;

	while (v->started && !v->parked) {
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += KICK_AGAIN;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		if (pthread_cond_timedwait(&vm->changed, &vm->lock, &until))
			vcpu_kick(v);
	}
}

static void hold_vcpus(struct vm *vm)
{
	unsigned int i;

	atomic_store(&vm->hold, true);
	pthread_cond_broadcast(&vm->changed); /* one may wait there for a unikernel's input */
	for (i = 0; i < vm->cfg->cpus; i++)
		if (vm->vcpus[i].started && !vm->vcpus[i].parked)
			vcpu_kick(&vm->vcpus[i]);
	for (i = 0; i < vm->cfg->cpus; i++)
		wait_until_parked(vm, &vm->vcpus[i]);
}

static void release_vcpus(struct vm *vm)
{
	atomic_store(&vm->hold, false);
	pthread_cond_broadcast(&vm->changed);
}

void vm_hold_vcpus(struct vm *vm)
{
	hold_vcpus(vm);
}

void vm_release_vcpus(struct vm *vm)
{
	if (vm->state == VM_RUNNING && !vm->request)
		release_vcpus(vm);
}

void vm_stop(struct vm *vm)
{
	hold_vcpus(vm);
	if (vm->state == VM_RUNNING)
		vm->state = VM_PAUSED;
	gdb_stopped(vm, 2);
}

void vm_break(struct vm *vm)
{
	hold_vcpus(vm);
	if (vm->state != VM_PANICKED)
		vm->state = VM_DEBUG;
}

void vm_continue(struct vm *vm)
{
	unsigned int i;

	if (vm->state == VM_PANICKED || vm->state == VM_RUNNING || gdb_holds(vm))
		return;
	if (vm->request) {
		/* A debugger's word holds for what comes after the request, too. */
		if (vm->state == VM_DEBUG)
			vm->state = VM_RUNNING;
		return;
	}
	/* Keeps the guest's soft-lockup watchdog from counting the pause. */
	for (i = 0; i < vm->cfg->cpus; i++)
		ioctl(vm->vcpus[i].fd, KVM_KVMCLOCK_CTRL);
	vm->state = VM_RUNNING;
	release_vcpus(vm);
}

void vm_power_button(struct vm *vm)
{
	irq_pulse(&vm->power_button);
}

/* With the lock held; drops it while the threads end. */
static void end_vcpus(struct vm *vm)
{
	unsigned int i;

	hold_vcpus(vm);
	vm->leave = true;
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
	for (i = 0; i < vm->cfg->cpus; i++)
		if (vm->vcpus[i].started)
			pthread_join(vm->vcpus[i].thread, NULL);
	pthread_mutex_lock(&vm->lock);
	for (i = 0; i < vm->cfg->cpus; i++)
		vm->vcpus[i].started = false;
	vm->leave = false;
}

static int start_vcpus(struct vm *vm, struct error *e)
{
	unsigned int i;
	int r = 0;

	for (i = 0; i < vm->cfg->cpus && !r; i++)
		r = vcpu_start(&vm->vcpus[i]);
	if (r)
		return error_set(e, ERROR_MACHINE, "cannot start a vCPU thread: %s", strerror(r));
	return 0;
}

static int rebuild(struct vm *vm)
{
	bool held = gdb_holds(vm);
	bool paused = held || vm->state == VM_PAUSED || vm->state == VM_DEBUG;

	end_vcpus(vm);
	machine_teardown(vm);
	vm->restoring = NULL;
	snapshot_forget(vm);
	if (memory_clear(&vm->mem))
		return error_set(&vm->fault, ERROR_MACHINE, "cannot clear guest RAM: %s",
				 strerror(errno));
	if (machine_build(vm, &vm->fault))
		return -1;
	vm->resets++;
	vm->state = held ? VM_DEBUG : paused ? VM_PAUSED : VM_RUNNING;
	vm->request = REQUEST_NONE;
	atomic_store(&vm->hold, paused);
	gdb_machine_rebuilt(vm);
	return start_vcpus(vm, &vm->fault);
}

static void reset(struct vm *vm)
{
	bool by_host = vm->host_reset;

	vm->host_reset = false;
	if (rebuild(vm)) {
		vm->request = REQUEST_ERROR; /* the end says so; there was no reset to tell of */
		return;
	}
	/* A guest may do this in a loop: the log stays bounded. */
	log_guest("the guest was reset");
	control_event(vm->control, "RESET", "{s:b, s:s}", "guest", !by_host, "reason",
		      by_host ? "host-qmp-system-reset" : "guest-reset");
}

static void serve_request(struct vm *vm)
{
	switch (vm->request) {
	case REQUEST_PANICKED:
		hold_vcpus(vm);
		if (vm->request != REQUEST_PANICKED)
			break; /* something stronger came while they stopped */
		vm->request = REQUEST_NONE;
		vm->state = VM_PANICKED;
		log_line("the guest panicked; its vCPUs are stopped");
		control_event(vm->control, "GUEST_PANICKED", "{s:s}", "action", "pause");
		control_event(vm->control, "STOP", NULL);
		gdb_stopped(vm, 6);
		break;
	case REQUEST_RESET:
		if (vm->plain) { /* Unikraft for Firecracker ends so */
			vm->request = REQUEST_POWEROFF;
			break;
		}
		if (vm->cfg->kernel) {
			reset(vm);
			break;
		}
		log_line("the guest asked for a reset; restored without --kernel, it ends instead");
		vm->request = REQUEST_POWEROFF;
		break;
	default:
		break;
	}
	if (vm->request >= REQUEST_POWEROFF)
		vm->loop.stop = true;
}

static void on_wake(void *arg, uint32_t events)
{
	struct vm *vm = arg;
	uint64_t count;

	(void)events;
	if (read(vm->wake.fd, &count, sizeof(count)) != sizeof(count))
		return;
	serve_request(vm);
	gdb_wake(vm);
}

static void on_signal(void *arg, uint32_t events)
{
	struct signalfd_siginfo info;
	struct vm *vm = arg;

	(void)events;
	if (read(vm->signals.fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGWINCH) {
		if (vm->console)
			console_check_size(vm->console);
		return;
	}
	log_line("signal %u: quitting", info.ssi_signo);
	vm->quit_signal = (int)info.ssi_signo;
	vm->quit_reason = "host-signal";
	vm_ask(vm, REQUEST_QUIT);
}

static void ignore(int signal)
{
	(void)signal; /* its arrival is its message: KVM_RUN returns */
}

static int watch_signals(struct vm *vm, struct error *e)
{
	struct sigaction kick = {.sa_handler = ignore};
	sigset_t set;

	sigaction(VCPU_SIGNAL, &kick, NULL);
	signal(SIGPIPE, SIG_IGN);
	/* A caller's mask must not keep vCPUs from being stopped. */
	sigemptyset(&set);
	sigaddset(&set, VCPU_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGWINCH);
	pthread_sigmask(SIG_BLOCK, &set, NULL); /* all threads inherit it */
	vm->signals = (struct loop_source){.fn = on_signal, .arg = vm};
	vm->signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	vm->wake = (struct loop_source){.fn = on_wake, .arg = vm};
	vm->wake.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vm->signals.fd < 0 || vm->wake.fd < 0 || loop_add(&vm->loop, &vm->signals, EPOLLIN) ||
	    loop_add(&vm->loop, &vm->wake, EPOLLIN))
		return error_set(e, ERROR_MACHINE, "event loop: %s", strerror(errno));
	return 0;
}

static int open_kvm(struct vm *vm, struct error *e)
{
	vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm_fd < 0)
		return error_set(e, ERROR_MACHINE, "/dev/kvm: %s%s", strerror(errno),
				 errno == EACCES ? " (are you in the group kvm?)"
						 : " (is virtualisation on in the firmware?)");
	if (ioctl(vm->kvm_fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		return error_set(e, ERROR_MACHINE, "/dev/kvm: not the KVM API of version %d",
				 KVM_API_VERSION);
	vm->run_size = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if ((int)vm->run_size < (int)sizeof(struct kvm_run))
		return error_set(e, ERROR_MACHINE, "KVM_GET_VCPU_MMAP_SIZE: %s", strerror(errno));
	return 0;
}

static int open_guest(struct vm *vm, struct error *e)
{
	const struct vm_config *cfg = vm->cfg;

	vm->boot.cmdline = cfg->cmdline;
	vm->boot.rsdp = cfg->no_acpi ? 0 : ACPI_GPA;
	vm->boot.method = cfg->boot;
	vm->boot.initrd.fd = vm->boot.kernel.fd = -1;
	if (cfg->kernel && boot_open(&vm->boot.kernel, cfg->kernel, "kernel", e))
		return -1;
	return cfg->initrd ? boot_open(&vm->boot.initrd, cfg->initrd, "initrd", e) : 0;
}

static int open_devices(struct vm *vm, struct error *e)
{
	const struct vm_config *cfg = vm->cfg;

	if (vm->hermit && unikernel_open_network(vm, e))
		return -1;
	if (vm->hermit && !cfg->console && !cfg->console_log)
		return 0; /* run like a program: it reads and writes where we would */
	vm->console = console_create(&vm->loop, cfg->console, cfg->console_log, e);
	if (!vm->console)
		return -1;
	if (!vm->hermit)
		return platform_create(vm, e);
	unikernel_use_console(vm);
	return 0;
}

int vm_open(struct vm *vm, const struct vm_config *cfg, struct error *e)
{
	struct memory_config memory = cfg->memory;

	memset(vm, 0, sizeof(*vm));
	vm->cfg = cfg;
	vm->vm_fd = vm->kvm_fd = -1;
	vm->started_ns = now_ns();
	vm->vcpus = calloc(cfg->cpus, sizeof(*vm->vcpus));
	if (!vm->vcpus)
		return error_set(e, ERROR_MACHINE, "out of memory");
	pthread_mutex_init(&vm->lock, NULL);
	pthread_cond_init(&vm->changed, NULL);
	/* The user's mistakes first, so that they are what is said on any machine. */
	if (open_guest(vm, e) || unikernel_open(vm, &memory, e))
		return -1;
	memory.small_start =
		!cfg->restore && vm->boot.kernel.size + vm->boot.initrd.size < SMALL_GUEST;
	if (loop_create(&vm->loop, &vm->lock))
		return error_set(e, ERROR_MACHINE, "epoll: %s", strerror(errno));
	if (memory_create(&vm->mem, &memory, e) || watch_signals(vm, e))
		return -1;
	vm->restoring = cfg->restore;
	if (vm->restoring && snapshot_map(vm->restoring, &vm->mem, e))
		return -1;
	if (open_devices(vm, e))
		return -1;
	if (cfg->control) {
		vm->control = control_create(vm, cfg->control, e);
		if (!vm->control)
			return -1;
	}
	return cfg->gdb ? gdb_listen(vm, cfg->gdb, e) : 0;
}

int vm_create(struct vm *vm, const struct vm_config *cfg, struct error *e)
{
	return vm_open(vm, cfg, e) || open_kvm(vm, e) || machine_check(vm, e) ? -1 : 0;
}

int vm_start(struct vm *vm, struct error *e)
{
	if (machine_build(vm, e))
		return -1;
	memory_loaded(&vm->mem);
	if (vm->console)
		console_check_size(vm->console);
	if (vm->cfg->gdb_wait) {
		vm->state = VM_DEBUG;
		atomic_store(&vm->hold, true);
	}
	return start_vcpus(vm, e);
}

enum vm_request vm_run(struct vm *vm)
{
	enum vm_request request;

	while (!vm->loop.stop)
		loop_once(&vm->loop, -1);
	pthread_mutex_lock(&vm->lock);
	end_vcpus(vm);
	request = vm->request;
	if (request == REQUEST_POWEROFF || request == REQUEST_EXIT)
		control_event(vm->control, "SHUTDOWN", "{s:b, s:s}", "guest", 1, "reason",
			      "guest-shutdown");
	else
		control_event(vm->control, "SHUTDOWN", "{s:b, s:s}", "guest", 0, "reason",
			      request == REQUEST_ERROR ? "host-error" : vm->quit_reason);
	gdb_ended(vm, request == REQUEST_ERROR);
	pthread_mutex_unlock(&vm->lock);
	return request;
}

void vm_destroy(struct vm *vm)
{
	unsigned int i;

	pthread_mutex_lock(&vm->lock);
	machine_teardown(vm);
	for (i = 0; i < vm->ndevices; i++)
		vm->devices[i]->ops->destroy(vm->devices[i]);
	gdb_destroy(vm);
	if (vm->console)
		console_destroy(vm->console);
	unikernel_destroy(vm);
	free(vm->vcpus);
	vm->vcpus = NULL;
	pthread_mutex_unlock(&vm->lock);
}
