// SPDX-License-Identifier: Apache-2.0
/*
 * The loop.  A connection has one buffer a direction, which is filled only when it is empty: who
 * reads slowly is sent no more, and the other side feels it.
 */
#include "tls.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <mbedtls/ssl.h>

#define BUFFER	  16384 /* a record's payload: RFC 5246, 6.2.1 */
#define LINGER_MS 5000	/* from our last word to the client's end */
#define PAUSE_MS  1000	/* of accept(), after the machine has run short of something */
#define TURNS	  8	/* of one connection before the next one's */
#define NEVER	  INT64_MAX

struct buffer {
	size_t from, to;
	unsigned char data[BUFFER];
};

struct connection {
	int client, server; /* server: -1 until the client has proven to speak TLS */
	bool client_ended;  /* it has said that nothing more comes */
	bool server_ended;
	bool server_deaf; /* it takes nothing more, but may still have an answer */
	bool server_told; /* of the client's end */
	bool client_told;
	bool tls_writes;  /* TLS waits for room in the client's socket */
	int64_t deadline; /* CLOCK_MONOTONIC, ms */
	mbedtls_ssl_context tls;
	struct buffer up, down;
};

enum step { BLOCKED, MOVED, OVER };

static struct {
	struct connection *open[MAX_CONNECTIONS];
	struct pollfd polled[2 * MAX_CONNECTIONS + 1];
	size_t count;
	int listener, connector;
	int64_t accept_from; /* not before this time */
	int64_t handshake_ms, idle_ms;
	bool unreachable; /* the server, and that has been said */
	mbedtls_ssl_config config;
} loop;

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool holds(const struct buffer *b)
{
	return b->from < b->to;
}

