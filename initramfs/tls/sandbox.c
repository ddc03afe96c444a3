// SPDX-License-Identifier: Apache-2.0
/*
 * What is left to the two processes.  The filter is the wall: without open(), an empty root and a
 * user of its own matter only if the filter fails, and without root there is the filter alone.
 */
#include "tls.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Nobody else's: hg-vmm gives each VM one of the four million numbers from 0x70000000 on. */
#define OWN_ID 0x6ffffffeu

struct row {
	int nr;
	unsigned int arg;
	uint32_t never; /* bits that this argument must not have */
	const char *why;
};

static const struct row relay_calls[] = {
	{SYS_poll, 0, 0, "wait for any of the connections"},
	{SYS_ppoll, 0, 0, "the same, where libc prefers it"},
	{SYS_accept4, 0, 0, "new connections"},
	{SYS_recvfrom, 0, 0, "bytes in"},
	{SYS_sendto, 0, 0, "bytes out; a request to the connector"},
	{SYS_recvmsg, 0, 0, "the connector's answer"},
	{SYS_shutdown, 0, 0, "half-closed connections"},
	{SYS_close, 0, 0, "the end of a connection"},
	{SYS_write, 0, 0, "stdout and stderr"},
	{SYS_getrandom, 0, 0, "keys of sessions"},
	{SYS_clock_gettime, 0, 0, "time-outs, where the vDSO has no clock"},
	{SYS_time, 0, 0, "a random number's first bytes, where the vDSO has no clock"},
	{SYS_brk, 0, 0, "malloc"},
	{SYS_mmap, 2, PROT_EXEC, "malloc: never executable"},
	{SYS_mremap, 0, 0, "malloc"},
	{SYS_munmap, 0, 0, "malloc"},
	{SYS_madvise, 0, 0, "malloc"},
	{SYS_restart_syscall, 0, 0, "a wait interrupted by SIGSTOP and SIGCONT"},
	{SYS_exit_group, 0, 0, "the end"},
};

static const struct row connector_calls[] = {
	{SYS_read, 0, 0, "a request"},
	{SYS_socket, 0, ~(uint32_t)AF_UNIX, "to connect with: not to the network"},
	{SYS_connect, 0, 0, "to the server; the path never changes"},
	{SYS_sendmsg, 0, 0, "the answer"},
	{SYS_close, 0, 0, "the socket, once it is handed over"},
	{SYS_restart_syscall, 0, 0, "a wait interrupted by SIGSTOP and SIGCONT"},
	{SYS_exit_group, 0, 0, "the end"},
};

#define MAX_CODE      128
#define DATA(field)   ((uint32_t)offsetof(struct seccomp_data, field))
#define LOAD(off)     (struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, off)
#define RET(value)    (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, value)
#define JEQ(k, t, f)  (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, k, t, f)
#define JSET(k, t, f) (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, k, t, f)

/* Documentation/userspace-api/seccomp_filter.rst; whatever is in no row ends the process. */
static int filter(const struct row *rows, size_t n)
{
	struct sock_filter code[MAX_CODE];
	struct sock_fprog program = {.filter = code};
	const struct row *row;
	size_t len = 0;

	code[len++] = LOAD(DATA(arch));
	code[len++] = JEQ(AUDIT_ARCH_X86_64, 1, 0);
	code[len++] = RET(SECCOMP_RET_KILL_PROCESS);
	code[len++] = LOAD(DATA(nr)); /* x32 numbers have bit 30 set and match no row */
	for (row = rows; row < rows + n && len + 5 < MAX_CODE; row++) {
		if (!row->never) {
			code[len++] = JEQ((uint32_t)row->nr, 0, 1);
			code[len++] = RET(SECCOMP_RET_ALLOW);
			continue;
		}
		code[len++] = JEQ((uint32_t)row->nr, 0, 4);
		code[len++] = LOAD(DATA(args) + 8 * row->arg); /* its low half */
		code[len++] = JSET(row->never, 0, 1);
		code[len++] = RET(SECCOMP_RET_KILL_PROCESS);
		code[len++] = RET(SECCOMP_RET_ALLOW);
	}
	code[len++] = RET(SECCOMP_RET_KILL_PROCESS);
	program.len = (unsigned short)len;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program)) {
		complain("seccomp: %s (CONFIG_SECCOMP_FILTER; --no-sandbox runs without)",
			 strerror(errno));
		return -1;
	}
	return 0;
}

/* A folder that is removed while it is the root stays empty: nothing can be made in it. */
static int empty_root(void)
{
	char folder[] = "/tmp/hg-tls-XXXXXX";

	if (!mkdtemp(folder))
		return -1;
	return chdir(folder) || rmdir(folder) || chroot(".") ? -1 : 0;
}

int sandbox_relay(void)
{
	if (geteuid() == 0 && (empty_root() || syscall(SYS_setgroups, 0, NULL) ||
			       syscall(SYS_setresgid, OWN_ID, OWN_ID, OWN_ID) ||
			       syscall(SYS_setresuid, OWN_ID, OWN_ID, OWN_ID))) {
		complain("an empty root and a user of its own: %s", strerror(errno));
		return -1;
	}
	return filter(relay_calls, sizeof(relay_calls) / sizeof(relay_calls[0]));
}

/* It stays the user whom the server lets in. */
int sandbox_connector(void)
{
	return filter(connector_calls, sizeof(connector_calls) / sizeof(connector_calls[0]));
}
