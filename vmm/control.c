// SPDX-License-Identifier: Apache-2.0
#include "control.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "gdb/gdb.h"
#include "vm.h"

#define VERSION_PACKAGE "hg-vmm " HG_VERSION

struct passed {
	int fd;	       /* 0: none */
	char name[32]; /* empty until getfd */
};

struct client {
	struct loop_source src;
	struct control *control;
	bool used, ready; /* ready: qmp_capabilities was done */
	char *in, *out;	  /* grown as needed up to their bounds */
	size_t in_len, in_room, out_len;
	struct passed fds[CONTROL_MAX_FDS];
};

struct control {
	struct vm *vm;
	struct loop_source listener;
	bool hand_over;
	struct client *serving; /* whose command runs */
	struct client clients[CONTROL_MAX_CLIENTS];
};

static void close_passed(struct passed *p)
{
	close(p->fd);
	memset(p, 0, sizeof(*p));
}

static void drop(struct client *c)
{
	struct passed *p;

	for (p = c->fds; p < c->fds + CONTROL_MAX_FDS; p++)
		if (p->fd)
			close_passed(p);
	loop_remove(&c->control->vm->loop, &c->src);
	close(c->src.fd);
	free(c->in);
	free(c->out);
	memset(c, 0, sizeof(*c));
}

