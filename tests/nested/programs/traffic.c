// SPDX-License-Identifier: Apache-2.0
/*
 * Traffic whose every byte is compared:
 *
 *   traffic serve [PORT]            the other side of the rest, in the background
 *   traffic put HOST PORT BYTES     a TCP stream there
 *   traffic get HOST PORT BYTES     a TCP stream from there
 *   traffic udp HOST PORT COUNT SIZE   datagrams there, each sent back
 *   traffic ask HOST PORT COUNT     one byte there, one back, over one TCP connection
 *
 * Exits 0 when all arrived as it was sent; `put` and `get` print the milliseconds taken.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHUNK 65536

static void die(const char *what)
{
	fprintf(stderr, "traffic: %s: %s\n", what, strerror(errno));
	exit(1);
}

static unsigned long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ull + ts.tv_nsec / 1000000;
}

/* Byte n of every stream and datagram; no short period, so that a lost part shows. */
static uint8_t pattern(uint64_t n)
{
	uint64_t x = (n >> 3) * 0x9e3779b97f4a7c15ull;

	return (x ^ x >> 29) >> 8 * (n & 7);
}

static void fill(uint8_t *to, uint64_t from, size_t len)
{
	for (size_t i = 0; i < len; i++)
		to[i] = pattern(from + i);
}

static void send_all(int fd, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;

	while (len) {
		ssize_t n = send(fd, at, len, MSG_NOSIGNAL);

		if (n < 0)
			die("send");
		at += n;
		len -= n;
	}
}

static void send_stream(int fd, uint64_t bytes)
{
	static uint8_t chunk[CHUNK];
	uint64_t at = 0;

	while (at < bytes) {
		size_t len = bytes - at < CHUNK ? bytes - at : CHUNK;

		fill(chunk, at, len);
		send_all(fd, chunk, len);
		at += len;
	}
}

/* How many bytes came until the end, all of them right; exits otherwise. */
static uint64_t take_stream(int fd)
{
	static uint8_t chunk[CHUNK], want[CHUNK];
	uint64_t at = 0;
	ssize_t n;

	while ((n = recv(fd, chunk, CHUNK, 0)) > 0) {
		fill(want, at, n);
		if (memcmp(chunk, want, n)) {
			fprintf(stderr, "traffic: wrong bytes near %llu\n", (unsigned long long)at);
			exit(1);
		}
		at += n;
	}
	if (n < 0)
		die("recv");
	return at;
}

static struct sockaddr_in address(const char *host, const char *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};

	if (inet_pton(AF_INET, host, &a.sin_addr) != 1)
		die(host);
	return a;
}

static int dial(const char *host, const char *port, const char *command)
{
	struct sockaddr_in a = address(host, port);
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
	char line[32] = {0};

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)))
		die("connect");
	snprintf(line, sizeof(line), "%s", command);
	send_all(fd, line, sizeof(line));
	return fd;
}

/* One connection: a line of 32 bytes says what is wanted. */
static void serve_one(int fd)
{
	char line[32], byte;
	uint64_t bytes;

	if (recv(fd, line, sizeof(line), MSG_WAITALL) != sizeof(line))
		exit(1);
	line[31] = '\0';
	if (!strcmp(line, "put")) {
		bytes = take_stream(fd);
		send_all(fd, &bytes, sizeof(bytes));
	} else if (!strncmp(line, "get ", 4)) {
		send_stream(fd, strtoull(line + 4, NULL, 10));
	} else {
		while (recv(fd, &byte, 1, 0) == 1)
			send_all(fd, &byte, 1);
	}
	exit(0);
}

static void serve_udp(int fd)
{
	static uint8_t packet[65536];
	struct sockaddr_in from;
	socklen_t len;
	ssize_t n;

	for (;;) {
		len = sizeof(from);
		n = recvfrom(fd, packet, sizeof(packet), 0, (struct sockaddr *)&from, &len);
		if (n >= 0)
			sendto(fd, packet, n, 0, (struct sockaddr *)&from, len);
	}
}

static int serve(const char *port)
{
	struct sockaddr_in a = address("0.0.0.0", port);
	int tcp = socket(AF_INET, SOCK_STREAM, 0), udp = socket(AF_INET, SOCK_DGRAM, 0), on = 1;
	int fd;

	setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(tcp, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (bind(tcp, (struct sockaddr *)&a, sizeof(a)) || listen(tcp, 16) ||
	    bind(udp, (struct sockaddr *)&a, sizeof(a)))
		die("bind");
	if (fork())
		return 0;
	setsid();
	for (fd = 0; fd < 3; fd++)
		close(fd);
	if (!fork())
		serve_udp(udp);
	for (;;) {
		fd = accept(tcp, NULL, NULL);
		if (fd >= 0 && !fork())
			serve_one(fd);
		close(fd);
	}
}

static int put(char **argv)
{
	uint64_t bytes = strtoull(argv[4], NULL, 10), there = 0;
	unsigned long long start = now_ms();
	int fd = dial(argv[2], argv[3], "put");

	send_stream(fd, bytes);
	shutdown(fd, SHUT_WR);
	if (recv(fd, &there, sizeof(there), MSG_WAITALL) != sizeof(there) || there != bytes)
		die("not all arrived there");
	printf("put %llu ms\n", now_ms() - start);
	return 0;
}

static int get(char **argv)
{
	uint64_t bytes = strtoull(argv[4], NULL, 10);
	unsigned long long start = now_ms();
	char command[32];
	int fd;

	snprintf(command, sizeof(command), "get %llu", (unsigned long long)bytes);
	fd = dial(argv[2], argv[3], command);
	if (take_stream(fd) != bytes)
		die("not all arrived here");
	printf("get %llu ms\n", now_ms() - start);
	return 0;
}

/* A datagram may be lost: each has ten tries of a second. */
static int udp(char **argv)
{
	struct sockaddr_in a = address(argv[2], argv[3]);
	uint32_t count = atoi(argv[4]), size = atoi(argv[5]), i, tries;
	static uint8_t packet[65536], back[65536];
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct pollfd p = {.fd = fd, .events = POLLIN};

	if (connect(fd, (struct sockaddr *)&a, sizeof(a)))
		die("connect");
	for (i = 0; i < count; i++) {
		fill(packet, i * 1000ull, size);
		for (tries = 0;; tries++) {
			if (tries == 10)
				die("no answer");
			send(fd, packet, size, 0);
			if (poll(&p, 1, 1000) == 1 &&
			    recv(fd, back, sizeof(back), 0) == (ssize_t)size &&
			    !memcmp(packet, back, size))
				break;
		}
	}
	printf("udp %u answers\n", count);
	return 0;
}

static int ask(char **argv)
{
	int fd = dial(argv[2], argv[3], "ask"), i, count = atoi(argv[4]);
	char byte;

	for (i = 0; i < count; i++) {
		byte = i;
		send_all(fd, &byte, 1);
		if (recv(fd, &byte, 1, 0) != 1 || byte != (char)i)
			die("answer");
	}
	printf("ask %d answers\n", count);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc >= 2 && !strcmp(argv[1], "serve"))
		return serve(argc > 2 ? argv[2] : "7000");
	if (argc == 5 && !strcmp(argv[1], "put"))
		return put(argv);
	if (argc == 5 && !strcmp(argv[1], "get"))
		return get(argv);
	if (argc == 6 && !strcmp(argv[1], "udp"))
		return udp(argv);
	if (argc == 5 && !strcmp(argv[1], "ask"))
		return ask(argv);
	fprintf(stderr, "traffic: wrong usage\n");
	return 2;
}
