// SPDX-License-Identifier: Apache-2.0
#include "options/family.h"
#include "options/params.h"

int option_balloon(char *value, struct vm_config *cfg, struct error *e)
{
	struct balloon_config *b = &cfg->balloon;
	const struct param table[] = {
		{"target", PARAM_SIZE, &b->target, 1u << 20, MAX_MEMORY, NULL, NULL},
		{"deflate-on-oom", PARAM_FLAG, &b->deflate_on_oom, 0, 0, NULL, NULL},
		{"reporting", PARAM_FLAG, &b->reporting, 0, 0, NULL, NULL},
		{0},
	};

	b->wanted = b->deflate_on_oom = b->reporting = true;
	return params_parse("--balloon", value, table, e);
}
