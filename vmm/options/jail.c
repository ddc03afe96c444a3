// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "options/family.h"
#include "options/params.h"

#define MAX_CPU 1024 /* whole CPUs */

/* "2" or "0.25": in percent of a CPU. */
static int parse_cpu(const char *text, void *to)
{
	const char *dot = strchr(text, '.');
	unsigned int digits = dot ? strlen(dot + 1) : 0;
	uint64_t whole, part = 0;
	char copy[16];

	if (strlen(text) >= sizeof(copy) || (dot && (digits < 1 || digits > 2)))
		return -1;
	strcpy(copy, text);
	if (dot)
		copy[dot - text] = '\0';
	if (parse_number(copy, 0, MAX_CPU, &whole) || (dot && parse_number(dot + 1, 0, 99, &part)))
		return -1;
	if (digits == 1)
		part *= 10;
	*(unsigned int *)to = whole * 100 + part;
	return whole + part ? 0 : -1;
}

int option_limit(char *value, struct vm_config *cfg, struct error *e)
{
	struct limits *l = &cfg->limits;
	const struct param table[] = {
		{"cpu", PARAM_PARSED, &l->cpu_percent, 0, 0, parse_cpu,
		 "CPUs, such as 2 or 0.25, up to 1024"},
		{"memory", PARAM_SIZE, &l->memory, 16 << 20, MAX_MEMORY * 2, NULL, NULL},
		{"io", PARAM_SIZE, &l->io_bytes, 4096, 1ull << 40, NULL, NULL},
		{"iops", PARAM_NUMBER, &l->io_ops, 1, 1ull << 32, NULL, NULL},
		{0},
	};

	return params_parse("--limit", value, table, e);
}

int option_user(char *value, struct vm_config *cfg, struct error *e)
{
	char *group = strchr(value, ':');
	uint64_t uid, gid;
	int r;

	if (group)
		*group++ = '\0';
	r = parse_number(value, 1, UINT32_MAX - 1, &uid);
	gid = uid;
	if (r || (group && parse_number(group, 1, UINT32_MAX - 1, &gid)))
		return error_set(e, ERROR_USER, "--user %s: give UID or UID:GID, numbers above 0",
				 value);
	cfg->user.uid = uid;
	cfg->user.gid = gid;
	return 0;
}

int jail_complete(struct vm_config *cfg, struct error *e)
{
	struct limits *l = &cfg->limits;
	char *path;

	if (cfg->user.uid && geteuid() != 0)
		return error_set(e, ERROR_USER, "--user: only root can become somebody else");
	if (l->cgroup && (!*l->cgroup || strstr(l->cgroup, "..")))
		return error_set(e, ERROR_USER,
				 "--cgroup '%s': give a path below /sys/fs/cgroup, such as vms/one",
				 l->cgroup);
	if (l->cgroup || !(l->cpu_percent || l->memory || l->io_bytes || l->io_ops))
		return 0;
	if (asprintf(&path, "hg-vmm/%d", (int)getpid()) < 0)
		abort();
	l->cgroup = path;
	return 0;
}
