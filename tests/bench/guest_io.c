// SPDX-License-Identifier: Apache-2.0
/*
 * A guest's init that measures disk and network from inside: instructions a request, by the TSC,
 * of everything that one CPU does for it: guest, VMM and host. Prints "bench KEY VALUE" lines,
 * each the cycles for one request or one MiB.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <x86intrin.h>

#include "guest_console.h"
#include "net.h"

#define DISK	  "/dev/vda"
#define BLOCK	  4096
#define SPAN	  (48u << 20) /* bytes of the disk that are used */
#define REQUESTS  1024
#define DEPTH_MAX 32
#define MIB	  (1u << 20)
#define ROUNDS	  1000 /* requests and responses */
#define STREAMS	  5    /* each way, of which the median counts: how packets meet differs */

static char *buffer;

/* Cycles from `start` until now. */
static uint64_t since(uint64_t start)
{
	return __rdtsc() - start;
}

static _Noreturn void stop(const char *what)
{
	printf("bench-failed %s: %s\nbench-guest-done\n", what, strerror(errno));
	for (;;)
		pause();
}

/* A fixed sequence: both VMMs get the same requests. */
static off_t next_place(void)
{
	static uint32_t x = 12345;

	x = x * 1664525u + 1013904223u;
	return (off_t)(x >> 8) % (SPAN / BLOCK) * BLOCK;
}

static void submit(aio_context_t ctx, int fd, int write, int slot)
{
	struct iocb cb = {.aio_fildes = fd, .aio_nbytes = BLOCK}, *list = &cb;

	cb.aio_lio_opcode = write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD;
	cb.aio_buf = (uintptr_t)(buffer + slot * BLOCK);
	cb.aio_offset = next_place();
	cb.aio_data = slot;
	if (syscall(SYS_io_submit, ctx, 1L, &list) != 1)
		stop("io_submit");
}

static uint64_t random_io(int fd, int write, int depth)
{
	struct io_event events[DEPTH_MAX];
	int sent = 0, done = 0, i, n;
	aio_context_t ctx = 0;
	uint64_t start;

	if (syscall(SYS_io_setup, depth, &ctx))
		stop("io_setup");
	start = __rdtsc();
	for (; sent < depth; sent++)
		submit(ctx, fd, write, sent);
	while (done < REQUESTS) {
		n = syscall(SYS_io_getevents, ctx, 1L, (long)depth, events, NULL);
		if (n <= 0)
			stop("io_getevents");
		for (i = 0; i < n; i++, done++) {
			if (events[i].res != BLOCK)
				stop("request");
			if (sent < REQUESTS) {
				submit(ctx, fd, write, events[i].data);
				sent++;
			}
		}
	}
	start = since(start);
	syscall(SYS_io_destroy, ctx);
	return start / REQUESTS;
}

static uint64_t sequential(int fd, int write)
{
	uint64_t start = __rdtsc();
	off_t at;

	for (at = 0; at < SPAN; at += MIB)
		if ((write ? pwrite(fd, buffer, MIB, at) : pread(fd, buffer, MIB, at)) != MIB)
			stop("sequential");
	return (since(start)) / (SPAN / MIB);
}

static void measure_disk(void)
{
	int fd = open(DISK, O_RDWR | O_DIRECT), write;

	if (fd < 0)
		return;
	/*
	 * The host's file gets its pages, and they get to the list of those in use: the VMM that
	 * comes first does not pay for that.
	 */
	sequential(fd, 1);
	sequential(fd, 0);
	for (write = 0; write < 2; write++) {
		const char *name = write ? "write" : "read";

		printf("bench disk-%s-qd1 %lu\n", name, random_io(fd, write, 1));
		printf("bench disk-%s-qd32 %lu\n", name, random_io(fd, write, 32));
		printf("bench disk-%s-seq %lu\n", name, sequential(fd, write));
	}
	close(fd);
}

static int set_up_network(void)
{
	struct ifreq req = {.ifr_name = "eth0"};
	struct sockaddr_in *address = (struct sockaddr_in *)&req.ifr_addr;
	int s = socket(AF_INET, SOCK_DGRAM, 0), r;

	address->sin_family = AF_INET;
	address->sin_addr.s_addr = inet_addr(NET_GUEST);
	r = ioctl(s, SIOCSIFADDR, &req);
	address->sin_addr.s_addr = inet_addr(NET_MASK);
	r = r ? r : ioctl(s, SIOCSIFNETMASK, &req);
	req.ifr_flags = IFF_UP | IFF_RUNNING;
	r = r ? r : ioctl(s, SIOCSIFFLAGS, &req);
	close(s);
	return r;
}

static int service(char kind)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(NET_PORT)};
	int s = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	to.sin_addr.s_addr = inet_addr(NET_HOST);
	setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(s, (struct sockaddr *)&to, sizeof(to)) || write(s, &kind, 1) != 1)
		stop("connect");
	return s;
}

static uint64_t stream(char kind)
{
	int s = service(kind);
	size_t left = NET_STREAM;
	uint64_t start = __rdtsc();
	ssize_t n;
	char c;

	while (left) {
		n = left < MIB ? left : MIB;
		n = kind == 's' ? write(s, buffer, n) : read(s, buffer, n);
		if (n <= 0)
			stop("stream");
		left -= n;
	}
	if (kind == 's' && read(s, &c, 1) != 1)
		stop("end of stream");
	close(s);
	return (since(start)) / (NET_STREAM / MIB);
}

static void measure_network(void)
{
	uint64_t start;
	char c = 'x';
	int s, i;

	if (set_up_network())
		return;
	s = service('e');
	for (i = -10, start = 0; i < ROUNDS; i++) { /* the first ones resolve addresses */
		if (i == 0)
			start = __rdtsc();
		if (write(s, &c, 1) != 1 || read(s, &c, 1) != 1)
			stop("echo");
	}
	printf("bench net-request %lu\n", (since(start)) / ROUNDS);
	close(s);
	/* Memory that the guest's kernel first touches is cleared by the host: not for these. */
	stream('s');
	stream('g');
	for (i = 0; i < STREAMS; i++) {
		printf("bench net-send %lu\n", stream('s'));
		printf("bench net-receive %lu\n", stream('g'));
	}
}

int main(void)
{
	wait_for_console();
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("bench-guest-init\n");
	mkdir("/dev", 0755);
	mount("dev", "/dev", "devtmpfs", 0, NULL);
	if (posix_memalign((void **)&buffer, MIB, MIB))
		stop("memory");
	memset(buffer, 'b', MIB);
	measure_disk();
	measure_network();
	printf("bench-guest-done\n");
	for (;;)
		pause();
}
