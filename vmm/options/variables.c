// SPDX-License-Identifier: Apache-2.0
/* HERMIT_* variables: those of hermit-caves, of HermitCore's proxy, and of uhyve. */
#include <stdlib.h>
#include <string.h>

#include "options/family.h"
#include "options/params.h"
#include "snapshot/checkpoint.h"

#define CAVES_GDB_PORT "1234"
#define MONITOR_SOCKET "hermit-monitor.sock"
#define CPUS_EXPECTED  "a number from 1 to 64; a range is for HERMIT_ISLE"

struct variable {
	const char *name;
	const char *option;  /* that says the same: when it is given, the variable does not count */
	const char *expects; /* for the message */
	int (*take)(char *value, struct vm_config *cfg); /* 0, or -1: not what is expected */
};

static int take_switch(const char *value, bool *on)
{
	*on = !strcmp(value, "1");
	return *on || !strcmp(value, "0") ? 0 : -1;
}

static int take_verbose(char *value, struct vm_config *cfg)
{
	return take_switch(value, &cfg->hermit.verbose);
}

static int take_cpus(char *value, struct vm_config *cfg)
{
	struct error e;
	uint64_t n;

	if (cfg->isle.wanted)
		return 0; /* isle.c has read it: which CPUs of the host, not how many */
	if (parse_number(value, 1, MAX_CPUS, &n))
		return -1;
	return options_take("cpus", strdup(value), cfg, &e); /* a snapshot has to know */
}

static int take_memory(char *value, struct vm_config *cfg)
{
	uint64_t bytes;

	if (parse_size(value, 0, &bytes) || bytes < MIN_MEMORY || bytes > MAX_MEMORY)
		return -1;
	cfg->memory.size = bytes & ~4095ull;
	return 0;
}

/* 1 is the port that hermit-caves and QEMU use; the guest waits for the debugger as there. */
static int take_debug(char *value, struct vm_config *cfg)
{
	uint64_t n;

	if (parse_number(value, 0, 65535, &n))
		return -1;
	if (n) {
		cfg->gdb = n == 1 ? CAVES_GDB_PORT : value;
		cfg->gdb_wait = true;
	}
	return 0;
}

static int take_gdb_port(char *value, struct vm_config *cfg)
{
	uint64_t n;

	if (parse_number(value, 1, 65535, &n))
		return -1;
	cfg->gdb = value;
	cfg->gdb_wait = true;
	return 0;
}

static int take_config(char *value, struct vm_config *cfg)
{
	cfg->hermit.config = value;
	return *value ? 0 : -1;
}

static int take_huge_pages(char *value, struct vm_config *cfg)
{
	bool on;

	if (take_switch(value, &on))
		return -1;
	cfg->memory.small_pages = !on;
	return 0;
}

static int take_mergeable(char *value, struct vm_config *cfg)
{
	return take_switch(value, &cfg->memory.mergeable);
}

static int take_checkpoint(char *value, struct vm_config *cfg)
{
	uint64_t n;

	if (parse_number(value, 0, CHECKPOINT_MAX_SECONDS, &n))
		return -1;
	cfg->checkpoint.seconds = (unsigned int)n;
	return 0;
}

static int take_full(char *value, struct vm_config *cfg)
{
	return take_switch(value, &cfg->checkpoint.full);
}

static int take_kvm(char *value, struct vm_config *cfg)
{
	(void)cfg;
	return strcmp(value, "1") ? -1 : 0;
}

/* Of the connection between HermitCore's proxy and its guest, which hypercalls stand for here. */
static int take_port(char *value, struct vm_config *cfg)
{
	uint64_t n;

	(void)cfg;
	return parse_number(value, 1, 65534, &n);
}

static int take_monitor(char *value, struct vm_config *cfg)
{
	bool on;

	if (take_switch(value, &on))
		return -1;
	if (on)
		cfg->control = MONITOR_SOCKET;
	return 0;
}

static const struct variable variables[] = {
	{"HERMIT_CPUS", "cpus", CPUS_EXPECTED, take_cpus},
	{"HERMIT_CPU_COUNT", "cpus", CPUS_EXPECTED, take_cpus},
	{"HERMIT_MEM", "memory", "a size from 16M to 1024G", take_memory},
	{"HERMIT_MEMORY_SIZE", "memory", "a size from 16M to 1024G", take_memory},
	{"HERMIT_VERBOSE", "verbose", "0 or 1", take_verbose},
	{"HERMIT_DEBUG", "gdb", "0, 1 (port " CAVES_GDB_PORT ") or a port from 2 to 65535",
	 take_debug},
	{"HERMIT_GDB_PORT", "gdb", "a port from 1 to 65535", take_gdb_port},
	{"HERMIT_CONFIG", "config", "a file", take_config},
	{"HERMIT_CHECKPOINT", "checkpoint", "seconds, 0 to 86400", take_checkpoint},
	{"HERMIT_FULLCHECKPOINT", "checkpoint", "0 or 1", take_full},
	{"HERMIT_HUGEPAGE", "no-hugepages", "0 or 1", take_huge_pages},
	{"HERMIT_MERGEABLE", "ksm", "0 or 1", take_mergeable},
	{"HERMIT_KVM", "", "1: there is no emulator in this VMM", take_kvm},
	{"HERMIT_PORT", "", "a port from 1 to 65534", take_port},
	{"HERMIT_MONITOR", "control", "0 or 1", take_monitor},
};

int variables_read(struct vm_config *cfg, struct error *e)
{
	const struct variable *v = variables, *end = variables + sizeof(variables) / sizeof(*v);
	bool read[sizeof(variables) / sizeof(variables[0])] = {false};
	char *value;

	for (; v < end; v++) {
		value = getenv(v->name);
		if (!value || options_given(v->option))
			continue;
		read[v - variables] = true;
		if (v->take(value, cfg))
			return error_set(e, ERROR_USER, "%s=%.200s: give %s", v->name, value,
					 v->expects);
	}
	/* From here on they count as options; not before, two of them belong to one. */
	for (v = variables; v < end; v++)
		if (read[v - variables])
			options_note(v->option);
	return 0;
}
