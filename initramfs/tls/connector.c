// SPDX-License-Identifier: Apache-2.0
/*
 * Whoever takes over the process that talks to the network must not be able to open sockets, nor
 * to name files.  So another one connects to the server: it reads a byte, answers with an errno,
 * and with the connected socket when that is 0.  It never sees a byte of the network's.
 */
#include "tls.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

union control {
	char bytes[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

static int connect_to(const struct sockaddr_un *to)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int error;

	/* EAGAIN: the server's backlog is full.  Never wait for it here, others are asking. */
	if (fd < 0 || !connect(fd, (const struct sockaddr *)to, sizeof(*to)))
		return fd;
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

static bool answer(int link, int fd, int error)
{
	struct iovec io = {.iov_base = &error, .iov_len = sizeof(error)};
	union control control = {0};
	struct msghdr message = {.msg_iov = &io, .msg_iovlen = 1};
	struct cmsghdr *head;

	if (fd >= 0) {
		message.msg_control = control.bytes;
		message.msg_controllen = sizeof(control.bytes);
		head = CMSG_FIRSTHDR(&message);
		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(head), &fd, sizeof(int));
	}
	return sendmsg(link, &message, MSG_NOSIGNAL) == sizeof(error);
}

/* Ends when the other process has. */
static void serve(int link, const struct sockaddr_un *to)
{
	bool going = true;
	char asked;
	int fd;

	while (going && read(link, &asked, 1) == 1) {
		fd = connect_to(to);
		going = answer(link, fd, fd < 0 ? errno : 0);
		if (fd >= 0)
			close(fd);
	}
}

int connector_start(const char *path, bool sandbox)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int link[2];
	pid_t pid;

	if (strlen(path) >= sizeof(to.sun_path)) {
		complain("--connect %s: longer than %zu bytes", path, sizeof(to.sun_path) - 1);
		return -1;
	}
	memcpy(to.sun_path, path, strlen(path));
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, link)) {
		complain("socketpair: %s", strerror(errno));
		return -1;
	}
	pid = fork();
	if (pid < 0) {
		complain("fork: %s", strerror(errno));
		return -1;
	}
	if (pid == 0) {
		close(link[0]);
		if (!sandbox || !sandbox_connector())
			serve(link[1], &to);
		_exit(1);
	}
	close(link[1]);
	return link[0];
}

int connector_ask(int connector)
{
	int error = EPIPE, fd = -1;
	struct iovec io = {.iov_base = &error, .iov_len = sizeof(error)};
	union control control = {0};
	struct msghdr message = {
		.msg_iov = &io,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	struct cmsghdr *head;

	if (send(connector, "", 1, MSG_NOSIGNAL) != 1 ||
	    recvmsg(connector, &message, MSG_CMSG_CLOEXEC) != sizeof(error)) {
		errno = EPIPE;
		return -1;
	}
	head = CMSG_FIRSTHDR(&message);
	if (head && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(head), sizeof(int));
	errno = error;
	return fd;
}
