// SPDX-License-Identifier: Apache-2.0
/*
 * Fuzzes the control and console sockets of a VM without KVM: clients that come and go, send
 * whole, damaged, cut, huge and nested requests, read or do not.
 */
#include "fuzz.h"
#include "vm_fixture.h"

#define NCLIENTS 6

static struct client {
	int fd; /* -1: none */
	bool deaf;
} clients[NCLIENTS];

static const char *const templates[] = {
	"{\"execute\":\"qmp_capabilities\"}",
	"{\"execute\":\"query-status\",\"id\":1}",
	"{\"execute\":\"x-hypergen-info\",\"id\":{\"a\":[1,2]}}",
	"{\"execute\":\"query-commands\"}\r\n",
	"{\"execute\":\"query-stats\",\"arguments\":{\"target\":\"vcpu\",\"vcpus\":[\"a\"]}}",
	"{\"execute\":\"query-stats-schemas\",\"arguments\":{\"provider\":\"kvm\"}}",
	"{\"execute\":\"x-hypergen-stats\"}",
	"{\"execute\":\"x-hypergen-log-level\",\"arguments\":{\"level\":\"info\"}}",
	"{\"execute\":\"query-blockstats\",\"arguments\":{}}",
	"{\"execute\":\"x-hypergen-console-size\",\"arguments\":{\"cols\":80,\"rows\":25}}",
	"{\"execute\":\"stop\"}{\"execute\":\"cont\"}",
	"{\"execute\":\"system_powerdown\"}",
	"{\"execute\":\"system_reset\"}",
	"{\"execute\":\"quit\"}",
	"{\"execute\":\"query-cpus-fast\",\"id\":\"\\u00e4\\\"}{\"}\n",
};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static struct vm_config cfg = {.name = "fuzz\xff"};
	unsigned int i;

	(void)argc, (void)argv;
	signal(SIGPIPE, SIG_IGN);
	open_vm(&cfg);
	atexit(remove_vm);
	for (i = 0; i < NCLIENTS; i++)
		clients[i].fd = -1;
	return 0;
}

static void say(const struct client *c, const void *data, size_t len)
{
	if (c->fd >= 0 && send(c->fd, data, len, MSG_NOSIGNAL) < 0)
		return; /* full, or dropped by the server: both are what we are here for */
}

/* A request with some of its bytes changed, sent whole or cut off. */
static void say_template(struct script *s, const struct client *c)
{
	const char *t = templates[take(s, 1) % (sizeof(templates) / sizeof(templates[0]))];
	size_t len = strlen(t);
	unsigned int damage = take(s, 1);
	char copy[200];

	memcpy(copy, t, len);
	for (damage = damage < 160 ? 0 : damage % 4; damage; damage--)
		copy[take(s, 1) % len] = take(s, 1);
	say(c, copy, take(s, 1) < 200 ? len : take(s, 1) % len);
}

static void say_repeated(struct script *s, const struct client *c)
{
	static char much[70000];
	static const char unit[] = "{[\"\\ }]";
	size_t len = take(s, 2) + take(s, 1) * 16;

	memset(much, unit[take(s, 1) % (sizeof(unit) - 1)], len);
	say(c, "{\"a\":", take(s, 1) & 1 ? 5 : 0);
	say(c, much, len);
	say(c, "}\n", take(s, 1) % 3);
}

static void step(struct script *s)
{
	struct client *c = &clients[take(s, 1) % NCLIENTS];
	uint8_t bytes[64];
	unsigned int i, n;

	switch (take(s, 1) % 10) {
	case 0:
		if (c->fd < 0)
			c->fd = connect_to(take(s, 1) & 3 ? vm.cfg->control : vm.cfg->console);
		c->deaf = take(s, 1) < 60;
		say(c, templates[0], strlen(templates[0]));
		break;
	case 1:
		if (c->fd >= 0)
			close(c->fd);
		c->fd = -1;
		break;
	case 2:
		n = take(s, 1) % sizeof(bytes);
		for (i = 0; i < n; i++)
			bytes[i] = take(s, 1);
		say(c, bytes, n);
		break;
	case 3:
		say_repeated(s, c);
		break;
	case 4:
		memset(bytes, take(s, 1), sizeof(bytes));
		for (n = take(s, 1) * 8; n; n--)
			console_output(vm.console, bytes, sizeof(bytes));
		break;
	case 5:
		console_take(vm.console, bytes, take(s, 1) % sizeof(bytes));
		break;
	default:
		say_template(s, c);
	}
	loop_once(&vm.loop, 0);
}

static void listen_all(void)
{
	static char heard[1 << 20];
	unsigned int i;
	bool gone;

	for (i = 0; i < NCLIENTS; i++) {
		if (clients[i].fd < 0 || clients[i].deaf)
			continue;
		take_all(clients[i].fd, heard, sizeof(heard), &gone);
		if (gone) {
			close(clients[i].fd);
			clients[i].fd = -1;
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script s = {.data = data, .len = size};
	unsigned int i;

	while (s.at < s.len) {
		step(&s);
		listen_all();
		/* What ended the VM ends only this piece of the script. */
		vm.request = REQUEST_NONE;
		vm.loop.stop = false;
	}
	settle();
	for (i = 0; i < NCLIENTS; i++) {
		if (clients[i].fd >= 0)
			close(clients[i].fd);
		clients[i].fd = -1;
	}
	settle();
	vm.request = REQUEST_NONE;
	vm.loop.stop = false;
	vm.state = VM_RUNNING;
	atomic_store(&vm.hold, false);
	return 0;
}
