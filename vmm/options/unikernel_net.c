// SPDX-License-Identifier: Apache-2.0
/* A unikernel's addresses: --ip, and the variables that HermitCore's users know. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options/family.h"
#include "options/params.h"

/* The file that HERMIT_CAPTURE_NET=1 makes. */
#define CAPTURE_FILE "hermit-net.pcap"

/* libhermit's own idea of its address, for a network that has no other: passt's. */
static const struct hermit_ip passt_ip = {
	.given = true, .address = {10, 0, 5, 2}, .gateway = {10, 0, 5, 1}, .mask = {255, 255, 255}};

static uint32_t number(const uint8_t bytes[4])
{
	return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
	       bytes[3];
}

static void set_number(uint8_t bytes[4], uint32_t value)
{
	const uint32_t big = htonl(value);

	memcpy(bytes, &big, sizeof(big));
}

/* Its mask and gateway, if they were not given, and whether all three go together. */
static int complete(struct hermit_ip *ip, const char *what, struct error *e)
{
	uint32_t address = number(ip->address), mask, gateway;

	ip->given = true;
	if (!number(ip->mask))
		set_number(ip->mask, 0xffffff00u);
	mask = number(ip->mask);
	if (mask & (~mask >> 1))
		return error_set(e, ERROR_USER,
				 "%s: a network's mask is some ones and then zeros, such as "
				 "255.255.255.0",
				 what);
	if (!(address & ~mask) || !(~address & ~mask) || address >> 28 >= 14)
		return error_set(e, ERROR_USER,
				 "%s: that is no address of a single host in its "
				 "network",
				 what);
	if (!number(ip->gateway) && address != ((address & mask) | 1))
		set_number(ip->gateway, (address & mask) | 1);
	gateway = number(ip->gateway);
	if (gateway && ((gateway ^ address) & mask))
		return error_set(e, ERROR_USER,
				 "%s: the gateway is not in the network of the address", what);
	return 0;
}

static int parse_address(const char *text, void *to)
{
	return inet_pton(AF_INET, text, to) == 1 ? 0 : -1;
}

int option_ip(char *value, struct vm_config *cfg, struct error *e)
{
	struct hermit_ip *ip = &cfg->hermit.ip;
	const struct param known[] = {
		{"gateway", PARAM_PARSED, ip->gateway, 0, 0, parse_address, "an IPv4 address"},
		{0},
	};
	char *rest = value, *address = params_next(&rest), *bits = strchr(address, '/');
	uint64_t n = 24;

	*ip = (struct hermit_ip){0};
	if (bits)
		*bits++ = '\0';
	if (parse_address(address, ip->address) || (bits && parse_number(bits, 1, 30, &n)))
		return error_set(e, ERROR_USER,
				 "--ip %s%s%s: give ADDRESS[/BITS][,gateway=ADDRESS], such as "
				 "192.168.28.2/24; BITS is 1 to 30",
				 address, bits ? "/" : "", bits ? bits : "");
	set_number(ip->mask, UINT32_MAX << (32 - n));
	return params_parse("--ip", rest, known, e) || complete(ip, "--ip", e) ? -1 : 0;
}

/* --- variables --- */

static int variable_ip(struct vm_config *cfg, struct error *e)
{
	struct hermit_ip *ip = &cfg->hermit.ip;
	const struct {
		const char *name;
		uint8_t *to;
	} variables[] = {{"HERMIT_IP", ip->address},
			 {"HERMIT_GATEWAY", ip->gateway},
			 {"HERMIT_MASK", ip->mask}};
	const char *value, *first = getenv("HERMIT_IP");
	unsigned int i;

	if (ip->given)
		return 0;
	for (i = 0; i < 3; i++) {
		value = getenv(variables[i].name);
		if (value && !first)
			return error_set(e, ERROR_USER, "%s=%s: goes with HERMIT_IP only",
					 variables[i].name, value);
		if (value && parse_address(value, variables[i].to))
			return error_set(e, ERROR_USER, "%s=%s: give an IPv4 address, such as %s",
					 variables[i].name, value,
					 i == 2 ? "255.255.255.0" : "192.168.28.2");
	}
	return first ? complete(ip, "HERMIT_IP, HERMIT_GATEWAY, HERMIT_MASK", e) : 0;
}

/* A --net made of a variable, as if it stood on the command line. */
static int add_net(struct vm_config *cfg, const char *start, const char *value, struct error *e)
{
	char *text;

	if (asprintf(&text, "%s%s", start, value) < 0)
		return error_set(e, ERROR_MACHINE, "out of memory");
	return option_net(text, cfg, e); /* it keeps parts of the text */
}

