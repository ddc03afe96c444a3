// SPDX-License-Identifier: Apache-2.0
#include "snapshot/checkpoint.h"
#include "snapshot/snapshot.h"

#include <string.h>

#include "options/family.h"
#include "options/params.h"

/*
 * What the guest sees of the machine and what names nothing of the host: an option that makes
 * hg-vmm open something never comes out of a snapshot, which may be anybody's.
 */
static const char *const travelling[] = {
	"cmdline", /* where the console is; and for a reset */
	"boot",	   "cpus", "cpu-model", "serial", "balloon", "packed-rings",
};

bool option_travels(const char *name)
{
	unsigned int i;

	for (i = 0; i < sizeof(travelling) / sizeof(travelling[0]); i++)
		if (!strcmp(name, travelling[i]))
			return true;
	return false;
}

static int parse_verify(const char *value, void *to)
{
	enum verify *verify = to;

	*verify = !strcmp(value, "on") ? VERIFY_ALWAYS : VERIFY_NEVER;
	return *verify == VERIFY_ALWAYS || !strcmp(value, "off") ? 0 : -1;
}

int option_restore(char *value, struct vm_config *cfg, struct error *e)
{
	const struct param known[] = {
		{"verify", PARAM_PARSED, &cfg->verify, 0, 0, parse_verify, "on or off"},
		{0},
	};

	cfg->restore_dir = params_next(&value);
	if (!*cfg->restore_dir)
		return error_set(e, ERROR_USER, "--restore: give the folder of a snapshot");
	return params_parse("--restore", value, known, e);
}

int option_save(char *value, struct vm_config *cfg, struct error *e)
{
	const struct param known[] = {
		{"base", PARAM_TEXT, &cfg->save.base, 0, 0, NULL, NULL},
		{"track", PARAM_FLAG, &cfg->save.track, 0, 0, NULL, NULL},
		{0},
	};

	cfg->save.dir = params_next(&value);
	if (!*cfg->save.dir)
		return error_set(e, ERROR_USER, "--save: give a folder to make");
	return params_parse("--save", value, known, e);
}

int option_checkpoint(char *value, struct vm_config *cfg, struct error *e)
{
	const struct param known[] = {
		{"full", PARAM_FLAG, &cfg->checkpoint.full, 0, 0, NULL, NULL},
		{0},
	};
	const char *number = params_next(&value);
	uint64_t seconds;

	if (parse_number(number, 0, CHECKPOINT_MAX_SECONDS, &seconds))
		return error_set(e, ERROR_USER, "--checkpoint %s: give seconds, 0 to %d", number,
				 CHECKPOINT_MAX_SECONDS);
	cfg->checkpoint.seconds = (unsigned int)seconds;
	return params_parse("--checkpoint", value, known, e);
}

int snapshot_complete(struct vm_config *cfg, struct error *e)
{
	uint64_t size;

	if (cfg->save.dir && !cfg->control && !cfg->run_dir)
		return error_set(e, ERROR_USER, "--save needs the VM's --run-dir or --control");
	if (checkpoint_complete(cfg, e))
		return -1;
	if (!cfg->restore_dir || cfg->save.dir)
		return 0;
	if (cfg->ntravels)
		return error_set(e, ERROR_USER, "--%s comes from the snapshot: leave it out",
				 cfg->travels[0].name);
	cfg->restore = snapshot_open(cfg->restore_dir, cfg->verify, e);
	if (!cfg->restore)
		return -1;
	size = snapshot_memory(cfg->restore);
	if (cfg->memory.size && cfg->memory.size != size)
		return error_set(e, ERROR_USER, "--memory: the snapshot has %lluM",
				 (unsigned long long)(size >> 20));
	if (size < MIN_MEMORY || size > MAX_MEMORY)
		return error_set(e, ERROR_USER, "snapshot %.150s: RAM of an impossible size",
				 cfg->restore_dir);
	cfg->memory.size = size;
	return 0;
}