/* Sends what can be sent now; false when the client is gone. */
static bool flush(struct client *c)
{
	ssize_t n;

	while (c->out_len) {
		n = send(c->src.fd, c->out, c->out_len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			break;
		if (n <= 0) {
			drop(c);
			return false;
		}
		c->out_len -= n;
		memmove(c->out, c->out + n, c->out_len);
	}
	loop_change(&c->control->vm->loop, &c->src, c->out_len ? EPOLLIN | EPOLLOUT : EPOLLIN);
	return true;
}

/* Takes the reference to msg. False when the client is gone. */
static bool reply(struct client *c, json_t *msg)
{
	char *text = json_dumps(msg, JSON_COMPACT | JSON_PRESERVE_ORDER);
	size_t len = text ? strlen(text) : 0;
	char *out = NULL;

	json_decref(msg);
	if (!c->used) { /* dropped by an event of the very command that is being answered */
		free(text);
		return false;
	}
	if (text && c->out_len + len + 2 <= CONTROL_MAX_OUTPUT)
		out = realloc(c->out, c->out_len + len + 2);
	if (!out) {
		free(text);
		drop(c);
		return false;
	}
	c->out = out;
	memcpy(out + c->out_len, text, len);
	memcpy(out + c->out_len + len, "\r\n", 2);
	c->out_len += len + 2;
	free(text);
	return flush(c);
}

static bool reply_error(struct client *c, const char *class, const char *text, json_t *id)
{
	json_t *msg = json_pack("{s:{s:s, s:s}}", "error", "class", class, "desc", text);

	if (!msg) /* text was cut in the middle of a character */
		msg = json_pack("{s:{s:s, s:s}}", "error", "class", class, "desc",
				"the request is not understood");
	if (id)
		json_object_set(msg, "id", id);
	return reply(c, msg);
}

/* The checks of the specification, in its order. */
static bool handle(struct client *c, json_t *request)
{
	const char *class = "GenericError", *name;
	json_t *id, *value, *args, *msg;
	char text[256] = "";

	if (!json_is_object(request))
		return reply_error(c, class, "QMP input must be a JSON object", NULL);
	id = json_object_get(request, "id");
	name = json_string_value(json_object_get(request, "execute"));
	if (!name)
		return reply_error(c, class, "QMP input lacks member 'execute'", id);
	args = json_object_get(request, "arguments");
	if (args && !json_is_object(args))
		return reply_error(c, class, "QMP input member 'arguments' must be an object", id);
	if (!c->ready && strcmp(name, "qmp_capabilities"))
		return reply_error(c, "CommandNotFound",
				   "Expecting capabilities negotiation with 'qmp_capabilities'",
				   id);
	if (c->ready && !strcmp(name, "qmp_capabilities"))
		return reply_error(c, "CommandNotFound",
				   "Capabilities negotiation is already complete, command ignored",
				   id);
	if (!c->ready) {
		c->ready = true;
		value = json_object();
	} else {
		c->control->serving = c;
		value = qmp_execute(c->control->vm, c->control, name, args, &class, text,
				    sizeof(text));
	}
	if (!value)
		return reply_error(c, class, text, id);
	msg = json_pack("{s:o}", "return", value);
	if (id)
		json_object_set(msg, "id", id);
	return reply(c, msg);
}

void control_hand_over(struct control *c)
{
	c->hand_over = true;
}

/* The rest of the input, from `at` on, is for the debugger's server.  The client is gone. */
static void hand_over(struct client *c, size_t at)
{
	struct vm *vm = c->control->vm;
	size_t early = c->in_len - at;
	char *in = c->in;
	int fd = c->src.fd;

	c->control->hand_over = false;
	if (c->out_len) { /* it does not read: no such debugger */
		drop(c);
		return;
	}
	loop_remove(&vm->loop, &c->src);
	free(c->out);
	memset(c, 0, sizeof(*c));
	gdb_adopt(vm, fd, in + at, early);
	free(in);
}

static bool handle_line(struct client *c, const char *line, size_t len)
{
	json_error_t error;
	json_t *request;
	bool alive;

	while (len && strchr(" \t\r", line[len - 1]))
		len--;
	if (!len)
		return true;
	request = json_loadb(line, len, 0, &error);
	if (!request)
		return reply_error(c, "GenericError", "Invalid JSON syntax", NULL);
	alive = handle(c, request);
	json_decref(request);
	return alive;
}

/*
 * The length of the first complete request in the buffer, or 0: an object up to its closing
 * brace (clients need not end it with a newline), anything else up to the end of its line.
 */
static size_t request_length(const char *p, size_t len)
{
	bool string = false, object = false;
	unsigned int depth = 0;
	size_t i;

	for (i = 0; i < len; i++) {
		if (string) {
			if (p[i] == '\\')
				i++;
			else if (p[i] == '"')
				string = false;
		} else if (object && p[i] == '"') {
			string = true;
		} else if (p[i] == '{') {
			object = true;
			depth++;
		} else if (object && p[i] == '}') {
			if (--depth == 0)
				return i + 1;
		} else if (!object && p[i] == '\n') {
			return i + 1;
		}
	}
	return 0;
}

/* Serves the complete requests in the buffer. False when the client is gone. */
static bool handle_input(struct client *c)
{
	size_t at = 0, n;

	while ((n = request_length(c->in + at, c->in_len - at))) {
		while (n && strchr("\n\r\t ", c->in[at + n - 1]))
			n--;
		if (n && !handle_line(c, c->in + at, n))
			return false;
		at += n;
		if (c->control->hand_over) {
			hand_over(c, at);
			return false;
		}
		while (at < c->in_len && strchr("\n\r\t ", c->in[at]))
			at++;
	}
	c->in_len -= at;
	memmove(c->in, c->in + at, c->in_len);
	return true;
}

/* By name; "" finds one that has none yet, NULL a free place. */
static struct passed *find_passed(struct client *c, const char *name)
{
	struct passed *p;

	for (p = c->fds; p < c->fds + CONTROL_MAX_FDS; p++)
		if (name ? p->fd && !strcmp(p->name, name) : !p->fd)
			return p;
	return NULL;
}

int control_name_fd(struct control *control, const char *name)
{
	struct passed *p = find_passed(control->serving, ""), *old;

	if (!p || !*name || strlen(name) >= sizeof(p->name))
		return -1;
	old = find_passed(control->serving, name);
	if (old)
		close_passed(old);
	strcpy(p->name, name);
	return 0;
}

int control_fd(const struct control *control, const char *name)
{
	const struct passed *p = *name ? find_passed(control->serving, name) : NULL;

	return p ? p->fd : -1;
}

bool control_close_fd(struct control *control, const char *name)
{
	struct passed *p = *name ? find_passed(control->serving, name) : NULL;

	if (p)
		close_passed(p);
	return p;
}

/* What has no place is closed: a client gets no descriptors of ours used up. */
static void keep_passed(struct client *c, struct msghdr *msg)
{
	struct cmsghdr *head;
	struct passed *p;
	size_t i, n;
	int fd;

	for (head = CMSG_FIRSTHDR(msg); head; head = CMSG_NXTHDR(msg, head)) {
		if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
			continue;
		n = (head->cmsg_len - CMSG_LEN(0)) / sizeof(fd);
		for (i = 0; i < n; i++) {
			memcpy(&fd, CMSG_DATA(head) + i * sizeof(fd), sizeof(fd));
			p = find_passed(c, NULL);
			if (p)
				*p = (struct passed){.fd = fd};
			else
				close(fd);
		}
	}
}

static ssize_t receive(struct client *c, void *to, size_t room)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(CONTROL_MAX_FDS * sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = to, .iov_len = room};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(c->src.fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n >= 0)
		keep_passed(c, &msg);
	return n;
}

