// SPDX-License-Identifier: Apache-2.0
#include "console.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <termios.h>
#include <unistd.h>

#include "console_log.h"

#define MASK	   (CONSOLE_BACKLOG - 1)
#define FLUSH_NS   1000000 /* output is collected this long: one wake-up for many small writes */
#define ESCAPE_KEY 0x1d	   /* CTRL+] */
#define FIRST_SEQ  (1ull << 32)

struct client {
	struct loop_source src;
	struct console *con;
	uint64_t pos;	 /* stream position of the next byte to send */
	uint64_t seq;	 /* the lowest types; 0: free slot */
	bool viewer;	 /* never types */
	uint32_t events; /* what the loop watches for */
};

struct console {
	struct loop *loop;
	struct console_hooks hooks;
	uint64_t end; /* stream position of the next byte of output */
	uint64_t log_pos, tty_pos;
	struct console_log log;
	struct loop_source timer, listener, tty;
	bool timer_armed;
	struct client clients[CONSOLE_MAX_CLIENTS];
	uint64_t next_seq, first_seq; /* of who comes next, and of who takes the keyboard */
	uint8_t input[CONSOLE_INPUT];
	size_t input_len;
	struct termios saved;
	bool tty_raw, tty_paused, escape;
	uint8_t ring[CONSOLE_BACKLOG]; /* the last: its pages are touched when they are used */
};

/* The longest contiguous piece of the ring from stream position pos. */
static size_t piece(const struct console *con, uint64_t pos, const uint8_t **data)
{
	size_t n = con->end - pos, room = CONSOLE_BACKLOG - (pos & MASK);

	*data = con->ring + (pos & MASK);
	return n < room ? n : room;
}

static void flush_log(struct console *con)
{
	const uint8_t *data;
	size_t n;

	for (; con->log_pos < con->end; con->log_pos += n) {
		n = piece(con, con->log_pos, &data);
		console_log_write(&con->log, data, n);
	}
}

static void flush_tty(struct console *con)
{
	const uint8_t *data;
	ssize_t n;

	while (con->tty.fd >= 0 && con->tty_pos < con->end) {
		n = write(STDOUT_FILENO, data, piece(con, con->tty_pos, &data));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		con->tty_pos += n;
	}
	con->tty_pos = con->end;
}

static struct client *writer(struct console *con)
{
	struct client *c, *first = NULL;

	for (c = con->clients; c < con->clients + CONSOLE_MAX_CLIENTS; c++)
		if (c->seq && !c->viewer && (!first || c->seq < first->seq))
			first = c;
	return first;
}

/* Sets what the loop watches: input unless the writer has to wait, output while behind. */
static void watch(struct client *c)
{
	struct console *con = c->con;
	uint32_t events = c->pos < con->end ? EPOLLIN | EPOLLOUT : EPOLLIN;

	if (c == writer(con) && con->input_len == CONSOLE_INPUT)
		events &= ~EPOLLIN;
	if (events != c->events)
		loop_change(con->loop, &c->src, events);
	c->events = events;
}

/* Who may type has changed. */
static void watch_writers(struct client *before, struct client *now)
{
	if (before)
		watch(before);
	if (now && now != before)
		watch(now);
}

static struct client *newest(struct console *con)
{
	struct client *c, *last = NULL;

	for (c = con->clients; c < con->clients + CONSOLE_MAX_CLIENTS; c++)
		if (c->seq && !c->viewer && (!last || c->seq > last->seq))
			last = c;
	return last;
}

bool console_steal(struct console *con)
{
	struct client *c = newest(con), *before = writer(con);

	if (!c)
		return false;
	c->seq = --con->first_seq;
	watch_writers(before, c);
	return true;
}

bool console_view(struct console *con)
{
	struct client *c = newest(con);

	if (!c)
		return false;
	c->viewer = true;
	watch_writers(c, writer(con));
	return true;
}

static void drop(struct client *c)
{
	struct console *con = c->con;

	loop_remove(con->loop, &c->src);
	close(c->src.fd);
	c->seq = 0;
}

