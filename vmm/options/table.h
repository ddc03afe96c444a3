/* SPDX-License-Identifier: Apache-2.0 */
/* The table of options, between options.c, which reads by it, and help.c, which prints it. */
#ifndef HG_OPTIONS_TABLE_H
#define HG_OPTIONS_TABLE_H

#include <stddef.h>

#include "options.h"

enum kind {
	HEADING, /* of the rows below it; nothing to be given */
	TEXT,	 /* the value as it stands, a const char * at `field` */
	ON,	 /* no value; the bool at `field` becomes true */
	OFF,	 /* ... or false */
	PARSED,	 /* parse() reads the value */
};

struct row {
	enum kind kind;
	const char *name;     /* without the dashes; of a heading, its text */
	const char *argument; /* "[=...]": may be left out, then parse() gets NULL */
	const char *help;     /* lines of up to 56 columns, or more for a long list */
	size_t field;
	int (*parse)(char *value, struct vm_config *cfg, struct error *e);
};

extern const struct row option_rows[];
extern const size_t option_nrows;

/* --help */
enum options_result options_help(void);

#endif
