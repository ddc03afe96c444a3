// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "console.h"

/* A name left behind by a dead process is in the way; one that answers is not ours to take. */
static int clear_stale(const struct sockaddr_un *addr)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), r;

	if (fd < 0)
		return -1;
	r = connect(fd, (const struct sockaddr *)addr, sizeof(*addr));
	close(fd);
	if (r == 0) {
		errno = EADDRINUSE;
		return -1;
	}
	return errno == ECONNREFUSED ? unlink(addr->sun_path) : 0;
}

int listen_unix(const char *path, struct error *e)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	mode_t mask;
	int fd, r;

	if (strlen(path) >= sizeof(addr.sun_path))
		return error_set(e, ERROR_USER, "%s: a socket's path has at most %zu bytes", path,
				 sizeof(addr.sun_path) - 1);
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || clear_stale(&addr))
		return error_set(e, ERROR_MACHINE, "%s: %s", path, strerror(errno));
	mask = umask(0177);
	r = bind(fd, (struct sockaddr *)&addr, sizeof(addr));
	umask(mask);
	if (r || listen(fd, 16))
		return error_set(e, ERROR_MACHINE, "%s: %s", path, strerror(errno));
	return fd;
}
