// SPDX-License-Identifier: Apache-2.0
#include <sched.h>
#include <string.h>

#include "options/family.h"
#include "options/params.h"

int option_cpus(char *value, struct vm_config *cfg, struct error *e)
{
	uint64_t n, sockets = 0, cores = 0, threads = 0;
	const struct param keys[] = {
		{"sockets", PARAM_NUMBER, &sockets, 1, MAX_CPUS, NULL, NULL},
		{"cores", PARAM_NUMBER, &cores, 1, MAX_CPUS, NULL, NULL},
		{"threads", PARAM_NUMBER, &threads, 1, MAX_CPUS, NULL, NULL},
		{0},
	};
	const char *number = params_next(&value);

	if (parse_number(number, 1, MAX_CPUS, &n))
		return error_set(e, ERROR_USER, "--cpus %s: give a number from 1 to %d", number,
				 MAX_CPUS);
	if (params_parse("--cpus", value, keys, e))
		return -1;
	/* What is not said: one thread, then one socket, then as many as it takes. */
	threads = threads					   ? threads
		  : sockets && cores && n % (sockets * cores) == 0 ? n / (sockets * cores)
								   : 1;
	sockets = sockets				? sockets
		  : cores && n % (cores * threads) == 0 ? n / (cores * threads)
							: 1;
	cores = cores ? cores : n / (sockets * threads);
	if (sockets * cores * threads != n)
		return error_set(e, ERROR_USER,
				 "--cpus %s: %llu sockets of %llu cores of %llu threads are %llu",
				 number, (unsigned long long)sockets, (unsigned long long)cores,
				 (unsigned long long)threads,
				 (unsigned long long)(sockets * cores * threads));
	cfg->cpus = n;
	cfg->cpus_given = true;
	cfg->topology = (struct cpu_topology){sockets, cores, threads};
	return 0;
}

int option_cpu_model(char *value, struct vm_config *cfg, struct error *e)
{
	static const char *const known[] = {"host", "baseline", "baseline-v3"}; /* enum cpu_model */
	unsigned int i;

	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (!strcmp(value, known[i])) {
			cfg->cpu_model = i;
			return 0;
		}
	}
	return error_set(e, ERROR_USER, "--cpu-model %s: give host, baseline or baseline-v3",
			 value);
}

/* "4" or "4-7". */
static int parse_range(char *text, struct cpu_range *range)
{
	char *dash = strchr(text, '-');
	uint64_t first, last;

	if (dash)
		*dash++ = '\0';
	if (parse_number(text, 0, CPU_SETSIZE - 1, &first))
		return -1;
	last = first;
	if (dash && parse_number(dash, first, CPU_SETSIZE - 1, &last))
		return -1;
	*range = (struct cpu_range){first, last - first + 1};
	return 0;
}

int option_cpu_affinity(char *value, struct vm_config *cfg, struct error *e)
{
	uint64_t vcpu = 0; /* the next of a list */
	struct cpu_range range;
	char *part, *cpus;

	cfg->pinned = true;
	memset(cfg->affinity, 0, sizeof(cfg->affinity));
	while (value) {
		part = params_next(&value);
		cpus = strchr(part, '=');
		if (cpus)
			*cpus++ = '\0';
		if ((cpus && parse_number(part, 0, MAX_CPUS - 1, &vcpu)) ||
		    parse_range(cpus ? cpus : part, &range))
			return error_set(e, ERROR_USER,
					 "--cpu-affinity: give host CPUs such as 2,3,6-7, or "
					 "vCPU=CPUS such as 0=2,1=4-7");
		if (cpus)
			cfg->affinity[vcpu++] = range;
		for (; !cpus && range.count && vcpu < MAX_CPUS; range.first++, range.count--)
			cfg->affinity[vcpu++] = (struct cpu_range){range.first, 1};
	}
	return 0;
}

int machine_complete(struct vm_config *cfg, struct error *e)
{
	unsigned int vcpu, cpu, last = 0;
	cpu_set_t allowed;

	if (!cfg->pinned)
		return 0;
	CPU_ZERO(&allowed);
	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		return 0; /* more CPUs than a cpu_set_t: the thread's start will tell */
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++)
		last = CPU_ISSET(cpu, &allowed) ? cpu : last;
	for (vcpu = 0; vcpu < MAX_CPUS; vcpu++) {
		if (cfg->affinity[vcpu].count && vcpu >= cfg->cpus)
			return error_set(e, ERROR_USER,
					 "--cpu-affinity: vCPU %u: there are 0 to %u", vcpu,
					 cfg->cpus - 1);
		for (cpu = 0; cpu < cfg->affinity[vcpu].count; cpu++)
			if (!cfg->isle.wanted &&
			    !CPU_ISSET(cfg->affinity[vcpu].first + cpu, &allowed))
				return error_set(e, ERROR_USER,
						 "--cpu-affinity: host CPU %u may not be used "
						 "here: 0 to %u at most",
						 cfg->affinity[vcpu].first + cpu, last);
	}
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
	cfg->memory_given = true;
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

static const char *const boot_methods[] = {"auto", "pvh", "linux64", "multiboot"};

const char *boot_method_name(enum boot_method method)
{
	return boot_methods[method];
}

int option_boot(char *value, struct vm_config *cfg, struct error *e)
{
	unsigned int i;

	for (i = 0; i < sizeof(boot_methods) / sizeof(boot_methods[0]); i++) {
		if (!strcmp(value, boot_methods[i])) {
			cfg->boot = i;
			return 0;
		}
	}
	return error_set(e, ERROR_USER, "--boot %s: give auto, pvh, linux64 or multiboot", value);
}

int option_acpi(char *value, struct vm_config *cfg, struct error *e)
{
	cfg->no_acpi = !strcmp(value, "off");
	if (!cfg->no_acpi && strcmp(value, "on"))
		return error_set(e, ERROR_USER, "--acpi %s: give on or off", value);
	return 0;
}
