// SPDX-License-Identifier: Apache-2.0
/*
 * await SECONDS FILE TEXT [COUNT [STOP]]: sleeps until FILE has TEXT (COUNT times, else once); an
 * empty TEXT waits for FILE itself.  A shell's loop would start a process or two each time it
 * looks.
 *
 * It ends with 0; 3 when there is a file STOP and all of TEXT has not come; 4 when the time is
 * over; 2 when it cannot watch.
 */
#define _GNU_SOURCE
#include <libgen.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <fcntl.h>

#define CHUNK 65536

/* How often `text` stands in a file that grows: what was read is not read again. */
struct search {
	const char *path, *text;
	int fd;
	off_t offset;
	unsigned long found;
	size_t kept; /* bytes at the buffer's start that may begin another one */
	char buffer[CHUNK];
};

static void start_over(struct search *search)
{
	if (search->fd >= 0)
		close(search->fd);
	search->fd = open(search->path, O_RDONLY);
	search->offset = 0;
	search->found = 0;
	search->kept = 0;
}

/* A log that is emptied, or gets a new file, is begun again. */
static int is_another(const struct search *search)
{
	struct stat named, opened;

	if (search->fd < 0 || stat(search->path, &named) || fstat(search->fd, &opened))
		return 1;
	return named.st_ino != opened.st_ino || opened.st_size < search->offset;
}

static void look(struct search *search)
{
	size_t len = strlen(search->text);
	ssize_t got;

	if (is_another(search))
		start_over(search);
	if (search->fd < 0)
		return;
	if (!len) {
		search->found = 1;
		return;
	}
	while ((got = read(search->fd, search->buffer + search->kept, CHUNK - search->kept)) > 0) {
		char *at = search->buffer, *end = at + search->kept + got, *hit;

		search->offset += got;
		while ((hit = memmem(at, end - at, search->text, len))) {
			search->found++;
			at = hit + len;
		}
		search->kept = (size_t)(end - at) < len ? (size_t)(end - at) : len - 1;
		memmove(search->buffer, end - search->kept, search->kept);
	}
}

static int watch(int events, const char *path)
{
	char *copy = strdup(path);
	int wd = inotify_add_watch(events, dirname(copy), IN_CREATE | IN_MODIFY | IN_MOVED_TO);

	if (wd < 0)
		perror(path);
	free(copy);
	return wd;
}

static long milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int main(int argc, char **argv)
{
	static struct search search = {.fd = -1};
	unsigned long count = argc > 4 ? strtoul(argv[4], NULL, 10) : 1;
	const char *stop = argc > 5 ? argv[5] : NULL;
	int events = inotify_init1(IN_NONBLOCK);
	long end;

	if (argc < 4 || argc > 6) {
		fprintf(stderr, "await SECONDS FILE TEXT [COUNT [STOP]]\n");
		return 2;
	}
	search.path = argv[2];
	search.text = argv[3];
	if (events < 0 || watch(events, argv[2]) < 0 || (stop && watch(events, stop) < 0))
		return 2;
	end = milliseconds() + strtol(argv[1], NULL, 10) * 1000;
	for (;;) {
		struct pollfd ready = {.fd = events, .events = POLLIN};
		int stopped =
			stop && !access(stop, F_OK); /* before the look: that one is the last */
		long left = end - milliseconds();
		char skipped[4096];

		look(&search);
		if (search.found >= count)
			return 0;
		if (stopped)
			return 3;
		if (left <= 0)
			return 4;
		poll(&ready, 1, (int)left);
		usleep(5000); /* what is written together is looked at once */
		while (read(events, skipped, sizeof(skipped)) > 0)
			;
	}
}
