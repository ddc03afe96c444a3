// SPDX-License-Identifier: Apache-2.0
#include "tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 64

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static socklen_t fill(union address *to, int family, const char *address, const char *port)
{
	in_port_t number = htons((in_port_t)atoi(port));

	memset(to, 0, sizeof(*to));
	to->any.sa_family = (sa_family_t)family;
	if (family == AF_INET6) {
		to->v6.sin6_port = number;
		if (address)
			inet_pton(family, address, &to->v6.sin6_addr);
		return sizeof(to->v6);
	}
	to->v4.sin_port = number;
	if (address)
		inet_pton(family, address, &to->v4.sin_addr);
	return sizeof(to->v4);
}

/* The options that accepted sockets inherit, too. */
static int open_socket(int family)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1, off = 0;

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	return fd;
}

int listen_on(const struct options *opt)
{
	int family = opt->address && !strchr(opt->address, ':') ? AF_INET : AF_INET6;
	union address to;
	socklen_t len;
	int fd = open_socket(family);

	if (fd < 0 && errno == EAFNOSUPPORT && !opt->address) {
		family = AF_INET; /* a kernel without IPv6 */
		fd = open_socket(family);
	}
	len = fill(&to, family, opt->address, opt->port);
	if (fd < 0 || bind(fd, &to.any, len) || listen(fd, BACKLOG)) {
		complain("--listen %s%s%s: %s", opt->address ? opt->address : "",
			 opt->address ? " " : "", opt->port, strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

void listen_name(int fd, char *to, size_t size)
{
	char text[INET6_ADDRSTRLEN] = "?";
	union address at = {0};
	socklen_t len = sizeof(at);

	getsockname(fd, &at.any, &len);
	if (at.any.sa_family == AF_INET6) {
		inet_ntop(AF_INET6, &at.v6.sin6_addr, text, sizeof(text));
		snprintf(to, size, "[%s]:%u", text, ntohs(at.v6.sin6_port));
	} else {
		inet_ntop(AF_INET, &at.v4.sin_addr, text, sizeof(text));
		snprintf(to, size, "%s:%u", text, ntohs(at.v4.sin_port));
	}
}
