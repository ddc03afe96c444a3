// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <string.h>

#include "options/family.h"
#include "options/params.h"

#define UHYVE_TAP "tap10" /* what it takes when no name is given */

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

static int parse_switch(const char *text, void *to)
{
	struct net_config *net = to;

	net->need_vhost = !strcmp(text, "on");
	net->no_vhost = !strcmp(text, "off");
	return net->need_vhost || net->no_vhost || !strcmp(text, "auto") ? 0 : -1;
}

static int parse_ifname(const char *text, void *to)
{
	if (!*text || strlen(text) >= IFNAMSIZ || strchr(text, '/') || strchr(text, '%'))
		return -1;
	strcpy(to, text);
	return 0;
}

static bool has_limit(const struct rate_config *r)
{
	return r->ops || r->bytes;
}

/* A limit for both directions, where none for this one was given. */
static void inherit(struct rate_config *one, const struct rate_config *both)
{
	if (!one->bytes) {
		one->bytes = both->bytes;
		one->bytes_burst = both->bytes_burst;
	}
	if (!one->ops) {
		one->ops = both->ops;
		one->ops_burst = both->ops_burst;
	}
}

/* What only one kind of network has, given with another. */
static const char *misplaced(const struct net_config *net)
{
	if (net->kind != NET_TAP && net->bridge[0])
		return "bridge";
	if (net->kind != NET_TAP && net->pairs > 1)
		return "queues";
	if (net->kind != NET_TAP && net->need_vhost)
		return "vhost=on";
	if (net->kind != NET_PASST && (net->tcp || net->udp))
		return net->tcp ? "tcp" : "udp";
	return NULL;
}

static int check(struct net_config *net, bool passt, struct error *e)
{
	int kinds = passt + !!net->socket + !!net->tap[0];

	if (kinds != 1)
		return error_set(e, ERROR_USER,
				 "--net: give one of tap=NAME, passt and socket=PATH");
	net->kind = passt ? NET_PASST : net->socket ? NET_SOCKET : NET_TAP;
	if (misplaced(net))
		return error_set(e, ERROR_USER, "--net: %s goes with %s only", misplaced(net),
				 net->tcp || net->udp ? "passt" : "tap=NAME");
	if (net->need_vhost && (has_limit(&net->rx) || has_limit(&net->tx)))
		return error_set(e, ERROR_USER,
				 "--net: vhost=on and a rate limit exclude each other: the kernel "
				 "limits none");
	if (net->need_vhost && net->capture)
		return error_set(e, ERROR_USER,
				 "--net: vhost=on and capture exclude each other: the kernel's "
				 "packets do not come by here");
	return 0;
}

/* As uhyve is told: `tap:NAME`, or `tap` alone. */
static char *from_uhyve(char *value)
{
	if (!strncmp(value, "tap:", 4))
		value[3] = '=';
	return strcmp(value, "tap") ? value : strdup("tap=" UHYVE_TAP);
}

int option_net(char *value, struct vm_config *cfg, struct error *e)
{
	struct net_config *net = &cfg->nets[cfg->nnets];
	struct rate_config both = {0};
	bool passt = false;
	const char *name = "an interface's name, up to 15 bytes";
	const struct param known[] = {
		{"tap", PARAM_PARSED, net->tap, 0, 0, parse_ifname, name},
		{"bridge", PARAM_PARSED, net->bridge, 0, 0, parse_ifname, name},
		{"passt", PARAM_FLAG, &passt, 0, 0, NULL, NULL},
		{"socket", PARAM_TEXT, &net->socket, 0, 0, NULL, NULL},
		{"tcp", PARAM_TEXT, &net->tcp, 0, 0, NULL, NULL},
		{"udp", PARAM_TEXT, &net->udp, 0, 0, NULL, NULL},
		{"mac", PARAM_PARSED, net->mac, 0, 0, parse_mac,
		 "an address such as 52:54:00:12:34:56"},
		{"queues", PARAM_NUMBER, &net->pairs, 1, NET_MAX_PAIRS, NULL, NULL},
		{"capture", PARAM_TEXT, &net->capture, 0, 0, NULL, NULL},
		{"vhost", PARAM_PARSED, net, 0, 0, parse_switch, "auto, on or off"},
		{"mtu", PARAM_NUMBER, &net->mtu, 68, 65535, NULL, NULL},
		{"bps", PARAM_PARSED, &both.bytes, 0, 0, parse_rate, RATE_EXPECTED},
		{"pps", PARAM_PARSED, &both.ops, 0, 0, parse_rate, RATE_EXPECTED},
		{"rx-bps", PARAM_PARSED, &net->rx.bytes, 0, 0, parse_rate, RATE_EXPECTED},
		{"rx-pps", PARAM_PARSED, &net->rx.ops, 0, 0, parse_rate, RATE_EXPECTED},
		{"tx-bps", PARAM_PARSED, &net->tx.bytes, 0, 0, parse_rate, RATE_EXPECTED},
		{"tx-pps", PARAM_PARSED, &net->tx.ops, 0, 0, parse_rate, RATE_EXPECTED},
		{0},
	};

	if (cfg->nnets == MAX_NETS)
		return error_set(e, ERROR_USER, "--net: at most %d networks", MAX_NETS);
	net->pairs = 1;
	value = from_uhyve(value);
	if (!value)
		return error_set(e, ERROR_MACHINE, "out of memory");
	if (params_parse("--net", value, known, e))
		return -1;
	inherit(&net->rx, &both);
	inherit(&net->tx, &both);
	if (check(net, passt, e))
		return -1;
	cfg->nnets++;
	return 0;
}

/* A stable, locally administered address: FNV-1a of the VM's name, else of the tap's. */
static void default_mac(struct net_config *net, const char *vm_name, unsigned int index)
{
	const char *c = *vm_name ? vm_name : net->tap;
	uint32_t h = 2166136261u;

	for (; *c; c++)
		h = (h ^ (uint8_t)*c) * 16777619u;
	if (*vm_name)
		h = (h ^ index) * 16777619u;
	memcpy(net->mac, (uint8_t[]){0x52, 0x48, h >> 24, h >> 16, h >> 8, h}, 6);
	net->mac[0] = (net->mac[0] & 0xfc) | 2;
}

void net_complete(struct vm_config *cfg)
{
	static const uint8_t none[6];
	unsigned int i;

	for (i = 0; i < cfg->nnets; i++)
		if (!memcmp(cfg->nets[i].mac, none, sizeof(none)))
			default_mac(&cfg->nets[i], cfg->name, i);
}
