// SPDX-License-Identifier: Apache-2.0
/* Options of unikernels, and the HERMIT_* variables of those who start one like a program. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "options/family.h"
#include "options/params.h"

int option_file_mapping(char *value, struct vm_config *cfg, struct error *e)
{
	struct files_config *files = &cfg->hermit.files;
	struct files_mapping *m = &files->mappings[files->nmappings];
	char *guest = strchr(value, ':'), *mode;

	if (files->nmappings == FILES_MAX_MAPPINGS)
		return error_set(e, ERROR_USER, "--file-mapping: at most %d mappings",
				 FILES_MAX_MAPPINGS);
	if (!guest || guest == value || guest[1] != '/')
		return error_set(e, ERROR_USER,
				 "--file-mapping %s: give HOST:GUEST[:ro], GUEST with its first /",
				 value);
	*guest++ = '\0';
	mode = strchr(guest, ':');
	if (mode) {
		*mode++ = '\0';
		if (strcmp(mode, "ro") && strcmp(mode, "rw"))
			return error_set(e, ERROR_USER,
					 "--file-mapping %s:%s: '%s' is neither ro nor rw", value,
					 guest, mode);
	}
	*m = (struct files_mapping){
		.host = value, .guest = guest, .read_only = mode && !strcmp(mode, "ro")};
	files->nmappings++;
	return 0;
}

int option_file_isolation(char *value, struct vm_config *cfg, struct error *e)
{
	if (!strcmp(value, "none"))
		cfg->hermit.files.isolation = FILES_NONE;
	else if (!strcmp(value, "normal"))
		cfg->hermit.files.isolation = FILES_NORMAL;
	else if (!strcmp(value, "strict"))
		cfg->hermit.files.isolation = FILES_STRICT;
	else
		return error_set(e, ERROR_USER, "--file-isolation %s: give none, normal or strict",
				 value);
	return 0;
}

static int add_env(const char *text, struct vm_config *cfg, struct error *e)
{
	if (cfg->hermit.nenv == HERMIT_MAX_ENV)
		return error_set(e, ERROR_USER, "--env: at most %d variables", HERMIT_MAX_ENV);
	cfg->hermit.env[cfg->hermit.nenv++] = text;
	return 0;
}

int option_env(char *value, struct vm_config *cfg, struct error *e)
{
	size_t len = strcspn(value, "=");
	char **own;

	if (!strcmp(value, "host")) {
		cfg->hermit.env_host = true;
		return 0;
	}
	if (!len)
		return error_set(e, ERROR_USER, "--env %s: give KEY=VALUE, KEY or host", value);
	if (value[len])
		return add_env(value, cfg, e);
	for (own = environ; *own; own++)
		if (!strncmp(*own, value, len) && (*own)[len] == '=')
			return add_env(*own, cfg, e);
	return error_set(e, ERROR_USER, "--env %s: there is no such variable here", value);
}

/* A variable counts when the option that says the same was not given. */
static int read_variables(struct vm_config *cfg, struct error *e)
{
	const char *isle = cfg->isle.wanted ? NULL : getenv("HERMIT_ISLE");

	if (isle_variables(isle, getenv("HERMIT_CPUS"), cfg, e))
		return -1;
	return variables_read(cfg, e) || unikernel_net_variables(cfg, e) ? -1 : 0;
}

int unikernel_named(char *const *words, int count, struct vm_config *cfg, struct error *e)
{
	cfg->kernel = words[0];
	cfg->hermit.args = words;
	cfg->hermit.nargs = (unsigned int)count;
	cfg->hermit.named = true;
	if (read_variables(cfg, e))
		return -1;
	/* A program says nothing of its own start; its standard error is for its messages. */
	if (!cfg->hermit.verbose && !cfg->log && !cfg->run_dir && !cfg->isle.wanted)
		log_set_level("error");
	return 0;
}

int unikernel_complete(struct vm_config *cfg, struct error *e)
{
	if (cfg->memory.mergeable && (cfg->memory.shared || cfg->memory.huge_page))
		return error_set(e, ERROR_USER,
				 "--ksm works on private memory only: neither shared nor "
				 "hugepages=2M or 1G");
	if (!cfg->hermit.args) {
		cfg->hermit.args = (char *const *)&cfg->kernel;
		cfg->hermit.nargs = 1;
	}
	return unikernel_net_complete(cfg, e);
}
