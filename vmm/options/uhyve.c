// SPDX-License-Identifier: Apache-2.0
/* uhyve's way to be told: its names of options, and its uhyve.toml. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "options/family.h"
#include "options/params.h"
#include "toml.h"

#define FILE_NAME "uhyve.toml"
#define GDB_PORT  "6677"

const struct option_alias option_aliases[OPTION_ALIASES] = {
	{'m', "memory-size", "memory"},
	{'c', "cpu-count", "cpus"},
	{'a', NULL, "affinity"},
	{'e', "env-vars", "env"},
	{'o', NULL, "output"},
	{'s', NULL, "gdb-port"},
	{'n', NULL, "net"},
};

int option_affinity(char *value, struct vm_config *cfg, struct error *e)
{
	char *at;

	for (at = value; *at; at++)
		if (*at == ' ')
			*at = ',';
	options_note("cpu-affinity");
	return option_cpu_affinity(value, cfg, e);
}

int option_gdb_port(char *value, struct vm_config *cfg, struct error *e)
{
	uint64_t port;

	if (value && parse_number(value, 1, 65535, &port))
		return error_set(e, ERROR_USER, "--gdb-port %s: a port is a number from 1 to 65535",
				 value);
	cfg->gdb = value ? value : GDB_PORT;
	cfg->gdb_wait = true;
	options_note("gdb");
	return 0;
}

int option_image_mode(char *value, struct vm_config *cfg, struct error *e)
{
	cfg->hermit.image_internal = !strcmp(value, "internal");
	if (!cfg->hermit.image_internal && strcmp(value, "external"))
		return error_set(e, ERROR_USER, "--hermit-image-mode %s: give external or internal",
				 value);
	return 0;
}

/* A key of uhyve.toml and the option that says the same; NULL: hg-vmm has nothing like it. */
struct key {
	const char *table, *key, *option;
	enum toml_kind kind;
	bool list; /* an array of them, each of which is one value of the option */
};

static const struct key keys[] = {
	{"uhyve", "output", "output", TOML_STRING, false},
	{"uhyve", "stats", "stats", TOML_BOOLEAN, false},
	{"uhyve", "tempdir", "tempdir", TOML_STRING, false},
	{"uhyve", "hermit_image_mode", "hermit-image-mode", TOML_STRING, false},
	{"uhyve", "file_isolation", "file-isolation", TOML_STRING, false},
	{"uhyve", "io_mode", NULL, TOML_STRING, false},
	{"uhyve", "gdb_port", "gdb-port", TOML_INTEGER, false},
	{"memory", "memory_size", "memory", TOML_STRING, false},
	{"memory", "no_aslr", "no-aslr", TOML_BOOLEAN, false},
	{"memory", "thp", "thp", TOML_BOOLEAN, false},
	{"memory", "ksm", "ksm", TOML_BOOLEAN, false},
	{"cpu", "cpu_count", "cpus", TOML_INTEGER, false},
	{"cpu", "cpu_pm", NULL, TOML_BOOLEAN, false},
	{"cpu", "pit", "pit", TOML_BOOLEAN, false},
	{"cpu", "affinity", "affinity", TOML_STRING, false},
	{"guest", "env_vars", "env", TOML_STRING, true},
};

static int wrong_kind(const struct key *k, struct error *e)
{
	static const char *const names[] = {"a string", "a number", "true or false"};

	return error_set(e, ERROR_USER, "%s is %s%s", k->key, k->list ? "an array, each item " : "",
			 names[k->kind]);
}

static int take_item(const struct key *k, const struct toml_item *item, struct vm_config *cfg,
		     struct error *e)
{
	char *text = item->text;

	if (item->kind == TOML_BOOLEAN)
		return item->number ? options_take(k->option, NULL, cfg, e) : 0;
	if (item->kind == TOML_INTEGER && asprintf(&text, "%lld", (long long)item->number) < 0)
		return error_set(e, ERROR_MACHINE, "out of memory");
	return options_take(k->option, text, cfg, e);
}

