// SPDX-License-Identifier: Apache-2.0
#include "outcome.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *final_path, *part_path;
static int part_fd = -1;

int outcome_prepare(const char *run_dir, struct error *e)
{
	if (!run_dir)
		return 0;
	if (asprintf(&final_path, "%s/exit.json", run_dir) < 0 ||
	    asprintf(&part_path, "%s/.exit.json.part", run_dir) < 0)
		return error_set(e, ERROR_MACHINE, "out of memory");
	unlink(final_path);
	/* Opened now: in the sandbox nothing can be. */
	part_fd = open(part_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (part_fd < 0)
		return error_set(e, ERROR_MACHINE, "%s: %s", part_path, strerror(errno));
	return 0;
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
	    write(part_fd, "\n", 1) == 1 && rename(part_path, final_path) == 0)
		part_fd = -1; /* exit closes it */
	free(text);
	json_decref(o);
}

void outcome_discard(void)
{
	if (part_fd >= 0)
		unlink(part_path);
}
