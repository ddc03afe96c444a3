// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>

#include "qmp_devices.h"
#include "virtio/balloon.h"
#include "vm.h"

static bool has_balloon(const struct vm *vm, char *text, size_t len)
{
	if (!vm->balloon)
		snprintf(text, len, "No balloon device has been activated (see --balloon)");
	return vm->balloon;
}

json_t *qmp_balloon(struct vm *vm, struct control *c, json_t *args, char *text, size_t len)
{
	json_t *value = json_object_get(args, "value");

	(void)c;
	if (!has_balloon(vm, text, len))
		return NULL;
	if (!json_is_integer(value) || json_integer_value(value) <= 0) {
		snprintf(text, len, "Parameter 'value' expects a target size in bytes");
		return NULL;
	}
	balloon_set_target(vm->balloon, (uint64_t)json_integer_value(value));
	return json_object();
}

json_t *qmp_query_balloon(struct vm *vm, struct control *c, json_t *args, char *text, size_t len)
{
	(void)c, (void)args;
	if (!has_balloon(vm, text, len))
		return NULL;
	return json_pack("{s:I}", "actual", (json_int_t)balloon_actual(vm->balloon));
}

json_t *qmp_balloon_stats(struct vm *vm, struct control *c, json_t *args, char *text, size_t len)
{
	const struct balloon_stats *s;
	json_t *stats;
	unsigned int i;

	(void)c, (void)args;
	if (!has_balloon(vm, text, len))
		return NULL;
	s = balloon_get_stats(vm->balloon);
	stats = json_object();
	for (i = 0; i < BALLOON_NSTATS; i++)
		if (s->known >> i & 1)
			json_object_set_new(stats, balloon_stat_names[i],
					    json_integer((json_int_t)s->value[i]));
	return json_pack("{s:o,s:I,s:I,s:I,s:I}", "stats", stats, "last-update",
			 (json_int_t)s->updated, "inflated-bytes", (json_int_t)s->inflated,
			 "deflated-bytes", (json_int_t)s->deflated, "reported-bytes",
			 (json_int_t)s->reported);
}
