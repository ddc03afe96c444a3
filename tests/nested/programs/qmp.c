// SPDX-License-Identifier: Apache-2.0
/*
 * Speaks QMP from the host's side:
 *
 *   qmp SOCKET [--event NAME | COMMAND]...
 *
 * COMMAND is one JSON object, sent as it stands; what answers it is printed, events on the way
 * too, a line each. --event waits for an event of that name. Ends with 1 when the VM hangs up.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int print_until(FILE *stream, const char *first, const char *second)
{
	static char line[1 << 20];

	while (fgets(line, sizeof(line), stream)) {
		fputs(line, stdout);
		if (strstr(line, first) || (second && strstr(line, second)))
			return 0;
	}
	fprintf(stderr, "qmp: hung up\n");
	return 1;
}

static int serve(FILE *stream, char **words)
{
	char event[128];

	for (; *words; words++) {
		if (!strcmp(*words, "--event") && words[1]) {
			/* Events are written compactly: {"event":"NAME", in some place. */
			snprintf(event, sizeof(event), "\"%s\"", *++words);
			if (print_until(stream, event, NULL))
				return 1;
			continue;
		}
		fprintf(stream, "%s\n", *words);
		fflush(stream);
		if (print_until(stream, "\"return\"", "\"error\""))
			return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	static char greeting[4096];
	FILE *stream;
	int fd;

	if (argc < 2 || strlen(argv[1]) >= sizeof(address.sun_path))
		return 2;
	strcpy(address.sun_path, argv[1]);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		perror(argv[1]);
		return 1;
	}
	stream = fdopen(fd, "r+");
	fputs("{\"execute\": \"qmp_capabilities\"}\n", stream);
	fflush(stream);
	if (!fgets(greeting, sizeof(greeting), stream) ||
	    !fgets(greeting, sizeof(greeting), stream))
		return 1;
	setvbuf(stdout, NULL, _IOLBF, 0);
	return serve(stream, argv + 2);
}
