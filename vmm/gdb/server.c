// SPDX-License-Identifier: Apache-2.0
/* The debugger's connection: listening, bytes in, bytes out, and its end. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "console.h"
#include "cpuid.h"
#include "gdb/stub.h"
#include "log.h"
#include "options/params.h"

#define READ_SIZE 4096

/* Everything from `in` on belongs to one connection. */
static void forget_connection(struct gdb *g)
{
	memset(&g->in, 0, sizeof(*g) - offsetof(struct gdb, in));
}

void server_drop(struct gdb *g)
{
	if (g->client.fd < 0)
		return;
	loop_remove(&g->vm->loop, &g->client);
	close(g->client.fd);
	g->client.fd = -1;
	run_release(g);
	log_line("gdb: disconnected");
}

static void flush(struct gdb *g)
{
	ssize_t n = 0;

	while (g->out_len) {
		n = send(g->client.fd, g->out, g->out_len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n <= 0)
			break;
		g->out_len -= (size_t)n;
		memmove(g->out, g->out + n, g->out_len);
	}
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		g->end = true;
	else if (g->out_len)
		loop_change(&g->vm->loop, &g->client, EPOLLIN | EPOLLOUT);
	else
		loop_change(&g->vm->loop, &g->client, EPOLLIN);
}

/* A client that asks on without reading the answers has lost the connection. */
static void put(struct gdb *g, const char *data, size_t len)
{
	if (len > OUT_MAX - g->out_len) {
		g->out_len = 0;
		g->end = true;
		return;
	}
	memcpy(g->out + g->out_len, data, len);
	g->out_len += len;
}

void server_send(struct gdb *g, const struct rsp_reply *r)
{
	g->last_len = rsp_frame(r, g->last);
	put(g, g->last, g->last_len);
	flush(g);
}

static void serve_packet(struct gdb *g)
{
	struct rsp_reply *r = &g->reply;

	r->len = 0;
	r->overflow = false;
	if (!stub_packet(g, r))
		return;
	if (r->overflow) {
		r->len = 0;
		rsp_text(r, "E.the answer does not fit");
	}
	server_send(g, r);
	/* The answer that turns acknowledgements off is the last one that is acknowledged. */
	g->no_ack |= g->no_ack_next;
}

static void serve_byte(struct gdb *g, uint8_t byte)
{
	switch (rsp_feed(&g->in, byte)) {
	case RSP_NONE:
		break;
	case RSP_PACKET:
		if (!g->no_ack)
			put(g, "+", 1);
		serve_packet(g);
		break;
	case RSP_BAD:
		if (!g->no_ack)
			put(g, "-", 1);
		break;
	case RSP_LONG:
		if (!g->no_ack)
			put(g, "+", 1);
		g->reply.len = 0;
		rsp_text(&g->reply, "E.the packet is too long");
		server_send(g, &g->reply);
		break;
	case RSP_NACK:
		if (!g->no_ack)
			put(g, g->last, g->last_len);
		break;
	case RSP_INTERRUPT:
		run_interrupt(g, SIGNAL_INT);
		break;
	}
}

static void serve_bytes(struct gdb *g, const char *data, size_t len)
{
	size_t i;

	for (i = 0; i < len && !g->end; i++)
		serve_byte(g, (uint8_t)data[i]);
	flush(g);
	if (g->end)
		server_drop(g);
}

