// SPDX-License-Identifier: Apache-2.0
/*
 * What a guest that has taken over the VMM would try.  Linked over hg-vmm with --wrap (see
 * vmm/Makefile): the program is the real one, options and jail and all, but once it runs its
 * loop's thread, or a vCPU's, does not go on with its work: it attacks.
 *
 *	HG_ATTACK=loop:open hg-attack --kernel ...	one attempt from the loop's thread
 *	HG_ATTACK=vcpu:fork ...				one from a vCPU's
 *	HG_ATTACK_BARE=1				without KVM: nothing but the jail runs
 *	HG_ATTACK_NO_SECCOMP=1				what the layers below the filter do alone
 *	hg-attack --list				the attempts: name, classes, layers
 *
 * Says "begins" before an attempt, and "SUCCEEDED" or "refused: REASON" after it; when the
 * filter kills, it ends by SIGSYS in between.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "jail/jail.h"
#include "jail/seccomp.h"
#include "vm.h"

/* Each returns a negative number, with errno, when it was refused. */

static long try_open(void)
{
	return open("/etc/passwd", O_RDONLY);
}

static long try_open_above(void)
{
	return open("../../../../../../proc/self/maps", O_RDONLY);
}

static long try_create(void)
{
	return open("new-file", O_CREAT | O_WRONLY, 0600);
}

static long try_open_device(void)
{
	return open("/dev/kvm", O_RDWR);
}

static long try_execve(void)
{
	char *argv[] = {"sh", NULL};

	return execve("/bin/sh", argv, NULL);
}

static long try_execveat(void)
{
	char *argv[] = {"x", NULL};

	return syscall(SYS_execveat, STDIN_FILENO, "", argv, NULL, AT_EMPTY_PATH);
}

/* The process that started ours: whatever it is, it is none of the VM's. */
static pid_t victim;

static long try_ptrace(void)
{
	return ptrace(PTRACE_SEIZE, victim, NULL, NULL);
}

static long try_read_memory(void)
{
	char to[8];
	struct iovec local = {to, sizeof(to)}, remote = {environ, sizeof(to)};

	return process_vm_readv(victim, &local, 1, &remote, 1, 0);
}

static long try_kill(void)
{
	return kill(victim, 0);
}

static long try_pidfd(void)
{
	return syscall(SYS_pidfd_open, victim, 0);
}

static long try_socket(void)
{
	return socket(AF_INET, SOCK_STREAM, 0);
}

static long try_connect(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX, .sun_path = "/run/dbus/socket"};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	return fd < 0 ? -1 : connect(fd, (struct sockaddr *)&addr, sizeof(addr));
}

static long try_packet_socket(void)
{
	return socket(AF_PACKET, SOCK_RAW, 0);
}

static long try_bind(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX, .sun_path = "mine.sock"};

	return bind(STDIN_FILENO, (struct sockaddr *)&addr, sizeof(addr));
}

static long try_mount(void)
{
	return mount("none", ".", "tmpfs", 0, NULL);
}

static long try_umount(void)
{
	return umount2("/", MNT_DETACH);
}

static long try_chroot(void)
{
	return chroot(".");
}

static long try_pivot_root(void)
{
	return syscall(SYS_pivot_root, ".", ".");
}

static long try_unshare(void)
{
	return unshare(CLONE_NEWUSER);
}

static long try_setns(void)
{
	return setns(STDIN_FILENO, 0);
}

static long try_mknod(void)
{
	return mknod("device", S_IFBLK | 0600, 0x0800);
}

static long try_link(void)
{
	return symlink("/", "up");
}

static long try_fork(void)
{
	long pid = syscall(SYS_fork);

	if (pid == 0)
		_exit(0);
	return pid;
}

static long try_clone_process(void)
{
	return syscall(SYS_clone, CLONE_VM | CLONE_VFORK | 17, NULL, NULL, NULL, NULL);
}

static long try_clone3(void)
{
	uint64_t args[8] = {0, 0, 0, 0, 17};

	return syscall(SYS_clone3, args, sizeof(args));
}

static long try_clone_thread(void)
{
	const unsigned long flags =
		CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD;

	return syscall(SYS_clone, flags | CLONE_VFORK, NULL, NULL, NULL, NULL);
}

