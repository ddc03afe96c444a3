// SPDX-License-Identifier: Apache-2.0
#include "hermit/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "hermit/calls.h"
#include "hermit/gzip.h"
#include "hermit/hermit.h"
#include "hermit/nic.h"
#include "hermit/plain.h"
#include "hermit/saved.h"
#include "kvm_ahead.h"
#include "vm.h"
#include "x86.h"

#define CORE_HOLE  0xd0000000ull /* C HermitCore knows of a hole from 3.25 to 4 GiB */
#define START_POLL 200000	 /* ns between two looks whether the guest wants one more CPU */

/* What was asked for comes first, and is not said twice. */
static void add_own_environment(struct hermit_config *cfg)
{
	unsigned int given = cfg->nenv, i;
	size_t len;
	char **own;

	for (own = environ; *own && cfg->nenv < HERMIT_MAX_ENV; own++) {
		len = strcspn(*own, "=") + 1;
		for (i = 0; i < given && strncmp(cfg->env[i], *own, len); i++)
			;
		if (i == given)
			cfg->env[cfg->nenv++] = *own;
	}
}

static int open_package(struct vm *vm, struct hermit *h, uint64_t memory, struct error *e)
{
	struct boot_file *kernel = &vm->boot.kernel;

	if (package_open(h, kernel, memory, vm->cfg->cpus, e) ||
	    hermit_identify(kernel, &h->image, e))
		return -1;
	if (h->image.abi == HERMIT_NONE)
		return error_set(e, ERROR_USER, "%.300s: no unikernel that this VMM knows",
				 kernel->path);
	return 0;
}

static int take_initrd(struct vm *vm, struct hermit *h, struct error *e)
{
	if (vm->boot.initrd.fd < 0)
		return 0;
	if (h->image.abi == HERMIT_C)
		return error_set(e, ERROR_USER, "--initrd: HermitCore has no use for one");
	if (h->initrd.size)
		return error_set(e, ERROR_USER,
				 "--initrd: its place is the archive's with --hermit-image-mode "
				 "internal");
	h->initrd = vm->boot.initrd;
	return 0;
}

static int open_output(struct hermit *h, struct error *e)
{
	const char *path = h->cfg.output;

	h->output_fd = -1;
	h->redirected = path;
	if (!path || !strcasecmp(path, "none"))
		return 0;
	h->output_fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	return h->output_fd < 0
		       ? error_set(e, ERROR_USER, "--output %.200s: %s", path, strerror(errno))
		       : 0;
}

static int open_files(struct hermit *h, struct error *e)
{
	h->files = files_create(&h->cfg.files, e);
	if (h->files && h->archive.data && !h->initrd.size)
		files_add_archive(h->files, &h->archive);
	return h->files ? 0 : -1;
}

/* Said now, rather than each time that one is due. */
static int check_checkpoints(const struct vm *vm, struct error *e)
{
	return vm->cfg->checkpoint.seconds ? unikernel_can_save(vm, e) : 0;
}

static int open_plain(struct vm *vm, struct error *e)
{
	return plain_open(vm, e) || check_checkpoints(vm, e) ? -1 : 0;
}

int unikernel_open(struct vm *vm, struct memory_config *memory, struct error *e)
{
	struct hermit_image image;
	struct hermit *h;
	bool package;

	if (hermit_identify(&vm->boot.kernel, &image, e))
		return -1;
	package = image.abi == HERMIT_NONE && gzip_is(&vm->boot.kernel);
	if (image.abi == HERMIT_NONE && !package)
		return vm->cfg->hermit.named ? open_plain(vm, e) : 0;
	h = calloc(1, sizeof(*h));
	if (!h)
		return error_set(e, ERROR_MACHINE, "out of memory");
	vm->hermit = h;
	h->cfg = vm->cfg->hermit;
	h->cfg.kernel_args = vm->cfg->cmdline;
	h->image = image;
	if ((package && open_package(vm, h, memory->size, e)) || take_initrd(vm, h, e))
		return -1;
	if (h->cfg.env_host || h->image.abi == HERMIT_C)
		add_own_environment(&h->cfg);
	h->at.kernel_bytes = vm->boot.kernel.size;
	if (vm->cfg->restore ? unikernel_place_saved(h, vm->cfg->restore, memory, e)
			     : hermit_place(h, memory->size, &memory->start, e))
		return -1;
	memory->hole = h->image.abi == HERMIT_C ? CORE_HOLE : 0;
	return check_checkpoints(vm, e) || open_output(h, e) || open_files(h, e) ? -1 : 0;
}