static void on_client(void *arg, uint32_t events)
{
	struct gdb *g = arg;
	char data[READ_SIZE];
	ssize_t n;

	if (events & EPOLLOUT)
		flush(g);
	n = recv(g->client.fd, data, sizeof(data), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		n = 0;
	else if (n <= 0)
		g->end = true;
	serve_bytes(g, data, n > 0 ? (size_t)n : 0);
}

static int attach(struct gdb *g, int fd)
{
	struct vm *vm = g->vm;
	enum vm_state before = vm->state;

	if (g->client.fd >= 0 || vm->request >= REQUEST_POWEROFF) {
		close(fd);
		return -1;
	}
	forget_connection(g);
	g->client = (struct loop_source){.fd = fd, .fn = on_client, .arg = g};
	if (loop_add(&vm->loop, &g->client, EPOLLIN)) {
		close(fd);
		g->client.fd = -1;
		return -1;
	}
	g->running = true; /* until it is stopped, right now */
	g->silent = true;  /* gdb asks why by '?' */
	g->told = before != VM_RUNNING;
	run_interrupt(g, before == VM_PANICKED ? SIGNAL_ABORT : SIGNAL_TRAP);
	g->silent = false;
	g->was_paused = before == VM_PAUSED;
	log_line("gdb: connected");
	return 0;
}

static void on_connect(void *arg, uint32_t events)
{
	struct gdb *g = arg;
	int fd;

	(void)events;
	fd = accept4(g->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0)
		attach(g, fd);
}

static struct gdb *get(struct vm *vm)
{
	struct gdb *g = vm->gdb;

	if (g)
		return g;
	g = calloc(1, sizeof(*g));
	if (!g)
		return NULL;
	g->vm = vm;
	g->ops = &kvm_target;
	g->trap = cpuid_host_is_tcg() ? &trap_out : &trap_int3;
	g->listener = (struct loop_source){.fd = -1, .fn = on_connect, .arg = g};
	g->client.fd = -1;
	vm->gdb = g;
	return g;
}

static int listen_tcp(uint64_t port, struct error *e)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK); /* it is a door into the guest */
	/* Connections inherit NODELAY: they are made when no socket option can be set. */
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) ||
	    bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || listen(fd, 1)) {
		error_set(e, ERROR_MACHINE, "--gdb: port %u of 127.0.0.1: %s", (unsigned int)port,
			  strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

int gdb_listen(struct vm *vm, const char *where, struct error *e)
{
	struct gdb *g = get(vm);
	uint64_t port;

	if (!g)
		return error_set(e, ERROR_MACHINE, "out of memory");
	if (!parse_number(where, 1, 65535, &port))
		g->listener.fd = listen_tcp(port, e);
	else
		g->listener.fd = listen_unix(where, e);
	if (g->listener.fd < 0)
		return -1;
	if (loop_add(&vm->loop, &g->listener, EPOLLIN))
		return error_set(e, ERROR_MACHINE, "--gdb: %s", strerror(errno));
	return 0;
}

int gdb_adopt(struct vm *vm, int fd, const char *early, size_t len)
{
	struct gdb *g = get(vm);

	if (!g) {
		close(fd);
		return -1;
	}
	if (attach(g, fd))
		return -1;
	serve_bytes(g, early, len);
	return 0;
}

bool gdb_connected(const struct vm *vm)
{
	return vm->gdb && vm->gdb->client.fd >= 0;
}

bool gdb_holds(const struct vm *vm)
{
	return gdb_connected(vm) && !vm->gdb->running;
}

unsigned int gdb_breakpoints(const struct vm *vm)
{
	unsigned int i, n = 0;

	for (i = 0; vm->gdb && i < MAX_BREAKPOINTS; i++)
		n += vm->gdb->breakpoints[i].used;
	return n;
}

void gdb_ended(struct vm *vm, bool failed)
{
	struct gdb *g = vm->gdb;

	if (!g || g->client.fd < 0)
		return;
	if (g->running) {
		g->reply.len = 0;
		rsp_text(&g->reply, failed ? "X%02x" : "W00", SIGNAL_ABORT);
		server_send(g, &g->reply);
	}
	breakpoint_remove_all(g);
}

void gdb_destroy(struct vm *vm)
{
	struct gdb *g = vm->gdb;

	if (!g)
		return;
	if (g->client.fd >= 0)
		close(g->client.fd);
	if (g->listener.fd >= 0)
		close(g->listener.fd);
	free(g);
	vm->gdb = NULL;
}
