// SPDX-License-Identifier: Apache-2.0
/*
 * relay NAME SOCKET [QMP]: carries bytes between the virtio-serial port called NAME and a Unix
 * socket, one connection after another.  The socket is connected to once somebody is at the port's
 * other end, and given up when they leave (POLLHUP on the port says so).  The commands QMP are sent
 * first, and what answers them is dropped.
 */
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* /sys/class/virtio-ports/vport2p2/name tells which of /dev/vport... it is. */
static int open_port(const char *name)
{
	char path[64], found[64];
	glob_t all;
	size_t i;
	FILE *f;

	if (glob("/sys/class/virtio-ports/*/name", 0, NULL, &all))
		return -1;
	for (i = 0; i < all.gl_pathc; i++) {
		f = fopen(all.gl_pathv[i], "r");
		if (f && fscanf(f, "%63s", found) == 1 && !strcmp(found, name) &&
		    sscanf(all.gl_pathv[i], "/sys/class/virtio-ports/%40[^/]", found) == 1) {
			snprintf(path, sizeof(path), "/dev/%.40s", found);
			return open(path, O_RDWR | O_CLOEXEC);
		}
		if (f)
			fclose(f);
	}
	return -1;
}

static bool move(int from, int to)
{
	char data[4096];
	ssize_t n = read(from, data, sizeof(data)), done, part;

	for (done = 0; done < n; done += part) {
		part = write(to, data + done, (size_t)(n - done));
		if (part <= 0)
			return false;
	}
	return n > 0;
}

/* One answer a command. */
static void speak_qmp(int fd, const char *commands)
{
	size_t want = 0, len = 0;
	const char *p;
	char line[4096];

	for (p = commands; (p = strstr(p, "execute")); p++)
		want++;
	if (write(fd, commands, strlen(commands)) < 0)
		die("QMP");
	while (want && len < sizeof(line) - 1 && read(fd, line + len, 1) == 1) {
		if (line[len++] != '\n')
			continue;
		line[len] = '\0';
		len = 0;
		if (strstr(line, "\"error\""))
			fputs(line, stderr);
		want -= strstr(line, "\"return\"") || strstr(line, "\"error\"");
	}
}

static void serve(int port, const char *path, const char *qmp)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct pollfd fds[2] = {{.fd = port, .events = POLLIN}, {.events = POLLIN}};

	strncpy(addr.sun_path, path, sizeof(addr.sun_path) - 1);
	fds[1].fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fds[1].fd < 0 || connect(fds[1].fd, (struct sockaddr *)&addr, sizeof(addr))) {
		perror(path);
		close(fds[1].fd);
		usleep(100000);
		return;
	}
	if (qmp)
		speak_qmp(fds[1].fd, qmp);
	for (;;) {
		if (poll(fds, 2, -1) < 0)
			die("poll");
		if ((fds[1].revents && !move(fds[1].fd, port)) || (fds[0].revents & POLLHUP) ||
		    ((fds[0].revents & POLLIN) && !move(port, fds[1].fd)))
			break;
	}
	close(fds[1].fd);
}

int main(int argc, char **argv)
{
	struct pollfd port = {.events = POLLIN};

	if (argc < 3)
		return 2;
	port.fd = open_port(argv[1]);
	if (port.fd < 0)
		die(argv[1]);
	for (;;) {
		if (poll(&port, 1, -1) < 0)
			die("poll");
		/* An absent other end is told at once, again and again. */
		if (port.revents & POLLHUP)
			usleep(50000);
		else
			serve(port.fd, argv[2], argv[3]);
	}
}