static void on_client(void *arg, uint32_t events)
{
	struct client *c = arg;
	char *grown;
	ssize_t n;

	if ((events & EPOLLOUT) && !flush(c))
		return;
	if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	if (c->in_len == c->in_room) {
		grown = c->in_room < CONTROL_MAX_LINE ? realloc(c->in, c->in_room + 4096) : NULL;
		if (!grown) {
			drop(c);
			return;
		}
		c->in = grown;
		c->in_room += 4096;
	}
	n = receive(c, c->in + c->in_len, c->in_room - c->in_len);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		drop(c);
		return;
	}
	c->in_len += n;
	handle_input(c);
}

static void on_connect(void *arg, uint32_t events)
{
	struct control *control = arg;
	struct client *c;
	int fd;

	(void)events;
	fd = accept4(control->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	for (c = control->clients; c < control->clients + CONTROL_MAX_CLIENTS; c++)
		if (!c->used)
			break;
	if (c == control->clients + CONTROL_MAX_CLIENTS) {
		close(fd);
		return;
	}
	*c = (struct client){
		.src = {.fd = fd, .fn = on_client, .arg = c}, .control = control, .used = true};
	if (loop_add(&control->vm->loop, &c->src, EPOLLIN)) {
		close(fd);
		c->used = false;
		return;
	}
	reply(c, json_pack("{s:{s:{s:{s:i,s:i,s:i},s:s},s:[]}}", "QMP", "version", "qemu", "micro",
			   0, "minor", 1, "major", 0, "package", VERSION_PACKAGE, "capabilities"));
}

struct control *control_create(struct vm *vm, const char *path, struct error *e)
{
	struct control *control = calloc(1, sizeof(*control));

	if (!control) {
		error_set(e, ERROR_MACHINE, "out of memory");
		return NULL;
	}
	control->vm = vm;
	control->listener = (struct loop_source){.fn = on_connect, .arg = control};
	control->listener.fd = listen_unix(path, e);
	if (control->listener.fd < 0 || loop_add(&vm->loop, &control->listener, EPOLLIN)) {
		free(control);
		return NULL;
	}
	return control;
}

void control_event(struct control *control, const char *name, const char *fmt, ...)
{
	struct client *c;
	struct timeval now;
	json_t *msg, *data;
	va_list ap;

	if (!control)
		return;
	gettimeofday(&now, NULL);
	msg = json_pack("{s:s,s:{s:I,s:I}}", "event", name, "timestamp", "seconds",
			(json_int_t)now.tv_sec, "microseconds", (json_int_t)now.tv_usec);
	if (fmt) {
		va_start(ap, fmt);
		data = json_vpack_ex(NULL, 0, fmt, ap);
		va_end(ap);
		json_object_set_new(msg, "data", data);
	}
	for (c = control->clients; c < control->clients + CONTROL_MAX_CLIENTS; c++)
		if (c->used && c->ready)
			reply(c, json_incref(msg));
	json_decref(msg);
}