const struct files *unikernel_files(const struct vm *vm)
{
	return vm->hermit ? vm->hermit->files : vm->plain ? vm->plain->files : NULL;
}

void unikernel_destroy(struct vm *vm)
{
	plain_destroy(vm);
	if (!vm->hermit)
		return;
	files_destroy(vm->hermit->files);
	nic_destroy(vm->hermit->nic);
	archive_close(&vm->hermit->archive);
	manifest_free(&vm->hermit->manifest);
	free(vm->hermit);
	vm->hermit = NULL;
}

static void on_console_input(void *arg)
{
	struct vm *vm = arg;

	pthread_cond_broadcast(&vm->changed);
}

static void on_console_quit(void *arg)
{
	struct vm *vm = arg;

	vm->quit_reason = "host-ui";
	vm_ask(vm, REQUEST_QUIT);
}

void unikernel_use_console(struct vm *vm)
{
	const struct console_hooks hooks = {
		.input = on_console_input, .quit = on_console_quit, .arg = vm};

	console_set_hooks(vm->console, &hooks);
}

static int set_registers(struct vcpu *v, struct error *e)
{
	struct kvm_segment code = {.limit = 0xffffffff,
				   .selector = 8,
				   .type = 0xb,
				   .present = 1,
				   .s = 1,
				   .l = 1,
				   .g = 1};
	struct kvm_segment data = {.limit = 0xffffffff,
				   .selector = 16,
				   .type = 3,
				   .present = 1,
				   .s = 1,
				   .db = 1,
				   .g = 1};
	struct kvm_mp_state runnable = {.mp_state = KVM_MP_STATE_RUNNABLE};
	struct kvm_regs regs = {.rflags = 2};
	struct hermit_registers r;
	struct kvm_sregs sregs;

	hermit_registers(v->vm->hermit, v->index, &r);
	if (ioctl(v->fd, KVM_GET_SREGS, &sregs))
		return error_set(e, ERROR_MACHINE, "KVM_GET_SREGS: %s", strerror(errno));
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.ss = data;
	sregs.gdt.base = r.gdt;
	sregs.gdt.limit = r.gdt_limit;
	sregs.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
	sregs.cr3 = r.cr3;
	sregs.cr4 = CR4_PAE;
	sregs.efer = EFER_LME | EFER_LMA | EFER_NXE;
	regs.rip = r.rip;
	regs.rsp = r.rsp;
	regs.rdi = r.rdi;
	regs.rsi = r.rsi;
	regs.rdx = r.rdx;
	/* Every vCPU runs from the beginning: no guest of this kind wakes them by INIT and SIPI. */
	if (ioctl(v->fd, KVM_SET_SREGS, &sregs) || ioctl(v->fd, KVM_SET_REGS, &regs) ||
	    ioctl(v->fd, KVM_SET_MP_STATE, &runnable))
		return error_set(e, ERROR_MACHINE, "first registers: %s", strerror(errno));
	return 0;
}

void unikernel_sync_registers(struct vm *vm)
{
	int known = ioctl(vm->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_SYNC_REGS);
	uint64_t wanted =
		vm->hermit->image.abi == HERMIT_V2 ? KVM_SYNC_X86_REGS : KVM_SYNC_X86_SREGS;
	unsigned int i;

	if (known > 0 && known & KVM_SYNC_X86_CALL)
		wanted = KVM_SYNC_X86_CALL;
	for (i = 0; i < vm->cfg->cpus; i++)
		vm->vcpus[i].run->kvm_valid_regs = wanted;
}

int unikernel_load(struct vm *vm, struct error *e)
{
	int khz = ioctl(vm->vcpus[0].fd, KVM_GET_TSC_KHZ);
	struct hermit_range ahead[HERMIT_RANGES];
	unsigned int i;

	if (hermit_boot(vm->hermit, &vm->boot.kernel, &vm->mem, vm->cfg->cpus,
			khz > 0 ? (uint32_t)khz : 0, e))
		return -1;
	for (i = 0; i < vm->cfg->cpus; i++)
		if (set_registers(&vm->vcpus[i], e))
			return -1;
	unikernel_sync_registers(vm);
	hermit_first_pages(vm->hermit, ahead);
	for (i = 0; i < HERMIT_RANGES; i++)
		machine_map_ahead(vm, ahead[i].gpa, ahead[i].len);
	return 0;
}

