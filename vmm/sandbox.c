// SPDX-License-Identifier: Apache-2.0
#include "sandbox.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <linux/vhost.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What a row allows: always, or when (argument & mask) == value; rows of one call add up. */
struct rule {
	int nr;
	int arg; /* ANY, or the argument's number */
	uint32_t mask, value;
	int error; /* not 0: the call fails with this errno instead of being allowed */
	const char *why;
};

#define ANY		-1
#define IOCTL(cmd, why) {SYS_ioctl, 1, UINT32_MAX, (uint32_t)(cmd), 0, why}
#define CALL(name, why) {SYS_##name, ANY, 0, 0, 0, why}

#define THREAD_FLAGS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD)

/* The most frequent first: the filter is walked from the top. */
static const struct rule rules[] = {
	IOCTL(KVM_RUN, "vCPU: run the guest"),
	IOCTL(KVM_IRQ_LINE, "devices: interrupts"),
	CALL(futex, "locks between vCPUs and the loop"),
	CALL(epoll_wait, "loop"),
	CALL(epoll_pwait, "loop, where libc prefers it"),
	CALL(epoll_ctl, "loop: flow control, new clients"),
	CALL(read, "eventfds, timer, signals, terminal"),
	CALL(write, "wake-ups, log, terminal"),
	CALL(io_uring_enter, "block requests"),
	CALL(preadv2, "block requests without io_uring"),
	CALL(pwritev2, "block requests without io_uring"),
	CALL(fdatasync, "block flush without io_uring"),
	CALL(readv, "packets in"),
	CALL(writev, "packets out"),
	CALL(sendto, "console and control clients"),
	CALL(recvfrom, "console and control clients"),
	CALL(accept4, "new clients"),
	CALL(close, "clients that left; the old machine on reset"),
	CALL(timerfd_settime, "console: collected output"),
	CALL(pwrite64, "console log"),
	CALL(pread64, "console log rotation; kernel and initrd on reset"),
	CALL(ftruncate, "console log rotation"),
	CALL(getrandom, "entropy device; malloc's and jansson's seeds"),
	CALL(clock_gettime, "time stamps where the vDSO has none"),
	CALL(gettimeofday, "event time stamps where the vDSO has none"),
	CALL(getpid, "x-hypergen-info; raising a signal"),
	CALL(gettid, "raising a signal"),
	CALL(tgkill, "kicking a vCPU out of the guest"),
	CALL(rt_sigreturn, "return from that kick"),
	CALL(rt_sigprocmask, "thread creation"),
	CALL(rt_sigaction, "libc's first thread"),
	CALL(restart_syscall, "a wait interrupted by SIGSTOP and SIGCONT"),
	CALL(brk, "malloc"),
	CALL(munmap, "malloc, thread stacks, vCPU areas"),
	CALL(mremap, "malloc of large blocks"),
	CALL(madvise, "guest RAM on reset; thread stacks"),
	{SYS_mmap, 2, PROT_EXEC, 0, 0, "malloc, stacks, vCPU areas: never executable"},
	{SYS_mprotect, 2, PROT_EXEC, 0, 0, "stacks: never executable"},
	{SYS_clone3, ANY, 0, 0, ENOSYS, "its flags cannot be checked: libc falls back to clone"},
	{SYS_clone, 0, THREAD_FLAGS, THREAD_FLAGS, 0, "vCPU threads, and no processes"},
	CALL(sched_setaffinity, "vCPU threads on their CPUs (--cpu-affinity)"),
	CALL(set_robust_list, "thread start"),
	CALL(rseq, "thread start"),
	CALL(sched_yield, "libc's locks"),
	CALL(dup2, "daemon: stdio moves to /dev/null once the VM runs"),
	CALL(exit, "thread end"),
	CALL(exit_group, "the end"),
	IOCTL(KVM_CREATE_VM, "reset: a new machine"),
	IOCTL(KVM_SET_IDENTITY_MAP_ADDR, "reset"),
	IOCTL(KVM_SET_TSS_ADDR, "reset"),
	IOCTL(KVM_CREATE_IRQCHIP, "reset"),
	IOCTL(KVM_SET_USER_MEMORY_REGION, "reset"),
	IOCTL(KVM_SET_GSI_ROUTING, "reset"),
	IOCTL(KVM_CREATE_VCPU, "reset"),
	IOCTL(KVM_SET_CPUID2, "reset"),
	IOCTL(KVM_SET_TSC_KHZ, "reset"),
	IOCTL(KVM_SET_MSRS, "reset"),
	IOCTL(KVM_GET_SREGS, "reset"),
	IOCTL(KVM_SET_SREGS, "reset"),
	IOCTL(KVM_SET_REGS, "reset"),
	IOCTL(KVM_IOEVENTFD, "reset"),
	IOCTL(KVM_IRQFD, "reset"),
	IOCTL(VHOST_SET_FEATURES, "vhost: at DRIVER_OK"),
	IOCTL(VHOST_SET_VRING_NUM, "vhost: at DRIVER_OK"),
	IOCTL(VHOST_SET_VRING_BASE, "vhost: at DRIVER_OK"),
	IOCTL(VHOST_SET_VRING_ADDR, "vhost: at DRIVER_OK"),
	IOCTL(VHOST_SET_VRING_ERR, "vhost: at DRIVER_OK"),
	IOCTL(VHOST_SET_VRING_CALL, "vhost: at DRIVER_OK; let go at reset"),
	IOCTL(VHOST_SET_VRING_KICK, "vhost: at DRIVER_OK; let go at reset"),
	IOCTL(VHOST_GET_VRING_BASE, "vhost: reset, snapshot"),
	IOCTL(VHOST_NET_SET_BACKEND, "vhost-net: go and halt"),
	IOCTL(VHOST_VSOCK_SET_RUNNING, "vhost-vsock: go and halt"),
	IOCTL(KVM_GET_REGS, "where the guest was when it failed"),
	IOCTL(KVM_KVMCLOCK_CTRL, "cont: the guest's watchdog forgives the pause"),
	IOCTL(TUNSETOFFLOAD, "net: what the driver negotiated"),
	IOCTL(TIOCGWINSZ, "terminal: its size"),
	IOCTL(TCGETS, "terminal: libc reads back what it has set"),
	IOCTL(TCSETS, "terminal: given back"),
	IOCTL(TCSETS + 1, "terminal: given back after its output (TCSETSW)"),
};

