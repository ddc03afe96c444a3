// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "options/family.h"
#include "options/params.h"

int option_cpus(char *value, struct vm_config *cfg, struct error *e)
{
	uint64_t n;

	if (parse_number(value, 1, MAX_CPUS, &n))
		return error_set(e, ERROR_USER, "--cpus %s: give a number from 1 to %d", value,
				 MAX_CPUS);
	cfg->cpus = n;
	return 0;
}

int option_memory(char *value, struct vm_config *cfg, struct error *e)
{
	uint64_t bytes;

	if (parse_size(value, 20, &bytes))
		return error_set(e, ERROR_USER, "--memory %s: give a size such as 512M or 2G",
				 value);
	if (bytes > MAX_MEMORY || bytes < MIN_MEMORY)
		return error_set(e, ERROR_USER, "--memory %s: out of range, 16M to 1024G", value);
	cfg->memory = bytes & ~4095ull;
	return 0;
}

int option_boot(char *value, struct vm_config *cfg, struct error *e)
{
	static const struct {
		const char *name;
		enum boot_method method;
	} known[] = {{"auto", BOOT_AUTO}, {"pvh", BOOT_PVH}, {"linux64", BOOT_LINUX64}};
	unsigned int i;

	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (!strcmp(value, known[i].name)) {
			cfg->boot = known[i].method;
			return 0;
		}
	}
	return error_set(e, ERROR_USER, "--boot %s: give auto, pvh or linux64", value);
}
