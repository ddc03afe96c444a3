// SPDX-License-Identifier: Apache-2.0
#include "options/family.h"
#include "options/params.h"

int option_disk(char *value, struct vm_config *cfg, struct error *e)
{
	struct disk_config *disk = &cfg->disks[cfg->ndisks];
	const struct param known[] = {
		{.key = "readonly", .kind = PARAM_FLAG, .to = &disk->read_only},
		{0},
	};

	if (cfg->ndisks == MAX_DISKS)
		return error_set(e, ERROR_USER, "--disk: at most %d disks", MAX_DISKS);
	disk->path = params_next(&value);
	if (!*disk->path)
		return error_set(e, ERROR_USER, "--disk: the path is empty");
	if (params_parse("--disk", value, known, e))
		return -1;
	cfg->ndisks++;
	return 0;
}
