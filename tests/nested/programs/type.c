// SPDX-License-Identifier: Apache-2.0
/*
 * type SOCKET TEXT: sends TEXT to a guest's console, as somebody who attaches, types and leaves.
 * It leaves when the VMM has read all of it: then the VMM hangs up.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	size_t len = argc == 3 ? strlen(argv[2]) : 0;
	char backlog[4096];

	if (argc != 3 || strlen(argv[1]) >= sizeof(addr.sun_path))
		return 2;
	strcpy(addr.sun_path, argv[1]);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) ||
	    write(fd, argv[2], len) != (ssize_t)len) {
		perror(argv[1]);
		return 1;
	}
	shutdown(fd, SHUT_WR);
	while (read(fd, backlog, sizeof(backlog)) > 0)
		;
	return 0;
}