bool unikernel_may_run(struct vcpu *v)
{
	const struct timespec pause = {.tv_nsec = START_POLL};

	while (!hermit_may_start(v->vm->hermit, &v->vm->mem, v->index)) {
		if (atomic_load(&v->vm->hold))
			return false;
		nanosleep(&pause, NULL);
	}
	v->released = true;
	return true;
}

/* --- what a hypercall needs of the machine --- */

static bool interrupted(void *arg)
{
	struct vcpu *v = arg;

	return atomic_load(&v->vm->hold);
}

/* To our own output like a program's, or to the VM's console. */
static int64_t output(void *arg, int fd, const void *from, uint64_t len)
{
	struct vcpu *v = arg;
	const struct hermit *h = v->vm->hermit;
	ssize_t n;

	if (h->redirected) {
		fd = h->output_fd;
		if (fd < 0)
			return (int64_t)len;
	} else if (v->vm->console) {
		pthread_mutex_lock(&v->vm->lock);
		console_output(v->vm->console, from, len);
		pthread_mutex_unlock(&v->vm->lock);
		return (int64_t)len;
	}
	if (fd == 0)
		fd = h->image.abi == HERMIT_C ? 2 : 1; /* the kernel's own log */
	do {
		n = write(fd, from, len);
	} while (n < 0 && errno == EINTR && vcpu_rest(v));
	return n < 0 ? -errno : n;
}

/* 0: nothing is there, and the vCPU is wanted elsewhere. */
static size_t console_input(struct vcpu *v, void *to, uint64_t len)
{
	struct vm *vm = v->vm;
	size_t n;

	pthread_mutex_lock(&vm->lock);
	while (!console_pending(vm->console) && !atomic_load(&vm->hold))
		pthread_cond_wait(&vm->changed, &vm->lock);
	n = console_take(vm->console, to, len);
	pthread_mutex_unlock(&vm->lock);
	return n;
}

/* A guest that waits for input can be paused, saved and debugged; it never hears of that. */
static int64_t input(void *arg, void *to, uint64_t len)
{
	struct vcpu *v = arg;
	ssize_t n;

	while (len && vcpu_rest(v)) {
		n = v->vm->console ? (ssize_t)console_input(v, to, len)
				   : read(STDIN_FILENO, to, len);
		if (n > 0 || (n == 0 && !v->vm->console))
			return n;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
	return len ? -EINTR : 0;
}

static void on_exit_call(void *arg, int code)
{
	struct vcpu *v = arg;

	pthread_mutex_lock(&v->vm->lock);
	v->vm->exit_code = code;
	vm_ask(v->vm, REQUEST_EXIT);
	pthread_mutex_unlock(&v->vm->lock);
}

bool unikernel_out(struct vcpu *v, uint16_t port, uint32_t value)
{
	const struct kvm_sync_regs *regs = &v->run->s.regs;
	const struct call_env env = {.hermit = v->vm->hermit,
				     .mem = &v->vm->mem,
				     .arg = v,
				     .output = output,
				     .input = input,
				     .exit = on_exit_call,
				     .interrupted = interrupted,
				     .cr3 = regs->sregs.cr3};

	return call_serve(&env, port, value, regs->regs.rdi);
}

/* In millionths of a second would be more than anybody can use. */
static double seconds_since(uint64_t ns)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9 - (double)ns / 1e9;
}

void unikernel_report(const struct vm *vm)
{
	const struct vcpu *v;
	unsigned int kind;
	uint64_t all;

	if (!vm->hermit || !vm->hermit->cfg.stats)
		return;
	fprintf(stderr, "Run statistics:\n  %.6f s\n", seconds_since(vm->started_ns));
	for (v = vm->vcpus; v < vm->vcpus + vm->cfg->cpus; v++) {
		for (all = 0, kind = 0; kind < EXIT_KINDS; kind++)
			all += v->exits[kind];
		fprintf(stderr, "  CPU %u: %llu exits, %llu of them I/O and hypercalls\n", v->index,
			(unsigned long long)all, (unsigned long long)v->exits[KVM_EXIT_IO]);
	}
}
