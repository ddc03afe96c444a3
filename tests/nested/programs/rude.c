// SPDX-License-Identifier: Apache-2.0
/*
 * Clients that misbehave, of a Unix socket:
 *
 *	rude deaf SOCKET          connects and never reads
 *	rude flood SOCKET N       N times the same QMP command, and reads no answer; says how many
 *	                          the other side took before it hung up
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int flood(int fd, long count)
{
	const char *hello = "{\"execute\":\"qmp_capabilities\"}";
	const char *ask = "{\"execute\":\"query-commands\"}";
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	long done;

	if (send(fd, hello, strlen(hello), MSG_NOSIGNAL) < 0)
		return 1;
	for (done = 0; done < count; done++) {
		/* A minute without room: it neither takes anything nor hangs up. */
		if (poll(&p, 1, 60000) != 1) {
			printf("stuck after %ld\n", done);
			return 2;
		}
		if (send(fd, ask, strlen(ask), MSG_NOSIGNAL) < 0) {
			printf("hung up after %ld\n", done);
			return 0;
		}
	}
	printf("took all %ld\n", done);
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	if (argc < 3 || strlen(argv[2]) >= sizeof(addr.sun_path))
		return 125;
	strcpy(addr.sun_path, argv[2]);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		perror(argv[2]);
		return 125;
	}
	if (!strcmp(argv[1], "flood"))
		return flood(fd, argc > 3 ? atol(argv[3]) : 100000);
	printf("connected\n");
	fflush(stdout);
	for (;;)
		pause();
}
