// SPDX-License-Identifier: Apache-2.0
#include "outcome.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FINAL "exit.json"
#define PART  ".exit.json.part"

static int dir_fd = -1, part_fd = -1;

int outcome_prepare(const char *run_dir, struct error *e)
{
	if (!run_dir)
		return 0;
	dir_fd = open(run_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return error_set(e, ERROR_MACHINE, "%s: %s", run_dir, strerror(errno));
	unlinkat(dir_fd, FINAL, 0);
	/* Opened now: in the sandbox nothing can be. */
	part_fd = openat(dir_fd, PART, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (part_fd < 0)
		return error_set(e, ERROR_MACHINE, "%s/" PART ": %s", run_dir, strerror(errno));
	return 0;
}

void outcome_folder_entered(void)
{
	if (dir_fd >= 0)
		close(dir_fd);
	dir_fd = AT_FDCWD;
}

void outcome_write(const char *reason, const char *message)
{
	json_t *o;
	char *text;

	if (part_fd < 0)
		return;
	o = json_pack("{s:s}", "reason", reason);
	if (message)
		json_object_set_new(o, "message", json_string(message));
	text = json_dumps(o, JSON_COMPACT);
	if (text && write(part_fd, text, strlen(text)) == (ssize_t)strlen(text) &&
	    write(part_fd, "\n", 1) == 1 && renameat(dir_fd, PART, dir_fd, FINAL) == 0)
		part_fd = -1; /* exit closes it */
	free(text);
	json_decref(o);
}

void outcome_discard(void)
{
	if (part_fd >= 0)
		unlinkat(dir_fd, PART, 0);
}
