// SPDX-License-Identifier: Apache-2.0
/*
 * The demo of unikernels: a web server that is a whole operating system.
 *
 *	hg-vmm --net tap=tap0 --ip 192.168.28.2 web-hello
 *	wget -qO- http://192.168.28.2/
 *
 * machine.h is the machine below it, nic.h its network card, stack.c its TCP/IP, http.c its pages.
 */
#include "nic.h"

#include "http.h"
#include "stack.h"

#define PORT 80

static struct stack host;
static uint64_t served;

static void send(void *arg, const uint8_t *frame, size_t len)
{
	(void)arg;
	nic_send(frame, len); /* a full queue loses it, and it is sent again */
}

static size_t answer(void *arg, const char *request, size_t len, int full, char *reply)
{
	const struct http_facts facts = {
		.uptime_ms = now_ms(),
		.served = served + 1,
		.kind = ABI == 0 ? "HermitCore image" : "Hermit image",
	};
	size_t n;
	int page;

	(void)arg;
	n = http_answer(&facts, request, len, full, reply, &page);
	served += (uint64_t)page;
	return n;
}

static void say_url(const uint8_t ip[4])
{
	char url[] = "Hello from a unikernel: http://000.000.000.000/\n";
	char *to = url + 31;
	unsigned int i;

	for (i = 0; i < 4; i++) {
		if (ip[i] >= 100)
			*to++ = (char)('0' + ip[i] / 100);
		if (ip[i] >= 10)
			*to++ = (char)('0' + ip[i] / 10 % 10);
		*to++ = (char)('0' + ip[i] % 10);
		*to++ = i < 3 ? '.' : '/';
	}
	*to++ = '\n';
	*to = '\0';
	say(url);
}

int guest_main(uint64_t boot_info)
{
	static uint8_t frame[NIC_ROOM];
	uint64_t pause;
	int64_t len;

	start_machine(boot_info, NIC_ROUTE);
	if (!own_address(boot_info, host.ip)) {
		say("This is a web server without an address: give it one with --ip "
		    "192.168.28.2\n");
		return 2;
	}
	if (!nic_open(host.mac)) {
		say("This is a web server without a network: give it one with --net tap=NAME\n");
		return 2;
	}
	host.port = PORT;
	host.send = send;
	host.answer = answer;
	host.secret = (uint32_t)read_tsc();
	stack_announce(&host);
	say_url(host.ip);
	for (;;) {
		while ((len = nic_receive(frame, sizeof(frame))) > 0)
			stack_input(&host, frame, (size_t)len, now_ms());
		pause = stack_tick(&host, now_ms());
		wait_for_network(pause);
	}
}