/* Only with a run directory, see enter_folder(). */
static const struct rule rename_rule = CALL(renameat, "exit.json gets its name");

#define NRULES	     (sizeof(rules) / sizeof(rules[0]))
#define MAX_PER_RULE 6
#define DATA(field)  ((uint32_t)offsetof(struct seccomp_data, field))
#define LOAD(off)    (struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, off)
#define RET(value)   (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, value)
#define JEQ(k, t, f) (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, k, t, f)
#define AND(k)	     (struct sock_filter) BPF_STMT(BPF_ALU | BPF_AND | BPF_K, k)

/* Invariant between rules: the accumulator holds the call's number. */
static size_t compile_rule(const struct rule *r, struct sock_filter *out)
{
	uint32_t action = r->error ? SECCOMP_RET_ERRNO | (uint32_t)r->error : SECCOMP_RET_ALLOW;
	size_t n = 0;

	if (r->arg == ANY) {
		out[n++] = JEQ((uint32_t)r->nr, 0, 1);
		out[n++] = RET(action);
		return n;
	}
	out[n++] = JEQ((uint32_t)r->nr, 0, 5);
	out[n++] = LOAD(DATA(args) + 8 * (uint32_t)r->arg); /* low half, little endian */
	out[n++] = AND(r->mask);
	out[n++] = JEQ(r->value, 0, 1);
	out[n++] = RET(action);
	out[n++] = LOAD(DATA(nr));
	return n;
}

/* The kernel's limits for a process that runs as root on a host: none of it is needed now. */
static int drop_capabilities(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

	return syscall(SYS_capset, &head, none);
}

/*
 * One path is still used later: exit.json gets its name, in the folder that is the working
 * directory from here on.  With the right to it, that folder also becomes all there is.
 */
static int enter_folder(const char *dir)
{
	if (!dir)
		return 0;
	if (chdir(dir))
		return -1;
	if (chroot(".") && errno != EPERM)
		return -1;
	return 0;
}

int sandbox_enter(const char *run_dir, struct error *e)
{
	struct sock_filter code[4 + (NRULES + 1) * MAX_PER_RULE + 1];
	struct sock_fprog prog = {.filter = code};
	size_t n = 0, i;

	code[n++] = LOAD(DATA(arch));
	code[n++] = JEQ(AUDIT_ARCH_X86_64, 1, 0);
	code[n++] = RET(SECCOMP_RET_KILL_PROCESS);
	code[n++] = LOAD(DATA(nr)); /* x32 numbers have bit 30 set and match no row */
	for (i = 0; i < NRULES; i++)
		n += compile_rule(&rules[i], code + n);
	if (run_dir)
		n += compile_rule(&rename_rule, code + n);
	code[n++] = RET(SECCOMP_RET_KILL_PROCESS);
	prog.len = n;
	if (enter_folder(run_dir))
		return error_set(e, ERROR_MACHINE, "%s: %s", run_dir, strerror(errno));
	if (drop_capabilities())
		return error_set(e, ERROR_MACHINE, "capabilities: %s", strerror(errno));
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return error_set(e, ERROR_MACHINE, "no_new_privs: %s", strerror(errno));
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog))
		return error_set(e, ERROR_MACHINE,
				 "seccomp: %s (CONFIG_SECCOMP_FILTER; --no-sandbox runs without)",
				 strerror(errno));
	return 0;
}