/* False when the client is gone. */
static bool flush_client(struct client *c)
{
	struct console *con = c->con;
	const uint8_t *data;
	ssize_t n;

	if (con->end - c->pos > CONSOLE_BACKLOG) {
		drop(c); /* too slow: part of what it should read is already overwritten */
		return false;
	}
	while (c->pos < con->end) {
		n = piece(con, c->pos, &data);
		n = send(c->src.fd, data, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			break;
		if (n <= 0) {
			drop(c);
			return false;
		}
		c->pos += n;
	}
	watch(c);
	return true;
}

static void flush(struct console *con)
{
	struct client *c;

	flush_log(con);
	flush_tty(con);
	for (c = con->clients; c < con->clients + CONSOLE_MAX_CLIENTS; c++)
		if (c->seq)
			flush_client(c);
}

static void on_timer(void *arg, uint32_t events)
{
	struct console *con = arg;
	uint64_t count;

	(void)events;
	if (read(con->timer.fd, &count, sizeof(count)) < 0)
		return;
	con->timer_armed = false;
	flush(con);
	if (con->hooks.flushed)
		con->hooks.flushed(con->hooks.arg);
}

void console_output(struct console *con, const void *data, size_t len)
{
	const struct itimerspec soon = {.it_value.tv_nsec = FLUSH_NS};
	const uint8_t *from = data;
	size_t n;

	while (len) {
		n = CONSOLE_BACKLOG - (con->end & MASK);
		n = n < len ? n : len;
		n = n < CONSOLE_BACKLOG / 4 ? n : CONSOLE_BACKLOG / 4;
		memcpy(con->ring + (con->end & MASK), from, n);
		con->end += n;
		from += n;
		len -= n;
		/* Half a ring unwritten: do not wait for the timer, or the log would lose bytes. */
		if (con->end - con->log_pos >= CONSOLE_BACKLOG / 2)
			flush(con);
	}
	if (!con->timer_armed)
		con->timer_armed = timerfd_settime(con->timer.fd, 0, &soon, NULL) == 0;
}

size_t console_pending(const struct console *con)
{
	return con->input_len;
}

size_t console_take(struct console *con, void *to, size_t len)
{
	size_t n = len < con->input_len ? len : con->input_len;
	struct client *c = writer(con);

	memcpy(to, con->input, n);
	con->input_len -= n;
	memmove(con->input, con->input + n, con->input_len);
	if (c)
		watch(c);
	if (con->tty_paused) {
		loop_change(con->loop, &con->tty, EPOLLIN);
		con->tty_paused = false;
	}
	return n;
}

static void on_client(void *arg, uint32_t events)
{
	struct client *c = arg;
	struct console *con = c->con;
	uint8_t discard[512];
	bool ours = c == writer(con);
	ssize_t n;

	if ((events & EPOLLOUT) && !flush_client(c))
		return;
	if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	if (!ours) {
		n = recv(c->src.fd, discard, sizeof(discard), MSG_DONTWAIT);
	} else if (con->input_len < CONSOLE_INPUT) {
		n = recv(c->src.fd, con->input + con->input_len, CONSOLE_INPUT - con->input_len,
			 MSG_DONTWAIT);
	} else if (events & (EPOLLHUP | EPOLLERR)) {
		n = 0; /* gone for good, with input the guest does not take */
	} else {
		watch(c); /* it became the writer while the guest takes nothing: it waits, too */
		return;
	}
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
		drop(c);
		return;
	}
	if (n > 0 && ours) {
		con->input_len += n;
		if (con->hooks.input)
			con->hooks.input(con->hooks.arg);
		watch(c);
	}
}