static int variable_netif(struct vm_config *cfg, struct error *e)
{
	const char *name = getenv("HERMIT_NETIF"), *mac = getenv("HERMIT_NETIF_MAC");
	char *text;

	if (!name || cfg->nnets)
		return 0;
	if (!*name || strlen(name) >= IFNAMSIZ || strpbrk(name, "/%,"))
		return error_set(e, ERROR_USER,
				 "HERMIT_NETIF=%s: give a tap's name, up to 15 bytes", name);
	if (!mac)
		return add_net(cfg, "tap=", name, e);
	if (asprintf(&text, "%s,mac=%s", name, mac) < 0)
		return error_set(e, ERROR_MACHINE, "out of memory");
	if (add_net(cfg, "tap=", text, e))
		return error_set(e, ERROR_USER,
				 "HERMIT_NETIF_MAC=%s: give an address such as 52:54:00:12:34:56",
				 mac);
	free(text);
	return 0;
}

/*
 * HermitCore's proxy let QEMU forward this port of the host to the same one of the guest; passt
 * does.  Behind a tap the guest has an address, and any port of it is open.
 */
static int variable_app_port(struct vm_config *cfg, struct error *e)
{
	const char *value = getenv("HERMIT_APP_PORT");
	uint64_t port;

	if (!value)
		return 0;
	if (parse_number(value, 1, 65535, &port))
		return error_set(e, ERROR_USER, "HERMIT_APP_PORT=%s: give a number from 1 to 65535",
				 value);
	if (!cfg->nnets)
		return add_net(cfg, "passt,tcp=", value, e);
	if (cfg->nets[0].kind == NET_PASST && !cfg->nets[0].tcp)
		cfg->nets[0].tcp = value;
	return 0;
}

static int variable_capture(struct vm_config *cfg, struct error *e)
{
	const char *value = getenv("HERMIT_CAPTURE_NET");
	size_t len = value ? strlen(value) : 0;
	bool file = len > 5 && !strcmp(value + len - 5, ".pcap");

	if (!value || !strcmp(value, "0"))
		return 0;
	if (!file && strcmp(value, "1"))
		return error_set(e, ERROR_USER,
				 "HERMIT_CAPTURE_NET=%s: give 0, 1 (writes %s here) or the name of "
				 "a file, NAME.pcap",
				 value, CAPTURE_FILE);
	if (!cfg->nnets)
		return error_set(e, ERROR_USER,
				 "HERMIT_CAPTURE_NET=%s: there is no network; give HERMIT_NETIF or "
				 "--net",
				 value);
	if (!cfg->nets[0].capture)
		cfg->nets[0].capture = file ? value : CAPTURE_FILE;
	return 0;
}

int unikernel_net_variables(struct vm_config *cfg, struct error *e)
{
	if (variable_ip(cfg, e) || variable_netif(cfg, e))
		return -1;
	isle_add_network(cfg); /* unless another one was given by now */
	if (variable_app_port(cfg, e) || variable_capture(cfg, e))
		return -1;
	if (!cfg->hermit.ip.given && cfg->nnets && cfg->nets[0].kind == NET_PASST)
		cfg->hermit.ip = passt_ip;
	return 0;
}

/* --- what the guest and passt are told --- */

/* Its text after `name`; NULL: out of memory. */
static char *address_text(const char *name, const uint8_t a[4])
{
	char *text;

	return asprintf(&text, "%s%u.%u.%u.%u", name, a[0], a[1], a[2], a[3]) < 0 ? NULL : text;
}

/* A Rust kernel finds its address among its variables; what --env says of them counts more. */
static int tell(struct hermit_config *h, const char *name, const uint8_t a[4], struct error *e)
{
	char *text = address_text(name, a);
	unsigned int i;

	if (!text)
		return error_set(e, ERROR_MACHINE, "out of memory");
	for (i = 0; i < h->nenv && strncmp(h->env[i], name, strlen(name)); i++)
		;
	if (i == h->nenv && i < HERMIT_MAX_ENV)
		h->env[h->nenv++] = text; /* kept until the process ends */
	else
		free(text);
	return 0;
}

int unikernel_net_complete(struct vm_config *cfg, struct error *e)
{
	const struct hermit_ip *ip = &cfg->hermit.ip;
	struct net_config *net = &cfg->nets[0];

	if (!ip->given)
		return 0;
	if (cfg->nnets && net->kind == NET_PASST && number(ip->gateway)) {
		net->address = address_text("", ip->address);
		net->mask = address_text("", ip->mask);
		net->gateway = address_text("", ip->gateway);
		if (!net->address || !net->mask || !net->gateway)
			return error_set(e, ERROR_MACHINE, "out of memory");
	}
	return tell(&cfg->hermit, "HERMIT_IP=", ip->address, e) ||
			       tell(&cfg->hermit, "HERMIT_GATEWAY=", ip->gateway, e) ||
			       tell(&cfg->hermit, "HERMIT_MASK=", ip->mask, e)
		       ? -1
		       : 0;
}
