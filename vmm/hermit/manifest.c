// SPDX-License-Identifier: Apache-2.0
#include "hermit/manifest.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "options/params.h"
#include "toml.h"

#define PATH "hermit.toml"

int parse_byte_unit(const char *text, uint64_t *bytes)
{
	static const struct {
		const char *name;
		uint64_t bytes;
	} units[] = {{"", 1},	       {"B", 1},	   {"K", 1 << 10},  {"KB", 1000},
		     {"KiB", 1 << 10}, {"M", 1 << 20},	   {"MB", 1000000}, {"MiB", 1 << 20},
		     {"G", 1 << 30},   {"GB", 1000000000}, {"GiB", 1 << 30}};
	size_t digits = strspn(text, "0123456789"), i;
	char number[24];
	uint64_t n;

	if (!digits || digits >= sizeof(number))
		return -1;
	memcpy(number, text, digits);
	number[digits] = '\0';
	text += digits;
	text += strspn(text, " ");
	if (parse_number(number, 0, UINT64_MAX, &n))
		return -1;
	for (i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (!strcasecmp(text, units[i].name))
			return __builtin_mul_overflow(n, units[i].bytes, bytes) ? -1 : 0;
	return -1;
}

static int take_strings(const struct toml_value *v, const char **to, unsigned int *count,
			struct error *e)
{
	unsigned int i;

	if (!v->is_array)
		return error_set(e, ERROR_USER, "%s is not an array of strings", v->key);
	for (i = 0; i < v->count; i++) {
		if (v->items[i].kind != TOML_STRING)
			return error_set(e, ERROR_USER, "%s is not an array of strings", v->key);
		to[(*count)++] = v->items[i].text; /* a key comes once: TOML_MAX_ITEMS at most */
	}
	return 0;
}

static int take_top(struct manifest *m, const struct toml_value *v, struct error *e)
{
	if (strcmp(v->key, "version") && strcmp(v->key, "kernel"))
		return 0;
	if (v->is_array || v->items[0].kind != TOML_STRING)
		return error_set(e, ERROR_USER, "%s is not a string", v->key);
	if (v->key[0] == 'k') {
		m->kernel = v->items[0].text;
		return 0;
	}
	if (strcmp(v->items[0].text, "1"))
		return error_set(e, ERROR_USER, "version \"%.20s\"; this VMM knows \"1\"",
				 v->items[0].text);
	m->version = true;
	return 0;
}

static int take_requirement(struct manifest *m, const struct toml_value *v, struct error *e)
{
	const struct toml_item *item = &v->items[0];

	if (!strcmp(v->key, "memory")) {
		if (!v->is_array && item->kind == TOML_INTEGER && item->number >= 0)
			m->memory = (uint64_t)item->number;
		else if (v->is_array || item->kind != TOML_STRING ||
			 parse_byte_unit(item->text, &m->memory))
			return error_set(e, ERROR_USER, "memory is not a size such as \"64 MiB\"");
	} else if (!strcmp(v->key, "cpus")) {
		if (v->is_array || item->kind != TOML_INTEGER || item->number < 0)
			return error_set(e, ERROR_USER, "cpus is not a number");
		m->cpus = (uint64_t)item->number;
	}
	return 0;
}

static int take_value(void *arg, const struct toml_value *v, struct error *e)
{
	struct manifest *m = arg;

	if (!*v->table)
		return take_top(m, v, e);
	if (!strcmp(v->table, "requirements"))
		return take_requirement(m, v, e);
	if (strcmp(v->table, "input"))
		return 0;
	if (!strcmp(v->key, "kernel_args")) {
		m->has_args[0] = true;
		return take_strings(v, m->kernel_args, &m->nkernel_args, e);
	}
	if (!strcmp(v->key, "app_args")) {
		m->has_args[1] = true;
		return take_strings(v, m->app_args, &m->napp_args, e);
	}
	if (!strcmp(v->key, "env_vars"))
		return take_strings(v, m->env, &m->nenv, e);
	return 0;
}

int manifest_read(struct manifest *m, const struct archive *a, const char *name, struct error *e)
{
	const struct archive_entry *entry = archive_find(a, PATH);
	struct error inner;
	const char *missing;

	memset(m, 0, sizeof(*m));
	if (!entry || entry->folder)
		return error_set(e, ERROR_USER,
				 "%.150s: not a Hermit image archive: no " PATH " in it", name);
	if (entry->size > TOML_MAX_BYTES || memchr(a->data + entry->offset, 0, entry->size))
		return error_set(e, ERROR_USER, "%.150s: its " PATH " is no text, or above 64 KiB",
				 name);
	m->text = strndup((const char *)a->data + entry->offset, entry->size);
	if (!m->text)
		return error_set(e, ERROR_MACHINE, "out of memory");
	if (toml_parse(PATH, m->text, take_value, m, &inner))
		return error_set(e, inner.code, "%.150s: %.300s", name, inner.text);
	missing = !m->version	    ? "version"
		  : !m->kernel	    ? "kernel"
		  : !m->has_args[0] ? "kernel_args in [input]"
		  : !m->has_args[1] ? "app_args in [input]"
				    : NULL;
	return missing ? error_set(e, ERROR_USER, "%.150s: " PATH ": no %s", name, missing) : 0;
}

void manifest_free(struct manifest *m)
{
	free(m->text);
}
