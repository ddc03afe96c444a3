// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "options/family.h"
#include "options/params.h"

#define TAG_MAX	      36 /* virtio 1.2, section 5.11.4 */
#define SOCKET_PREFIX "socket:"

static int check_tag(const struct vm_config *cfg, const char *tag, struct error *e)
{
	unsigned int i;

	if (!*tag || strlen(tag) > TAG_MAX)
		return error_set(e, ERROR_USER, "--share: a tag has 1 to %d bytes, not '%s'",
				 TAG_MAX, tag);
	for (i = 0; i < cfg->nshares; i++)
		if (!strcmp(cfg->shares[i].tag, tag))
			return error_set(e, ERROR_USER, "--share: there are two of the tag '%s'",
					 tag);
	return 0;
}

int option_share(char *value, struct vm_config *cfg, struct error *e)
{
	struct share_config *s = &cfg->shares[cfg->nshares];
	char *rest = value, *path;
	const struct param table[] = {
		{"readonly", PARAM_FLAG, &s->read_only, 0, 0, NULL, NULL},
		{0},
	};

	if (cfg->nshares == MAX_SHARES)
		return error_set(e, ERROR_USER, "--share: at most %d shares", MAX_SHARES);
	s->tag = params_next(&rest);
	path = strchr(value, '=');
	if (!path || !path[1])
		return error_set(e, ERROR_USER, "--share %s: give TAG=DIR or TAG=socket:PATH",
				 s->tag);
	*path++ = '\0';
	if (check_tag(cfg, s->tag, e) || params_parse("--share", rest, table, e))
		return -1;
	s->path_is_socket = !strncmp(path, SOCKET_PREFIX, strlen(SOCKET_PREFIX));
	s->path = s->path_is_socket ? path + strlen(SOCKET_PREFIX) : path;
	if (s->path_is_socket && s->read_only)
		return error_set(e, ERROR_USER,
				 "--share %s: readonly is for the virtiofsd behind the socket",
				 s->tag);
	cfg->nshares++;
	return 0;
}
