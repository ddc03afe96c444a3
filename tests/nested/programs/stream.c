// SPDX-License-Identifier: Apache-2.0
/*
 * One stream, in the guest or the host: standard input goes out, what comes in goes to standard
 * output, and the end of input is passed on while the other direction goes on.
 *
 *   stream vsock-connect CID PORT     stream vsock-listen PORT
 *   stream unix-connect PATH          stream unix-listen PATH
 *   stream greet PATH PORT            Firecracker's CONNECT and OK come first
 *   stream idle PATH                  connects, and never reads a byte
 */
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int fail(const char *what)
{
	perror(what);
	exit(1);
}

static int vsock(unsigned int cid, unsigned int port, int listens)
{
	struct sockaddr_vm addr = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

	if (fd < 0)
		fail("socket");
	if (listens ? bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || listen(fd, 1)
		    : connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		fail(listens ? "listen" : "connect");
	return fd;
}

static int unix_stream(const char *path, int listens)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strncpy(addr.sun_path, path, sizeof(addr.sun_path) - 1);
	if (listens ? bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || listen(fd, 1)
		    : connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		fail(path);
	return fd;
}

static int accept_one(int listener)
{
	int fd;

	fprintf(stderr, "listening\n");
	fd = accept(listener, NULL, NULL);
	if (fd < 0)
		fail("accept");
	close(listener);
	return fd;
}

static int greet(const char *path, const char *port)
{
	int fd = unix_stream(path, 0);
	char line[64] = "";
	size_t n = 0;

	dprintf(fd, "CONNECT %s\n", port);
	while (n < sizeof(line) - 1 && read(fd, line + n, 1) == 1 && line[n] != '\n')
		n++;
	if (strncmp(line, "OK ", 3)) {
		fprintf(stderr, "no OK: '%s'\n", line);
		exit(1);
	}
	return fd;
}

static int copy(int from, int to)
{
	static char bytes[65536];
	ssize_t n, done, w;

	while ((n = read(from, bytes, sizeof(bytes))) > 0)
		for (done = 0; done < n; done += w)
			if ((w = write(to, bytes + done, n - done)) <= 0)
				fail("write");
	return n < 0 ? fail("read") : 0;
}

/* A process for each direction: neither waits for the other, however full the stream is. */
static int join(int fd)
{
	pid_t sender = fork();
	int status, r;

	if (sender < 0)
		fail("fork");
	if (sender == 0) {
		r = copy(STDIN_FILENO, fd);
		shutdown(fd, SHUT_WR);
		_exit(r);
	}
	r = copy(fd, STDOUT_FILENO);
	waitpid(sender, &status, 0);
	return r || status;
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[1] : "";

	if (!strcmp(what, "vsock-connect") && argc == 4)
		return join(vsock(atoi(argv[2]), atoi(argv[3]), 0));
	if (!strcmp(what, "vsock-listen"))
		return join(accept_one(vsock(VMADDR_CID_ANY, atoi(argv[2]), 1)));
	if (!strcmp(what, "unix-connect"))
		return join(unix_stream(argv[2], 0));
	if (!strcmp(what, "unix-listen"))
		return join(accept_one(unix_stream(argv[2], 1)));
	if (!strcmp(what, "greet") && argc == 4)
		return join(greet(argv[2], argv[3]));
	if (!strcmp(what, "idle")) {
		unix_stream(argv[2], 0);
		pause();
	}
	return 2;
}
