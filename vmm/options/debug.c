// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "options/family.h"
#include "options/params.h"

#define AUTO "auto"

int option_gdb(char *value, struct vm_config *cfg, struct error *e)
{
	uint64_t port;

	if (!*value)
		return error_set(e, ERROR_USER, "--gdb: give a TCP port, a socket's path or " AUTO);
	/* What is all digits is meant to be a port; ./1234 is a path. */
	if (strspn(value, "0123456789") == strlen(value) && parse_number(value, 1, 65535, &port))
		return error_set(e, ERROR_USER, "--gdb %s: a port is a number from 1 to 65535",
				 value);
	if (value[0] == ':' || strstr(value, "localhost:") == value)
		return error_set(e, ERROR_USER, "--gdb %s: give the port alone", value);
	cfg->gdb = value;
	return 0;
}

int option_log_level(char *value, struct vm_config *cfg, struct error *e)
{
	(void)cfg; /* it can be changed at run time, and is the log's */
	if (log_set_level(value))
		return error_set(e, ERROR_USER,
				 "--log-level %s: give error, warning, info or debug", value);
	return 0;
}

int complete_gdb(struct vm_config *cfg, struct error *e)
{
	char *path;

	if (cfg->gdb_wait && !cfg->gdb)
		return error_set(e, ERROR_USER, "--gdb-wait needs --gdb");
	if (!cfg->gdb || strcmp(cfg->gdb, AUTO) != 0)
		return 0;
	if (!cfg->run_dir)
		return error_set(e, ERROR_USER, "--gdb " AUTO " needs --run-dir");
	if (asprintf(&path, "%s/gdb.sock", cfg->run_dir) < 0)
		abort();
	cfg->gdb = path;
	return 0;
}
