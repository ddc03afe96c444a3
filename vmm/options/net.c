// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <string.h>

#include "options/family.h"
#include "options/params.h"

static int parse_mac(const char *text, void *to)
{
	unsigned int b[6], i;
	uint8_t *mac = to;
	int used = 0;

	if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5],
		   &used) != 6 ||
	    text[used])
		return -1;
	for (i = 0; i < 6; i++)
		mac[i] = b[i];
	return mac[0] & 1 ? -1 : 0; /* the group bit: no station has such an address */
}

/* A stable address out of the tap's name: locally administered, FNV-1a below it. */
static void default_mac(const char *tap, uint8_t mac[6])
{
	uint32_t h = 2166136261u;

	for (; *tap; tap++)
		h = (h ^ (uint8_t)*tap) * 16777619u;
	memcpy(mac, (uint8_t[]){0x52, 0x48, h >> 24, h >> 16, h >> 8, h}, 6);
	mac[0] = (mac[0] & 0xfc) | 2;
}

static int parse_ifname(const char *text, void *to)
{
	if (!*text || strlen(text) >= IFNAMSIZ || strchr(text, '/') || strchr(text, '%'))
		return -1;
	strcpy(to, text);
	return 0;
}

int option_net(char *value, struct vm_config *cfg, struct error *e)
{
	struct net_config *net = &cfg->nets[cfg->nnets];
	static const uint8_t none[6];
	const struct param known[] = {
		{.key = "tap",
		 PARAM_PARSED,
		 net->tap,
		 .parse = parse_ifname,
		 .expects = "an interface's name, up to 15 bytes"},
		{.key = "bridge",
		 PARAM_PARSED,
		 net->bridge,
		 .parse = parse_ifname,
		 .expects = "a bridge's name, up to 15 bytes"},
		{.key = "mac",
		 PARAM_PARSED,
		 net->mac,
		 .parse = parse_mac,
		 .expects = "an address such as 52:54:00:12:34:56"},
		{0},
	};

	if (cfg->nnets == MAX_NETS)
		return error_set(e, ERROR_USER, "--net: at most %d networks", MAX_NETS);
	if (params_parse("--net", value, known, e))
		return -1;
	if (!net->tap[0])
		return error_set(e, ERROR_USER, "--net: tap=NAME is missing");
	if (!memcmp(net->mac, none, sizeof(none)))
		default_mac(net->tap, net->mac);
	cfg->nnets++;
	return 0;
}
