// SPDX-License-Identifier: Apache-2.0
#include "options/params.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ratelimit.h"

char *params_next(char **text)
{
	char *from = *text, *to = *text, *part = *text;

	*text = NULL;
	for (; *from; from++) {
		if (*from == ',') {
			if (from[1] != ',') {
				*text = from + 1;
				break;
			}
			from++;
		}
		*to++ = *from;
	}
	*to = '\0';
	return part;
}

int parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *value)
{
	unsigned long long n;
	char *end;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || n < min || n > max)
		return -1;
	*value = n;
	return 0;
}

static unsigned int suffix_shift(char c)
{
	switch (c) {
	case 'K':
	case 'k':
		return 10;
	case 'M':
	case 'm':
		return 20;
	case 'G':
	case 'g':
		return 30;
	}
	return 0;
}

int parse_size(const char *text, unsigned int shift, uint64_t *bytes)
{
	unsigned long long n;
	char *end;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (suffix_shift(*end))
		shift = suffix_shift(*end++);
	if (end != text && suffix_shift(end[-1]) && !strcmp(end, "iB"))
		end += 2;
	if (*text < '0' || *text > '9' || *end || errno || n > UINT64_MAX >> shift)
		return -1;
	*bytes = n << shift;
	return 0;
}

int parse_rate(const char *text, void *to)
{
	const char *colon = strchr(text, ':');
	uint64_t *rate = to;
	char first[24];
	size_t len = colon ? (size_t)(colon - text) : strlen(text);

	if (len >= sizeof(first))
		return -1;
	memcpy(first, text, len);
	first[len] = '\0';
	if (parse_size(first, 0, &rate[0]) || !rate[0] || rate[0] > RATE_MAX)
		return -1;
	if (!colon)
		return 0;
	return parse_size(colon + 1, 0, &rate[1]) || !rate[1] || rate[1] > RATE_MAX ? -1 : 0;
}

const char *size_text(uint64_t bytes, char text[24])
{
	static const char suffixes[] = {0, 'K', 'M', 'G'};
	unsigned int i = 0;

	while (i < 3 && bytes && bytes % 1024 == 0) {
		bytes /= 1024;
		i++;
	}
	snprintf(text, 24, "%llu%.1s", (unsigned long long)bytes, i ? &suffixes[i] : "");
	return text;
}

static int bad_value(const char *option, const struct param *p, const char *value, struct error *e)
{
	char min[24], max[24];

	if (p->kind == PARAM_SIZE) {
		size_text(p->min, min);
		size_text(p->max, max);
	} else if (p->kind == PARAM_NUMBER) {
		snprintf(min, sizeof(min), "%llu", (unsigned long long)p->min);
		snprintf(max, sizeof(max), "%llu", (unsigned long long)p->max);
	} else {
		return error_set(e, ERROR_USER, "%s: bad value '%s' for %s (give %s)", option,
				 value, p->key,
				 p->kind == PARAM_FLAG	 ? "on or off"
				 : p->kind == PARAM_TEXT ? "some text"
							 : p->expects);
	}
	return error_set(e, ERROR_USER, "%s: bad value '%s' for %s (give a %s from %s to %s)",
			 option, value, p->key, p->kind == PARAM_SIZE ? "size" : "number", min,
			 max);
}

static int parse_flag(const char *value, bool *to)
{
	if (strcmp(value, "on") && strcmp(value, "off"))
		return -1;
	*to = !strcmp(value, "on");
	return 0;
}

static int set(const struct param *p, const char *value)
{
	uint64_t n;

	switch (p->kind) {
	case PARAM_TEXT:
		*(const char **)p->to = value;
		return *value ? 0 : -1;
	case PARAM_FLAG:
		return parse_flag(value, p->to);
	case PARAM_NUMBER:
		return parse_number(value, p->min, p->max, p->to);
	case PARAM_SIZE:
		if (parse_size(value, 0, &n) || n < p->min || n > p->max)
			return -1;
		*(uint64_t *)p->to = n;
		return 0;
	case PARAM_PARSED:
		return p->parse(value, p->to);
	}
	return -1;
}

static int unknown_key(const char *option, const char *key, const struct param *table,
		       struct error *e)
{
	char known[160];
	size_t used = 0;

	for (; table->key && used < sizeof(known); table++)
		used += (size_t)snprintf(known + used, sizeof(known) - used, "%s%s",
					 used ? ", " : "", table->key);
	return error_set(e, ERROR_USER,
			 "%s: unknown option '%s' (known: %s; a ',' in a path is written ',,')",
			 option, key, known);
}

int params_parse(const char *option, char *text, const struct param *table, struct error *e)
{
	const struct param *p;
	char *key, *value;

	while (text) {
		key = params_next(&text);
		value = strchr(key, '=');
		if (value)
			*value++ = '\0';
		for (p = table; p->key && strcmp(p->key, key); p++)
			;
		if (!p->key)
			return unknown_key(option, key, table, e);
		if (!value && p->kind != PARAM_FLAG)
			return error_set(e, ERROR_USER, "%s: '%s' is not KEY=VALUE", option, key);
		if (set(p, value ? value : "on"))
			return bad_value(option, p, value, e);
	}
	return 0;
}