/* affinity = [0, 1]: as the string "0,1". */
static int take_affinity(const struct toml_value *v, struct vm_config *cfg, struct error *e)
{
	char *list = calloc(v->count + 1, 24), *to = list;
	unsigned int i;

	if (!list)
		return error_set(e, ERROR_MACHINE, "out of memory");
	for (i = 0; i < v->count; i++) {
		if (v->items[i].kind != TOML_INTEGER)
			return error_set(e, ERROR_USER, "affinity is a string or numbers");
		to += sprintf(to, "%s%lld", i ? "," : "", (long long)v->items[i].number);
	}
	return options_take("affinity", list, cfg, e);
}

/* By that name or the one that hg-vmm had before. */
static bool is_given(const char *option)
{
	return options_given(option) || (!strcmp(option, "gdb-port") && options_given("gdb")) ||
	       (!strcmp(option, "affinity") && options_given("cpu-affinity"));
}

static int take_value(void *arg, const struct toml_value *v, struct error *e)
{
	struct vm_config *cfg = arg;
	const struct key *k = keys, *end = keys + sizeof(keys) / sizeof(keys[0]);
	unsigned int i;

	while (k < end && (strcmp(k->key, v->key) || strcmp(k->table, v->table)))
		k++;
	if (k == end)
		return error_set(e, ERROR_USER, "no key '%.64s' is known in [%.32s]%s", v->key,
				 v->table,
				 strcmp(v->key, "file_mapping")
					 ? ""
					 : ": give --file-mapping on the command line");
	if (v->is_array && !strcmp(k->key, "affinity"))
		return is_given("affinity") ? 0 : take_affinity(v, cfg, e);
	if (!v->is_array != !k->list)
		return wrong_kind(k, e);
	for (i = 0; i < v->count; i++)
		if (v->items[i].kind != k->kind)
			return wrong_kind(k, e);
	if (!k->option)
		return k->kind == TOML_BOOLEAN && !v->items[0].number
			       ? 0
			       : error_set(e, ERROR_USER, "%s is uhyve's: hg-vmm has none", k->key);
	if (!k->list && is_given(k->option))
		return 0; /* the command line and HERMIT_* variables come first */
	for (i = 0; i < v->count; i++)
		if (take_item(k, &v->items[i], cfg, e))
			return -1;
	return 0;
}

/* 0: *fd is the file's, or -1 when there is none and none has to be. */
static int open_config(const char **path, bool must, int *fd, struct error *e)
{
	const char *home = getenv("XDG_CONFIG_HOME");
	char *other;

	*fd = open(*path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (*fd < 0 && !must && home && *home) {
		if (asprintf(&other, "%s/uhyve/" FILE_NAME, home) < 0)
			return error_set(e, ERROR_MACHINE, "out of memory");
		*path = other;
		*fd = open(other, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	}
	if (*fd < 0 && (must || errno != ENOENT))
		return error_set(e, ERROR_USER, "%.150s: %s", *path, strerror(errno));
	return 0;
}

int uhyve_config(struct vm_config *cfg, struct error *e)
{
	const char *path = cfg->hermit.config ? cfg->hermit.config : FILE_NAME;
	struct stat st;
	char *text;
	ssize_t n;
	int fd;

	if (!cfg->hermit.config && !cfg->hermit.named)
		return 0; /* a VM, and nobody has asked for it */
	if (open_config(&path, cfg->hermit.config, &fd, e))
		return -1;
	if (fd < 0)
		return 0;
	/* What is in it stays: options point into it. */
	text = calloc(1, TOML_MAX_BYTES + 1);
	n = text ? read(fd, text, TOML_MAX_BYTES + 1) : -1;
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || n < 0 || n > (ssize_t)TOML_MAX_BYTES ||
	    strlen(text) != (size_t)n) {
		close(fd);
		return error_set(e, ERROR_USER, "%.150s: not a text file of up to 64 KiB", path);
	}
	close(fd);
	return toml_parse(path, text, take_value, cfg, e);
}
