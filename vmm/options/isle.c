// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "isle/isle.h"
#include "isle/parts.h"
#include "options/family.h"
#include "options/params.h"

static int parse_off(const char *value, void *to)
{
	*(bool *)to = !strcmp(value, "off");
	return *(bool *)to || !strcmp(value, "on") ? 0 : -1;
}

int option_isle(char *value, struct vm_config *cfg, struct error *e)
{
	const struct param known[] = {
		{"net", PARAM_PARSED, &cfg->isle.without_network, 0, 0, parse_off, "on or off"},
		{0},
	};
	const char *number = params_next(&value);
	uint64_t n;

	if (parse_number(number, 0, ISLE_MAX, &n))
		return error_set(e, ERROR_USER, "--isle %s: give a number from 0 to %d", number,
				 ISLE_MAX);
	cfg->isle.wanted = true;
	cfg->isle.number = (unsigned int)n;
	return params_parse("--isle", value, known, e);
}

int isle_variables(const char *isle, const char *cpus, struct vm_config *cfg, struct error *e)
{
	uint64_t n;
	char *copy;

	/* HermitCore's other words: a VM of QEMU, or of uhyve.  It is one here in any case. */
	if (isle && strcmp(isle, "qemu") && strcmp(isle, "uhyve")) {
		if (parse_number(isle, 0, ISLE_MAX, &n))
			return error_set(e, ERROR_USER,
					 "HERMIT_ISLE=%s: give a number from 0 to %d, or uhyve",
					 isle, ISLE_MAX);
		cfg->isle.wanted = true;
		cfg->isle.number = (unsigned int)n;
	}
	if (!cfg->isle.wanted || !cpus || cfg->pinned)
		return 0;
	copy = strdup(cpus); /* the guest may get the variable as it is */
	if (!copy)
		return error_set(e, ERROR_MACHINE, "out of memory");
	if (option_cpu_affinity(copy, cfg, e))
		return error_set(e, ERROR_USER,
				 "HERMIT_CPUS=%s: give the isle's CPUs, such as 2-3 or 2,4", cpus);
	return 0;
}

/* One CPU of the host for each vCPU. */
static int check_cpus(struct vm_config *cfg, struct error *e)
{
	unsigned int given = 0, i;
	cpu_set_t seen;

	CPU_ZERO(&seen);
	for (; given < MAX_CPUS && cfg->affinity[given].count; given++) {
		i = cfg->affinity[given].first;
		if (cfg->affinity[given].count > 1 || CPU_ISSET(i, &seen))
			return error_set(e, ERROR_USER,
					 "--isle: each vCPU has one CPU, and of its own: give "
					 "--cpu-affinity as a plain list, such as 2-3");
		CPU_SET(i, &seen);
	}
	if (!given)
		return error_set(e, ERROR_USER,
				 "--isle %u needs CPUs: --cpu-affinity 2-3 or HERMIT_CPUS=2-3",
				 cfg->isle.number);
	if (!cfg->cpus_given && !cfg->restore_dir) {
		cfg->cpus = given;
		cfg->topology = (struct cpu_topology){1, given, 1};
	}
	if (cfg->cpus != given)
		return error_set(e, ERROR_USER, "--isle: %u vCPUs on %u CPUs; each needs its own",
				 cfg->cpus, given);
	return 0;
}

/* The node of a CPU, or -1: sysfs has a link cpuN/nodeM. */
static int node_of(unsigned int cpu)
{
	char path[80];
	int node;

	for (node = 0; node < MEMORY_MAX_NODES; node++) {
		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/node%d", cpu, node);
		if (!access(path, F_OK))
			return node;
	}
	return -1;
}

/* No page is to be found or cleared while it runs, and none is far away. */
static void place_memory(struct memory_config *m, unsigned int cpu)
{
	int node = node_of(cpu);

	if (!m->bound && node >= 0) {
		m->bound = true;
		m->node = (unsigned int)node;
	}
	m->prefault = true;
}

/* The address on the network of all isles, unless it was given another. */
static void set_address(struct hermit_ip *ip, unsigned int number)
{
	if (ip->given)
		return;
	*ip = (struct hermit_ip){.given = true,
				 .address = {192, 168, 28, (uint8_t)(number + 2)},
				 .gateway = {192, 168, 28, 1},
				 .mask = {255, 255, 255, 0}};
}

void isle_add_network(struct vm_config *cfg)
{
	struct net_config *net = &cfg->nets[0];

	if (!cfg->isle.wanted || cfg->isle.without_network || cfg->isle.has_network)
		return;
	if (cfg->nnets) { /* it was given another one */
		cfg->isle.without_network = true;
		return;
	}
	*net = (struct net_config){.kind = NET_TAP, .pairs = 1};
	snprintf(net->tap, sizeof(net->tap), "isle%u", cfg->isle.number);
	strcpy(net->bridge, ISLE_BRIDGE);
	/* Locally administered, and one for each isle of a host. */
	memcpy(net->mac, (uint8_t[]){0x02, 'i', 's', 'l', 'e', cfg->isle.number}, 6);
	cfg->nnets = 1;
	cfg->isle.has_network = true;
	set_address(&cfg->hermit.ip, cfg->isle.number);
}

int isle_complete(struct vm_config *cfg, struct error *e)
{
	char path[ISLE_PATH];

	if (!cfg->isle.wanted)
		return 0;
	if (cfg->limits.cgroup || cfg->limits.cpu_percent || cfg->limits.memory)
		return error_set(e, ERROR_USER,
				 "--isle: its CPUs are its own, and so is its control group: leave "
				 "--cgroup and --limit out");
	if (check_cpus(cfg, e))
		return -1;
	if (!cfg->restore_dir)
		place_memory(&cfg->memory, cfg->affinity[0].first);
	/* Of a guest that speaks to a terminal, the isle's log is the VMM's. */
	if (!cfg->console_log && !cfg->log) {
		isle_path(path, (int)cfg->isle.number);
		strncat(path, "/log", sizeof(path) - strlen(path) - 1);
		cfg->log = strdup(path);
	}
	isle_add_network(cfg);
	return 0;
}