static bool would_block(void)
{
	return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

/* mbedTLS' way to the socket. */

static int tls_send(void *socket, const unsigned char *data, size_t n)
{
	ssize_t sent = send(*(int *)socket, data, n, MSG_NOSIGNAL);

	if (sent >= 0)
		return (int)sent;
	return would_block() ? MBEDTLS_ERR_SSL_WANT_WRITE : MBEDTLS_ERR_SSL_INTERNAL_ERROR;
}

static int tls_receive(void *socket, unsigned char *data, size_t n)
{
	ssize_t got = recv(*(int *)socket, data, n, 0);

	if (got >= 0)
		return (int)got;
	return would_block() ? MBEDTLS_ERR_SSL_WANT_READ : MBEDTLS_ERR_SSL_INTERNAL_ERROR;
}

static enum step blocked(struct connection *c, int status)
{
	if (status == MBEDTLS_ERR_SSL_WANT_WRITE)
		c->tls_writes = true;
	else if (status != MBEDTLS_ERR_SSL_WANT_READ)
		return OVER;
	return BLOCKED;
}

/* The four ways of a byte, and the handshake before them. */

static enum step reach_server(struct connection *c)
{
	c->server = connector_ask(loop.connector);
	if (c->server >= 0) {
		loop.unreachable = false;
		c->deadline = now_ms() + loop.idle_ms;
		return MOVED;
	}
	if (errno == EPIPE) {
		complain("the process that connects to the server has ended");
		exit(1);
	}
	if (!loop.unreachable)
		complain("the server does not answer at its socket: %s", strerror(errno));
	loop.unreachable = true;
	mbedtls_ssl_close_notify(&c->tls);
	return OVER;
}

static enum step handshake(struct connection *c)
{
	int status = mbedtls_ssl_handshake(&c->tls);

	return status ? blocked(c, status) : reach_server(c);
}

/* The end of TCP without TLS' own is a cut, not an end: RFC 5246, 7.2.1. */
static enum step from_client(struct connection *c)
{
	int got;

	if (c->client_ended || holds(&c->up))
		return BLOCKED;
	got = mbedtls_ssl_read(&c->tls, c->up.data, BUFFER);
	if (got == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY) {
		c->client_ended = true;
		return MOVED;
	}
	if (got <= 0)
		return got ? blocked(c, got) : OVER;
	c->up.from = 0;
	c->up.to = c->server_deaf ? 0 : (size_t)got;
	return MOVED;
}

static enum step to_server(struct connection *c)
{
	ssize_t sent;

	if (holds(&c->up)) {
		sent = send(c->server, c->up.data + c->up.from, c->up.to - c->up.from,
			    MSG_NOSIGNAL);
		if (sent < 0 && would_block())
			return BLOCKED;
		c->server_deaf = sent < 0;
		c->up.from = sent < 0 ? c->up.to : c->up.from + (size_t)sent;
		return MOVED;
	}
	if (!c->client_ended || c->server_told)
		return BLOCKED;
	shutdown(c->server, SHUT_WR);
	c->server_told = true;
	return MOVED;
}

static enum step from_server(struct connection *c)
{
	ssize_t got;

	if (c->server_ended || holds(&c->down))
		return BLOCKED;
	got = recv(c->server, c->down.data, BUFFER, 0);
	if (got < 0 && would_block())
		return BLOCKED;
	c->server_ended = got <= 0;
	c->down.from = 0;
	c->down.to = got > 0 ? (size_t)got : 0;
	return MOVED;
}

static enum step to_client(struct connection *c)
{
	int status;

	if (holds(&c->down)) {
		status = mbedtls_ssl_write(&c->tls, c->down.data + c->down.from,
					   c->down.to - c->down.from);
		if (status < 0)
			return blocked(c, status);
		c->down.from += (size_t)status;
		return MOVED;
	}
	if (!c->server_ended || c->client_told)
		return BLOCKED;
	status = mbedtls_ssl_close_notify(&c->tls);
	if (status)
		return blocked(c, status);
	shutdown(c->client, SHUT_WR);
	c->client_told = true;
	c->deadline = now_ms() + LINGER_MS;
	return MOVED;
}

static enum step turn(struct connection *c)
{
	static enum step (*const ways[])(struct connection *) = {from_client, to_server,
								 from_server, to_client};
	enum step result = BLOCKED, step;
	size_t i;

	if (c->server < 0)
		return handshake(c);
	for (i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		step = ways[i](c);
		if (step == OVER)
			return OVER;
		if (step == MOVED)
			result = MOVED;
	}
	if (result == MOVED && !c->client_told)
		c->deadline = now_ms() + loop.idle_ms;
	return c->client_told && c->client_ended ? OVER : result;
}

/* Whether the connection goes on. */
static bool work(struct connection *c)
{
	enum step step = MOVED;
	int turns;

	c->tls_writes = false;
	for (turns = 0; step == MOVED && turns < TURNS; turns++)
		step = turn(c);
	return step != OVER;
}

static void end(struct connection *c)
{
	close(c->client);
	if (c->server >= 0)
		close(c->server);
	mbedtls_ssl_free(&c->tls);
	free(c);
}

static void begin(int client)
{
	struct connection *c = malloc(sizeof(*c));

	if (!c) {
		close(client);
		return;
	}
	memset(c, 0, offsetof(struct connection, up));
	c->up.from = c->up.to = c->down.from = c->down.to = 0;
	c->client = client;
	c->server = -1;
	c->deadline = now_ms() + loop.handshake_ms;
	mbedtls_ssl_init(&c->tls);
	if (mbedtls_ssl_setup(&c->tls, &loop.config)) {
		end(c);
		return;
	}
	mbedtls_ssl_set_bio(&c->tls, &c->client, tls_send, tls_receive, NULL);
	loop.open[loop.count++] = c;
}

static void accept_clients(void)
{
	int fd;

	while (loop.count < MAX_CONNECTIONS) {
		fd = accept4(loop.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			begin(fd);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			loop.accept_from = now_ms() + PAUSE_MS;
		if (errno != ECONNABORTED)
			return;
	}
}

/* A descriptor that nothing is wanted of is not polled: its hang-up would be told for ever. */
static void want(struct pollfd *p, int fd, int events)
{
	p->fd = events ? fd : -1;
	p->events = (short)events;
	p->revents = 0;
}

static void want_connection(const struct connection *c, struct pollfd *client,
			    struct pollfd *server)
{
	bool reads = c->server < 0 || (!c->client_ended && !holds(&c->up));

	want(client, c->client, (reads ? POLLIN : 0) | (c->tls_writes ? POLLOUT : 0));
	want(server, c->server,
	     (c->server >= 0 && !c->server_ended && !holds(&c->down) ? POLLIN : 0) |
		     (holds(&c->up) ? POLLOUT : 0));
}

/* Milliseconds until the first thing to do that no descriptor announces. */
static int prepare(int64_t now)
{
	bool accepts = loop.count < MAX_CONNECTIONS && now >= loop.accept_from;
	int64_t first = accepts || loop.count == MAX_CONNECTIONS ? NEVER : loop.accept_from;
	const struct connection *c;
	size_t i;

	want(&loop.polled[0], loop.listener, accepts ? POLLIN : 0);
	for (i = 0; i < loop.count; i++) {
		c = loop.open[i];
		want_connection(c, &loop.polled[1 + 2 * i], &loop.polled[2 + 2 * i]);
		if (c->deadline < first)
			first = c->deadline;
		/* What TLS has read already, poll() does not know of. */
		if (c->server >= 0 && !holds(&c->up) && !c->client_ended &&
		    mbedtls_ssl_check_pending(&c->tls))
			first = now;
	}
	if (first == NEVER)
		return -1;
	return first <= now ? 0 : (int)(first - now < 60000 ? first - now : 60000);
}

static bool ready(size_t i)
{
	return loop.polled[1 + 2 * i].revents || loop.polled[2 + 2 * i].revents ||
	       (loop.open[i]->server >= 0 && mbedtls_ssl_check_pending(&loop.open[i]->tls));
}

/* From the last to the first, so that one that is taken out moves none that is still to come. */
static void serve(int64_t now)
{
	size_t i;

	for (i = loop.count; i-- > 0;) {
		if (loop.open[i]->deadline > now && (!ready(i) || work(loop.open[i])))
			continue;
		end(loop.open[i]);
		loop.count--;
		memmove(&loop.open[i], &loop.open[i + 1], (loop.count - i) * sizeof(loop.open[0]));
	}
	if (loop.polled[0].revents)
		accept_clients();
}

static int configure(mbedtls_ssl_config *config, struct identity *id)
{
	static const int suites[] = {MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
				     MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
				     MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, 0};
	static const mbedtls_ecp_group_id curves[] = {
		MBEDTLS_ECP_DP_CURVE25519, MBEDTLS_ECP_DP_SECP256R1, MBEDTLS_ECP_DP_NONE};

	mbedtls_ssl_config_init(config);
	if (mbedtls_ssl_config_defaults(config, MBEDTLS_SSL_IS_SERVER, MBEDTLS_SSL_TRANSPORT_STREAM,
					MBEDTLS_SSL_PRESET_DEFAULT) ||
	    mbedtls_ssl_conf_own_cert(config, &id->certificate, &id->key))
		return -1;
	mbedtls_ssl_conf_rng(config, random_bytes, NULL);
	mbedtls_ssl_conf_min_version(config, MBEDTLS_SSL_MAJOR_VERSION_3,
				     MBEDTLS_SSL_MINOR_VERSION_3); /* TLS 1.2 */
	mbedtls_ssl_conf_ciphersuites(config, suites);
	mbedtls_ssl_conf_curves(config, curves);
	return 0;
}

int relay(int listener, int connector, struct identity *id, const struct options *opt)
{
	if (configure(&loop.config, id)) {
		complain("TLS cannot be set up with %s", opt->certificate);
		return -1;
	}
	loop.listener = listener;
	loop.connector = connector;
	loop.handshake_ms = (int64_t)opt->handshake_s * 1000;
	loop.idle_ms = (int64_t)opt->idle_s * 1000;
	for (;;) {
		int wait = prepare(now_ms());

		if (poll(loop.polled, 1 + 2 * loop.count, wait) < 0 && errno != EINTR) {
			complain("poll: %s", strerror(errno));
			return -1;
		}
		serve(now_ms());
	}
}
