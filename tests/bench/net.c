// SPDX-License-Identifier: Apache-2.0
/*
 * The host's end of a guest's network: a persistent tap with the address 10.9.0.1, made anew for
 * each VMM (with one that another has used, microvm's guest got no answer), and a server
 * of three services, told by the first byte that a connection brings: 'e' echoes single bytes,
 * 's' swallows a stream, 'g' gives one of STREAM bytes.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net.h"
#include "runner.h"

static char block[65536];

/* A tap that stays, or whose time is over. */
static int set_persistent(struct ifreq *req, int stays)
{
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC), r;

	req->ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
	r = fd < 0 || ioctl(fd, TUNSETIFF, req) || ioctl(fd, TUNSETPERSIST, stays) ? -1 : 0;
	close(fd);
	return r;
}

static int set_up(const char *tap)
{
	struct ifreq req = {0};
	struct sockaddr_in *address = (struct sockaddr_in *)&req.ifr_addr;
	int s;

	strncpy(req.ifr_name, tap, IFNAMSIZ - 1);
	if (set_persistent(&req, 1))
		return -1;
	s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	memset(&req.ifr_addr, 0, sizeof(req.ifr_addr));
	address->sin_family = AF_INET;
	address->sin_addr.s_addr = inet_addr(NET_HOST);
	if (ioctl(s, SIOCSIFADDR, &req))
		return -1;
	address->sin_addr.s_addr = inet_addr(NET_MASK);
	if (ioctl(s, SIOCSIFNETMASK, &req))
		return -1;
	req.ifr_flags = IFF_UP | IFF_RUNNING;
	if (ioctl(s, SIOCSIFFLAGS, &req))
		return -1;
	close(s);
	return 0;
}

static void serve(int fd)
{
	size_t left = NET_STREAM;
	int one = 1;
	char kind, c;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (read(fd, &kind, 1) != 1)
		return;
	if (kind == 'e')
		while (read(fd, &c, 1) == 1 && write(fd, &c, 1) == 1)
			;
	while (kind == 's' && left) {
		ssize_t n = read(fd, block, sizeof(block));

		if (n <= 0)
			return;
		left -= n;
	}
	if (kind == 's' && write(fd, "d", 1) != 1)
		return;
	while (kind == 'g' && left) {
		ssize_t n = write(fd, block, left < sizeof(block) ? left : sizeof(block));

		if (n <= 0)
			return;
		left -= n;
	}
}

static void tear_down(const char *tap, pid_t server)
{
	struct ifreq req = {0};

	strncpy(req.ifr_name, tap, IFNAMSIZ - 1);
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	/* The VMM that had it has been killed, and may not be gone yet. */
	for (int tries = 100; tries && set_persistent(&req, 0); tries--)
		nap(10);
}

void net_serve(const char *tap)
{
	static pid_t server;
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(NET_PORT)};
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1, fd;

	if (server)
		tear_down(tap, server);
	if (set_up(tap)) {
		say("failed tap %s\n", tap);
		return;
	}
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 1)) {
		say("failed listen\n");
		return;
	}
	server = fork();
	if (server) {
		close(listener);
		return;
	}
	signal(SIGPIPE, SIG_IGN);
	while ((fd = accept(listener, NULL, NULL)) >= 0) {
		serve(fd);
		close(fd);
	}
	_exit(0);
}
