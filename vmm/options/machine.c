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

static int parse_pages(const char *value, void *to)
{
	struct memory_config *m = to;

	m->huge_page = !strcmp(value, "2M") ? 2ull << 20 : !strcmp(value, "1G") ? 1ull << 30 : 0;
	m->small_pages = !strcmp(value, "off");
	return m->huge_page || m->small_pages || !strcmp(value, "thp") ? 0 : -1;
}

static int parse_node(const char *value, void *to)
{
	struct memory_config *m = to;
	uint64_t node;

	if (parse_number(value, 0, MEMORY_MAX_NODES - 1, &node))
		return -1;
	m->node = node;
	m->bound = true;
	return 0;
}

int option_memory(char *value, struct vm_config *cfg, struct error *e)
{
	struct memory_config *m = &cfg->memory;
	const struct param keys[] = {
		{"hugepages", PARAM_PARSED, m, 0, 0, parse_pages, "off, thp, 2M or 1G"},
		{"prefault", PARAM_FLAG, &m->prefault, 0, 0, NULL, NULL},
		{"mergeable", PARAM_FLAG, &m->mergeable, 0, 0, NULL, NULL},
		{"shared", PARAM_FLAG, &m->shared, 0, 0, NULL, NULL},
		{"node", PARAM_PARSED, m, 0, 0, parse_node, "the number of a NUMA node"},
		{0},
	};
	const char *size = params_next(&value);
	uint64_t bytes;

	if (parse_size(size, 20, &bytes))
		return error_set(e, ERROR_USER, "--memory %s: give a size such as 512M or 2G",
				 size);
	if (bytes > MAX_MEMORY || bytes < MIN_MEMORY)
		return error_set(e, ERROR_USER, "--memory %s: out of range, 16M to 1024G", size);
	m->size = bytes & ~4095ull;
	if (params_parse("--memory", value, keys, e))
		return -1;
	if (m->huge_page && m->size % m->huge_page)
		return error_set(e, ERROR_USER, "--memory %s: not a multiple of the page size, %s",
				 size, m->huge_page > 2 << 20 ? "1G" : "2M");
	if (m->mergeable && (m->shared || m->huge_page))
		return error_set(e, ERROR_USER,
				 "--memory: mergeable works on private memory only: neither "
				 "shared nor hugepages=2M or 1G");
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
