// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "virtio/vsock_conn.h"

struct ask {
	uint32_t id, port;
};

static int connect_to(const char *path, uint32_t port)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s_%u", path, port);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || !connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		return fd;
	close(fd);
	return -1;
}

static void answer(int fd, uint32_t id, int sock)
{
	struct iovec iov = {.iov_base = &id, .iov_len = sizeof(id)};
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (sock >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int));
		control.head = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
						.cmsg_type = SCM_RIGHTS,
						.cmsg_len = CMSG_LEN(sizeof(int))};
		memcpy(CMSG_DATA(&control.head), &sock, sizeof(sock));
	}
	sendmsg(fd, &msg, MSG_NOSIGNAL);
}

/* Until our end is closed, which is when the VMM ends, however it does. */
static void serve(int fd, const char *path)
{
	struct ask ask;
	ssize_t n;
	int sock;

	while ((n = recv(fd, &ask, sizeof(ask), 0)) != 0) {
		if (n < 0 && errno != EINTR)
			break;
		if (n != sizeof(ask))
			continue;
		sock = connect_to(path, ask.port);
		answer(fd, ask.id, sock);
		if (sock >= 0)
			close(sock);
	}
}

int vsock_connector_start(const char *path, const struct guest_memory *mem, struct error *e)
{
	struct guest_memory copy = *mem;
	int ends[2], null;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
		return error_set(e, ERROR_MACHINE, "--vsock: %s", strerror(errno));
	pid = fork();
	if (pid < 0) {
		close(ends[0]);
		close(ends[1]);
		return error_set(e, ERROR_MACHINE, "--vsock: fork: %s", strerror(errno));
	}
	if (pid > 0) {
		close(ends[1]);
		return ends[0];
	}
	/* Nothing of the VM is its business, nor is CTRL+C at our terminal. */
	setsid();
	memory_destroy(&copy);
	null = open("/dev/null", O_RDWR);
	dup2(ends[1], STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(null, STDERR_FILENO);
	close_range(STDERR_FILENO + 1, ~0u, 0);
	prctl(PR_SET_NAME, "hg-vsock");
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	serve(STDIN_FILENO, path);
	_exit(0);
}

int vsock_connector_ask(int fd, uint32_t id, uint32_t port)
{
	struct ask ask = {.id = id, .port = port};

	return send(fd, &ask, sizeof(ask), MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(ask) ? 0 : -1;
}

int vsock_connector_answer(int fd, uint32_t *id, int *sock)
{
	struct iovec iov = {.iov_base = id, .iov_len = sizeof(*id)};
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *head;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n != sizeof(*id))
		return -1;
	*sock = -1;
	head = CMSG_FIRSTHDR(&msg);
	if (head && head->cmsg_type == SCM_RIGHTS && head->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(sock, CMSG_DATA(head), sizeof(*sock));
	return 1;
}