static long try_tiocsti(void)
{
	return ioctl(STDIN_FILENO, TIOCSTI, "x");
}

static long try_other_ioctl(void)
{
	return ioctl(STDIN_FILENO, FIONREAD, NULL);
}

static long try_new_machine(void)
{
	return ioctl(STDIN_FILENO, KVM_CREATE_VM, 0) < 0 && errno == ENOTTY ? 0 : -1;
}

static long try_perf(void)
{
	return syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0);
}

static long try_bpf(void)
{
	return syscall(SYS_bpf, 0, NULL, 0);
}

static long try_keyctl(void)
{
	return syscall(SYS_keyctl, 0, -3, 1);
}

static long try_userfaultfd(void)
{
	return syscall(SYS_userfaultfd, O_CLOEXEC);
}

static long try_io_uring(void)
{
	char params[120] = {0};

	return syscall(SYS_io_uring_setup, 4, params);
}

static long try_memfd(void)
{
	return memfd_create("code", 0);
}

static long try_map_code(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? -1 : 0;
}

static long try_make_code(void)
{
	static char page[8192];
	uintptr_t at = ((uintptr_t)page + 4095) & ~(uintptr_t)4095;

	return mprotect((void *)at, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
}

static long try_root(void)
{
	return syscall(SYS_setresuid, 0, 0, 0) ? -1 : geteuid() == 0 ? 0 : -1;
}

static long try_capset(void)
{
	uint32_t head[2] = {0x20080522, 0}, data[6] = {~0u, ~0u, 0, ~0u, ~0u, 0};

	return syscall(SYS_capset, head, data);
}

static long try_module(void)
{
	return syscall(SYS_init_module, "", 0, "");
}

static long try_reboot(void)
{
	return syscall(SYS_reboot, 0xfee1dead, 672274793, 0, NULL); /* CAD off: harmless */
}

static long try_clock(void)
{
	struct timespec t = {.tv_sec = 1};

	return syscall(SYS_clock_settime, 0, &t);
}

static long try_shared_memory(void)
{
	return syscall(SYS_shmget, 0, 4096, 0600);
}

static long try_rename_elsewhere(void)
{
	return renameat(STDIN_FILENO, "a", STDIN_FILENO, "b");
}

static long try_second_filter(void)
{
	return syscall(SYS_seccomp, 2, 0, NULL); /* SECCOMP_GET_ACTION_AVAIL */
}

static long try_accept(void)
{
	return accept4(STDIN_FILENO, NULL, NULL, 0) < 0 && errno == ENOTSOCK ? 0 : -1;
}

static long try_end_the_vm(void)
{
	syscall(SYS_exit_group, 77);
	return 0;
}

static const struct attack {
	const char *name;
	long (*run)(void);
	bool loop_may; /* the loop's thread needs it: an attack from a vCPU only */
	bool layered;  /* refused without the filter, too */
} attacks[] = {
	{"open", try_open, false, true},
	{"open-above", try_open_above, false, true},
	{"open-device", try_open_device, false, true},
	{"create", try_create, false, false},
	{"execve", try_execve, false, true},
	{"execveat", try_execveat, false, true},
	{"ptrace", try_ptrace, false, true},
	{"read-memory", try_read_memory, false, true},
	{"kill", try_kill, false, true},
	{"pidfd", try_pidfd, false, true},
	{"socket", try_socket, false, false},
	{"connect", try_connect, false, true},
	{"packet-socket", try_packet_socket, false, true},
	{"bind", try_bind, false, false},
	{"mount", try_mount, false, true},
	{"umount", try_umount, false, true},
	{"chroot", try_chroot, false, true},
	{"pivot-root", try_pivot_root, false, true},
	{"unshare", try_unshare, false, false},
	{"setns", try_setns, false, false},
	{"mknod", try_mknod, false, true},
	{"link", try_link, false, false},
	{"fork", try_fork, false, false},
	{"clone-process", try_clone_process, false, false},
	{"clone3", try_clone3, false, false},
	{"clone-thread", try_clone_thread, true, false},
	{"tiocsti", try_tiocsti, false, false},
	{"other-ioctl", try_other_ioctl, false, false},
	{"new-machine", try_new_machine, true, false},
	{"perf", try_perf, false, false},
	{"bpf", try_bpf, false, false},
	{"keyctl", try_keyctl, false, false},
	{"userfaultfd", try_userfaultfd, false, false},
	{"io-uring", try_io_uring, false, false},
	{"memfd", try_memfd, false, false},
	{"map-code", try_map_code, false, false},
	{"make-code", try_make_code, false, false},
	{"root", try_root, false, true},
	{"capset", try_capset, false, true},
	{"module", try_module, false, true},
	{"reboot", try_reboot, false, true},
	{"clock", try_clock, false, true},
	{"shared-memory", try_shared_memory, false, false},
	{"rename-elsewhere", try_rename_elsewhere, false, false},
	{"second-filter", try_second_filter, false, false},
	{"accept", try_accept, true, false},
	{"end-the-vm", try_end_the_vm, true, false},
};

#define NATTACKS (sizeof(attacks) / sizeof(attacks[0]))

static const struct attack *chosen;
static bool from_vcpu, bare, no_seccomp;

static void say(const char *what, const char *more)
{
	char text[200];
	int n = snprintf(text, sizeof(text), "attack %s: %s%s\n", chosen->name, what, more);

	if (write(STDERR_FILENO, text, n) != n)
		abort();
}

static void attack(void)
{
	say("begins", "");
	if (chosen->run() < 0)
		say("refused: ", strerror(errno));
	else
		say("SUCCEEDED", "");
	syscall(SYS_exit_group, 0);
}

/* Before main(), which knows nothing of this. */
__attribute__((constructor)) static void choose(void)
{
	const char *what = getenv("HG_ATTACK"), *name;
	size_t i;

	bare = getenv("HG_ATTACK_BARE");
	no_seccomp = getenv("HG_ATTACK_NO_SECCOMP");
	victim = getppid();
	if (!what) {
		for (i = 0; i < NATTACKS; i++)
			printf("%s %s %s\n", attacks[i].name, attacks[i].loop_may ? "vcpu" : "both",
			       attacks[i].layered ? "layered" : "filtered");
		exit(0);
	}
	from_vcpu = !strncmp(what, "vcpu:", 5);
	name = strchr(what, ':');
	for (i = 0; name && i < NATTACKS; i++)
		if (!strcmp(attacks[i].name, name + 1))
			chosen = &attacks[i];
	if (!chosen) {
		fprintf(stderr, "HG_ATTACK=%s: no such attack\n", what);
		exit(2);
	}
}

int __wrap_vm_create(struct vm *vm, const struct vm_config *cfg, struct error *e);
int __real_vm_create(struct vm *vm, const struct vm_config *cfg, struct error *e);
int __wrap_vm_start(struct vm *vm, struct error *e);
int __real_vm_start(struct vm *vm, struct error *e);
enum vm_request __wrap_vm_run(struct vm *vm);
enum vm_request __real_vm_run(struct vm *vm);
int __wrap_jail_vcpu(struct error *e);
int __real_jail_vcpu(struct error *e);
int __wrap_seccomp_enter(enum thread_class who, struct error *e);
int __real_seccomp_enter(enum thread_class who, struct error *e);

int __wrap_vm_create(struct vm *vm, const struct vm_config *cfg, struct error *e)
{
	return bare ? vm_open(vm, cfg, e) : __real_vm_create(vm, cfg, e);
}

static void *as_a_vcpu(void *unused)
{
	struct error e;

	(void)unused;
	__wrap_jail_vcpu(&e);
	return NULL;
}

int __wrap_vm_start(struct vm *vm, struct error *e)
{
	pthread_t thread;

	if (!bare)
		return __real_vm_start(vm, e);
	if (!from_vcpu)
		return 0;
	if (pthread_create(&thread, NULL, as_a_vcpu, NULL))
		return error_set(e, ERROR_MACHINE, "no thread");
	pthread_join(thread, NULL);
	return 0;
}

enum vm_request __wrap_vm_run(struct vm *vm)
{
	if (!from_vcpu)
		attack();
	return __real_vm_run(vm);
}

int __wrap_jail_vcpu(struct error *e)
{
	if (__real_jail_vcpu(e))
		return -1;
	if (from_vcpu)
		attack();
	return 0;
}

int __wrap_seccomp_enter(enum thread_class who, struct error *e)
{
	return no_seccomp ? 0 : __real_seccomp_enter(who, e);
}