static void on_connect(void *arg, uint32_t events)
{
	struct console *con = arg;
	struct client *c;
	int fd;

	(void)events;
	fd = accept4(con->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	for (c = con->clients; c < con->clients + CONSOLE_MAX_CLIENTS; c++)
		if (!c->seq)
			break;
	if (c == con->clients + CONSOLE_MAX_CLIENTS) {
		close(fd);
		return;
	}
	*c = (struct client){.src = {.fd = fd, .fn = on_client, .arg = c}, .con = con};
	c->pos = con->end > CONSOLE_BACKLOG ? con->end - CONSOLE_BACKLOG : 0;
	c->seq = con->next_seq++;
	c->events = EPOLLIN;
	if (loop_add(con->loop, &c->src, EPOLLIN)) {
		c->seq = 0;
		close(fd);
		return;
	}
	flush_client(c);
}

static void type_byte(struct console *con, uint8_t byte)
{
	if (con->escape) {
		con->escape = false;
		if (byte == 'x' || byte == 'X') {
			if (con->hooks.quit)
				con->hooks.quit(con->hooks.arg);
			return;
		}
	} else if (byte == ESCAPE_KEY && con->tty_raw) {
		con->escape = true; /* twice sends it once */
		return;
	}
	if (con->input_len < CONSOLE_INPUT)
		con->input[con->input_len++] = byte;
}

static void on_tty(void *arg, uint32_t events)
{
	struct console *con = arg;
	uint8_t buf[256];
	ssize_t n, i;

	(void)events;
	if (con->input_len + sizeof(buf) > CONSOLE_INPUT) {
		loop_change(con->loop, &con->tty, 0);
		con->tty_paused = true;
		return;
	}
	n = read(STDIN_FILENO, buf, sizeof(buf));
	if (n <= 0) {
		loop_remove(con->loop, &con->tty); /* end of a piped input: output goes on */
		return;
	}
	for (i = 0; i < n; i++)
		type_byte(con, buf[i]);
	if (con->input_len && con->hooks.input)
		con->hooks.input(con->hooks.arg);
}

void console_check_size(struct console *con)
{
	struct winsize ws;

	if (con->tty.fd >= 0 && con->hooks.size && !ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) &&
	    ws.ws_col && ws.ws_row)
		con->hooks.size(con->hooks.arg, ws.ws_col, ws.ws_row);
}

static void open_tty(struct console *con)
{
	struct termios raw;

	con->tty.fd = STDIN_FILENO;
	/* A regular file or /dev/null cannot be polled: then there is no input. */
	if (loop_add(con->loop, &con->tty, EPOLLIN))
		return;
	if (tcgetattr(STDIN_FILENO, &con->saved))
		return;
	raw = con->saved;
	cfmakeraw(&raw);
	con->tty_raw = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
	if (con->tty_raw)
		fputs("hg-vmm: CTRL+] then x ends the VM\r\n", stderr);
}

struct console *console_create(struct loop *loop, const char *socket, const char *log,
			       struct error *e)
{
	struct console *con = malloc(sizeof(*con));

	if (!con) {
		error_set(e, ERROR_MACHINE, "out of memory");
		return NULL;
	}
	memset(con, 0, offsetof(struct console, ring));
	con->loop = loop;
	con->log.fd = -1;
	con->next_seq = con->first_seq = FIRST_SEQ;
	con->tty = (struct loop_source){.fd = -1, .fn = on_tty, .arg = con};
	con->listener = (struct loop_source){.fd = -1, .fn = on_connect, .arg = con};
	con->timer = (struct loop_source){.fn = on_timer, .arg = con};
	con->timer.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (con->timer.fd < 0 || loop_add(loop, &con->timer, EPOLLIN)) {
		error_set(e, ERROR_MACHINE, "console timer: %s", strerror(errno));
		return NULL;
	}
	if (log && console_log_open(&con->log, log, e))
		return NULL;
	if (!socket) {
		open_tty(con);
		return con;
	}
	con->listener.fd = listen_unix(socket, e);
	if (con->listener.fd < 0)
		return NULL;
	loop_add(loop, &con->listener, EPOLLIN);
	return con;
}

void console_set_hooks(struct console *con, const struct console_hooks *hooks)
{
	con->hooks = *hooks;
}

void console_destroy(struct console *con)
{
	flush(con);
	if (con->tty_raw)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &con->saved);
}
