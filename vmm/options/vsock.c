// SPDX-License-Identifier: Apache-2.0
#include "options/family.h"
#include "options/params.h"

/* 0, 1 and 2 are reserved, the last one means "any" (virtio 1.2, section 5.10.4). */
#define CID_MIN 3
#define CID_MAX 0xfffffffeull

int option_vsock(char *value, struct vm_config *cfg, struct error *e)
{
	struct vsock_config *v = &cfg->vsock;
	const struct param table[] = {
		{"cid", PARAM_NUMBER, &v->cid, CID_MIN, CID_MAX, NULL, NULL},
		{"socket", PARAM_TEXT, &v->socket, 0, 0, NULL, NULL},
		{0},
	};

	if (params_parse("--vsock", value, table, e))
		return -1;
	return v->cid ? 0 : error_set(e, ERROR_USER, "--vsock: cid=N is missing");
}
