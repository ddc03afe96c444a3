// SPDX-License-Identifier: Apache-2.0
/* QMP's x-hypergen-snapshot-save. */
#include <stdio.h>
#include <string.h>

#include "control.h"
#include "gdb/gdb.h"
#include "snapshot/snapshot.h"
#include "vm.h"

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int parse_id(const char *text, uint8_t id[SNAP_ID])
{
	unsigned int i;

	if (strlen(text) != 2 * SNAP_ID)
		return -1;
	for (i = 0; i < 2 * SNAP_ID; i++)
		if (hex_digit(text[i]) < 0)
			return -1;
	for (i = 0; i < SNAP_ID; i++)
		id[i] = hex_digit(text[2 * i]) << 4 | hex_digit(text[2 * i + 1]);
	return 0;
}

/* The files are open descriptors: from inside the sandbox none can be opened. */
json_t *snapshot_command(struct vm *vm, struct control *c, json_t *args, char *text, size_t len)
{
	const char *state = json_string_value(json_object_get(args, "state"));
	const char *memory = json_string_value(json_object_get(args, "memory"));
	const char *base = json_string_value(json_object_get(args, "base"));
	struct snapshot_request r = {.track = json_is_true(json_object_get(args, "track"))};
	struct snapshot_result result;
	char id[2 * SNAP_ID + 1];
	uint8_t below[SNAP_ID];
	unsigned int i;
	struct error e;

	r.state_fd = state ? control_fd(c, state) : -1;
	r.memory_fd = memory ? control_fd(c, memory) : -1;
	if (r.state_fd < 0 || r.memory_fd < 0 || (base && parse_id(base, below))) {
		snprintf(text, len,
			 "give 'state' and 'memory', names by getfd of two files that are open for "
			 "writing, and as 'base' an id");
		return NULL;
	}
	if (gdb_breakpoints(vm)) {
		snprintf(text, len,
			 "a debugger's breakpoints stand in guest RAM; delete them first");
		return NULL;
	}
	r.base = base ? below : NULL;
	if (snapshot_save(vm, &r, &result, &e)) {
		snprintf(text, len, "%s", e.text);
		return NULL;
	}
	for (i = 0; i < SNAP_ID; i++)
		snprintf(id + 2 * i, 3, "%02x", result.id[i]);
	return json_pack("{s:s,s:I,s:I}", "id", id, "memory", (json_int_t)vm->mem.size, "written",
			 (json_int_t)result.written);
}
