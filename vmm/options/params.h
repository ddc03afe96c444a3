/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The values of options: numbers, sizes, and lists such as `PATH,readonly,queues=4`.
 * Every error names the option, what was given and what is expected.
 */
#ifndef HG_OPTIONS_PARAMS_H
#define HG_OPTIONS_PARAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

enum param_kind {
	PARAM_TEXT,   /* to: const char *, points into the option's text */
	PARAM_FLAG,   /* to: bool; `key` alone, key=on or key=off */
	PARAM_NUMBER, /* to: uint64_t, min to max */
	PARAM_SIZE,   /* to: uint64_t, bytes, min to max; suffix K, M or G, bare = bytes */
	PARAM_PARSED, /* to: whatever parse() fills in */
};

struct param {
	const char *key;
	enum param_kind kind;
	void *to;
	uint64_t min, max;			   /* of PARAM_NUMBER and PARAM_SIZE */
	int (*parse)(const char *value, void *to); /* of PARAM_PARSED: 0, or -1 when bad */
	const char *expects;			   /* of PARAM_PARSED: for the message */
};

/*
 * Cuts the next part off *text at a single ',' and turns ',,' into ',', in place.
 * Returns the part; *text becomes NULL after the last one.
 */
char *params_next(char **text);

/*
 * Reads what is left of a list, KEY, KEY=VALUE, ..., by a table that ends in a row without a
 * key.  text may be NULL.  `option` (with its dashes) is for messages.
 */
int params_parse(const char *option, char *text, const struct param *table, struct error *e);

/* A decimal number, min to max.  0, or -1 and *value untouched. */
int parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *value);

/* A size; without a suffix it counts in units of 1 << shift bytes.  0, or -1 when it is none. */
int parse_size(const char *text, unsigned int shift, uint64_t *bytes);

/*
 * A PARAM_PARSED value of RATE or RATE:BURST, as sizes, up to RATE_MAX.  to: a uint64_t for the
 * rate and the one behind it for the burst, as in struct rate_config.
 */
int parse_rate(const char *text, void *to);
#define RATE_EXPECTED "RATE or RATE:BURST, each a number with an optional K, M or G"

/* A size for a message: "16M", "2G", "1000" (bytes). */
const char *size_text(uint64_t bytes, char text[24]);

#endif
