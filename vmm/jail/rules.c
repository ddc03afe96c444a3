// SPDX-License-Identifier: Apache-2.0
/*
 * The table of system calls.  A new one needs a row, with its reason, and the class of the
 * threads that make it; devices run in a vCPU's thread for registers (activate, reset) and,
 * where ops->notify_inline is set, for requests.
 */
#include "jail/rules.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <linux/vhost.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define IOCTL(who, cmd, why) {SYS_ioctl, who, 1, UINT32_MAX, (uint32_t)(cmd), 0, why}
#define CALL(who, name, why) {SYS_##name, who, ANY_ARGUMENT, 0, 0, 0, why}

#define THREAD_FLAGS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD)

const struct rule jail_rules[] = {
	IOCTL(VCPU, KVM_RUN, "run the guest"),
	IOCTL(VCPU, KVM_IRQ_LINE, "devices: interrupts"),
	CALL(VCPU, futex, "locks between vCPUs and the loop"),
	CALL(LOOP, epoll_wait, "loop"),
	CALL(LOOP, epoll_pwait, "loop, where libc prefers it"),
	CALL(VCPU, epoll_ctl, "flow control of taps and clients; new clients"),
	CALL(LOOP, read, "eventfds, timer, signals, terminal"),
	CALL(VCPU, write, "wake-ups, log, terminal"),
	CALL(VCPU, io_uring_enter, "block requests; a driver's reset waits for those in flight"),
	CALL(VCPU, preadv2, "block requests without io_uring"),
	CALL(VCPU, pwritev2, "block requests without io_uring"),
	CALL(VCPU, fdatasync, "block flush without io_uring; an overlay's header"),
	CALL(VCPU, fallocate, "block discard and write-zeroes without io_uring"),
	CALL(LOOP, readv, "packets in"),
	CALL(LOOP, writev, "packets out"),
	CALL(VCPU, sendto, "console and control clients"),
	CALL(VCPU, recvfrom, "console and control clients; vhost-user, at DRIVER_OK"),
	CALL(VCPU, sendmsg, "vhost-user: RAM and rings handed over at DRIVER_OK"),
	CALL(LOOP, accept4, "new clients"),
	CALL(VCPU, close, "clients that left; the old machine on reset"),
	CALL(VCPU, timerfd_settime, "console: collected output"),
	CALL(VCPU, pwrite64, "console log"),
	CALL(VCPU, pread64, "console log rotation; kernel's headers on reset"),
	CALL(VCPU, lseek, "size of kernel and initrd on reset; block_resize"),
	CALL(VCPU, ftruncate, "console log rotation; block_resize"),
	CALL(VCPU, getrandom, "entropy device; malloc's and jansson's seeds"),
	CALL(VCPU, clock_gettime, "time stamps where the vDSO has none"),
	CALL(VCPU, gettimeofday, "event time stamps where the vDSO has none"),
	CALL(LOOP, getpid, "x-hypergen-info; raising a signal"),
	CALL(LOOP, gettid, "raising a signal"),
	CALL(LOOP, tgkill, "kicking a vCPU out of the guest"),
	CALL(VCPU, rt_sigreturn, "return from that kick"),
	CALL(VCPU, rt_sigprocmask, "thread creation and end"),
	CALL(LOOP, rt_sigaction, "libc's first thread"),
	CALL(VCPU, restart_syscall, "a wait interrupted by SIGSTOP and SIGCONT"),
	CALL(VCPU, brk, "malloc"),
	CALL(VCPU, munmap, "malloc, thread stacks, vCPU areas"),
	CALL(VCPU, mremap, "malloc of large blocks"),
	CALL(VCPU, madvise, "guest RAM on reset; thread stacks; the balloon"),
	{SYS_mmap, VCPU, 2, PROT_EXEC, 0, 0, "malloc, stacks, vCPU areas: never executable"},
	{SYS_mprotect, VCPU, 2, PROT_EXEC, 0, 0, "malloc, stacks: never executable"},
	{SYS_clone3, LOOP, ANY_ARGUMENT, 0, 0, ENOSYS,
	 "its flags cannot be checked: libc falls back to clone"},
	{SYS_clone, LOOP, 0, THREAD_FLAGS, THREAD_FLAGS, 0, "vCPU threads, and no processes"},
	{SYS_seccomp, LOOP, 0, UINT32_MAX, SECCOMP_SET_MODE_FILTER, 0,
	 "a vCPU's thread takes its own, narrower filter"},
	CALL(LOOP, sched_setaffinity, "vCPU threads on their CPUs (--cpu-affinity)"),
	CALL(LOOP, set_robust_list, "thread start"),
	CALL(LOOP, rseq, "thread start"),
	CALL(VCPU, sched_yield, "a vCPU lets a waiting loop go first; libc's locks"),
	CALL(LOOP, dup2, "daemon: stdio moves to /dev/null once the VM runs"),
	CALL(VCPU, exit, "thread end"),
	CALL(LOOP, exit_group, "the end"),
	{SYS_unlinkat, LOOP, 0, UINT32_MAX, (uint32_t)AT_FDCWD, 0,
	 "a start that failed leaves no part of exit.json"},
	{SYS_renameat, LOOP, 0, UINT32_MAX, (uint32_t)AT_FDCWD, 0, "exit.json gets its name"},
	IOCTL(LOOP, KVM_CREATE_VM, "start, reset: a new machine"),
	IOCTL(LOOP, KVM_CHECK_EXTENSION, "start: what this KVM can"),
	IOCTL(LOOP, KVM_GET_SUPPORTED_CPUID, "start: what the guest may see of the CPU"),
	IOCTL(LOOP, KVM_GET_TSC_KHZ, "start: told to the guest"),
	IOCTL(LOOP, KVM_SET_IDENTITY_MAP_ADDR, "start, reset"),
	IOCTL(LOOP, KVM_SET_TSS_ADDR, "start, reset"),
	IOCTL(LOOP, KVM_CREATE_IRQCHIP, "start, reset"),
	IOCTL(LOOP, KVM_SET_USER_MEMORY_REGION, "start, reset"),
	IOCTL(LOOP, KVM_SET_GSI_ROUTING, "start, reset"),
	IOCTL(LOOP, KVM_CREATE_VCPU, "start, reset"),
	IOCTL(LOOP, KVM_SET_CPUID2, "start, reset"),
	IOCTL(LOOP, KVM_SET_TSC_KHZ, "start, reset"),
	IOCTL(LOOP, KVM_SET_MSRS, "start, reset"),
	IOCTL(LOOP, KVM_GET_SREGS, "start, reset"),
	IOCTL(LOOP, KVM_SET_SREGS, "start, reset"),
	IOCTL(LOOP, KVM_SET_REGS, "start, reset"),
	IOCTL(LOOP, KVM_IOEVENTFD, "start, reset"),
	IOCTL(VCPU, KVM_IRQFD, "reset; vhost, at DRIVER_OK"),
	IOCTL(VCPU, VHOST_SET_FEATURES, "vhost: at DRIVER_OK"),
	IOCTL(VCPU, VHOST_SET_VRING_NUM, "vhost: at DRIVER_OK"),
	IOCTL(VCPU, VHOST_SET_VRING_BASE, "vhost: at DRIVER_OK"),
	IOCTL(VCPU, VHOST_SET_VRING_ADDR, "vhost: at DRIVER_OK"),
	IOCTL(VCPU, VHOST_SET_VRING_ERR, "vhost: at DRIVER_OK"),
	IOCTL(VCPU, VHOST_SET_VRING_CALL, "vhost: at DRIVER_OK; let go at reset"),
	IOCTL(VCPU, VHOST_SET_VRING_KICK, "vhost: at DRIVER_OK; let go at reset"),
	IOCTL(VCPU, VHOST_GET_VRING_BASE, "vhost: reset, snapshot"),
	IOCTL(VCPU, VHOST_NET_SET_BACKEND, "vhost-net: go and halt"),
	IOCTL(VCPU, VHOST_VSOCK_SET_RUNNING, "vhost-vsock: go and halt"),
	IOCTL(VCPU, KVM_GET_REGS, "where the guest was when it failed"),
	IOCTL(LOOP, KVM_KVMCLOCK_CTRL, "cont: the guest's watchdog forgives the pause"),
	IOCTL(LOOP, KVM_TRANSLATE, "debugger: memory at virtual addresses"),
	IOCTL(LOOP, KVM_SET_GUEST_DEBUG, "debugger: breakpoints, steps"),
	IOCTL(LOOP, KVM_GET_FPU, "debugger: registers"),
	IOCTL(LOOP, KVM_SET_FPU, "debugger: registers"),
	IOCTL(LOOP, KVM_GET_DEBUGREGS, "debugger: exceptions that are the guest's own"),
	IOCTL(LOOP, KVM_SET_DEBUGREGS, "debugger: exceptions that are the guest's own"),
	IOCTL(LOOP, KVM_GET_MP_STATE, "debugger: what a vCPU does"),
	IOCTL(VCPU, TUNSETOFFLOAD, "net: what the driver negotiated"),
	IOCTL(VCPU, TUNSETTXFILTER, "net: which addresses the driver listens to"),
	IOCTL(VCPU, TUNSETQUEUE, "net: how many pairs of queues the driver uses"),
	IOCTL(LOOP, TIOCGWINSZ, "terminal: its size"),
	IOCTL(LOOP, TCGETS, "terminal: libc reads back what it has set"),
	IOCTL(LOOP, TCSETS, "terminal: given back"),
	IOCTL(LOOP, TCSETS + 1, "terminal: given back after its output (TCSETSW)"),
};

const size_t jail_nrules = sizeof(jail_rules) / sizeof(jail_rules[0]);
