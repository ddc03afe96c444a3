/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A strict subset of TOML 1.0 (toml.io): comments, [tables], `key = value` with bare or quoted
 * keys; strings in "" and '', integers, true and false, and arrays of these over any number of
 * lines.  What it leaves out (dates, floats, """ strings, inline tables, dotted keys) is an error
 * that says so, as is a key that comes twice.
 */
#ifndef HG_TOML_H
#define HG_TOML_H

#include <stdint.h>

#include "error.h"

#define TOML_MAX_BYTES (64u << 10)
#define TOML_MAX_ITEMS 128 /* of an array */
#define TOML_MAX_KEYS  64

enum toml_kind { TOML_STRING, TOML_INTEGER, TOML_BOOLEAN };

struct toml_item {
	enum toml_kind kind;
	char *text;	/* of a string: UTF-8 without a NUL in it */
	int64_t number; /* of an integer; a boolean is 0 or 1 */
};

struct toml_value {
	const char *table, *key; /* table "": above the first one */
	unsigned int line;
	int is_array;
	unsigned int count; /* items: 1 unless it is an array */
	struct toml_item items[TOML_MAX_ITEMS];
};

/* Called for each value, in the file's order.  0, or -1 and *e (which gets name and line). */
typedef int (*toml_fn)(void *arg, const struct toml_value *v, struct error *e);

/*
 * Reads text, which ends in a NUL and is changed; the strings in it are handed out and live as
 * long as it does.  0, or -1 and *e: "NAME: line N: what is wrong".
 */
int toml_parse(const char *name, char *text, toml_fn fn, void *arg, struct error *e);

#endif
