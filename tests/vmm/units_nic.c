// SPDX-License-Identifier: Apache-2.0
/* Unit tests of a C kernel's network calls, of captures, and of what options say of networks. */
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hermit/calls.h"
#include "hermit/nic.h"
#include "hermit/params.h"
#include "log.h"
#include "units.h"
#include "virtio/capture.h"
#include "virtio/net_device.h"

#define AT     0x10000u
#define DATA   0x20000u
#define HEADER 12

static struct hermit hermit;
static struct virtio_dev *dev;
static const struct call_env env = {.hermit = &hermit, .mem = &mem};
static int peer;
static char file[] = "/tmp/hg-nic-XXXXXX";

static void start(struct net_config *cfg, int type)
{
	static const int no_vm = -1;
	int ends[2];

	setup(MIB(16));
	log_open("/dev/null");
	memcpy(cfg->mac, (uint8_t[]){2, 0x1a, 2, 3, 4, 0xf5}, 6);
	CHECK(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, ends) == 0);
	peer = ends[1];
	dev = type == SOCK_STREAM ? net_create_stream(&mem, &loop, ends[0], cfg, &err)
				  : net_create_fds(&mem, &loop, ends, cfg, &err);
	CHECK(dev);
	hermit = (struct hermit){.image.abi = HERMIT_C, .nic = nic_create(dev, &no_vm)};
	CHECK(hermit.nic);
}

static void start_plain(void)
{
	static struct net_config cfg;

	start(&cfg, SOCK_SEQPACKET);
}

static void call(uint16_t port, void *params, size_t size)
{
	CHECK(!memory_write(&mem, AT, params, size));
	CHECK(call_serve(&env, port, AT, AT));
	CHECK(!memory_read(&mem, AT, params, size));
}

static void use(void)
{
	struct netinfo_c info;

	memset(&info, 'x', sizeof(info));
	call(0x600, &info, sizeof(info));
	CHECK(!strcmp(info.mac, "02:1a:02:03:04:f5"));
}

static int64_t read_packet(uint64_t at, uint64_t room)
{
	struct packet_c p = {at, room, 99};

	call(0x680, &p, sizeof(p));
	CHECK(p.ret == 0 || (p.ret == -1 && p.len == room));
	return p.ret ? -1 : (int64_t)p.len;
}

static int write_packet(uint64_t at, uint64_t len)
{
	struct packet_c p = {at, len, 99};

	call(0x640, &p, sizeof(p));
	return p.ret;
}

static void send_one(size_t len, uint8_t seed)
{
	uint8_t packet[HEADER + 3000] = {0};

	memset(packet + HEADER, seed, len);
	CHECK(send(peer, packet, HEADER + len, 0) == (ssize_t)(HEADER + len));
	loop_once(&loop, 0);
}

static void without_a_network_the_calls_say_so(void)
{
	struct netstat_c s = {9};
	struct netinfo_c info;
	struct packet_c p = {DATA, 100, 9};

	setup(MIB(16));
	hermit = (struct hermit){.image.abi = HERMIT_C};
	call(0x700, &s, sizeof(s));
	call(0x600, &info, sizeof(info));
	CHECK(s.status == 0 && info.mac[0] == 0);
	call(0x640, &p, sizeof(p));
	CHECK(p.ret == -1);
	p.ret = 9;
	call(0x680, &p, sizeof(p));
	CHECK(p.ret == -1);
}

static void packets_go_both_ways(void)
{
	struct netstat_c s = {9};
	uint8_t back[200];

	start_plain();
	call(0x700, &s, sizeof(s));
	CHECK(s.status == 1);
	CHECK(read_packet(DATA, 1500) == -1); /* nobody has asked for the address yet */
	use();
	CHECK(read_packet(DATA, 1500) == -1);
	send_one(60, 5);
	send_one(70, 6);
	CHECK(read_packet(DATA, 1500) == 60 && *(uint8_t *)memory_at(&mem, DATA + 59, 1) == 5);
	CHECK(read_packet(DATA, 1500) == 70 && *(uint8_t *)memory_at(&mem, DATA, 1) == 6);
	CHECK(read_packet(DATA, 1500) == -1);
	CHECK(write_packet(DATA, 70) == 0);
	CHECK(recv(peer, back, sizeof(back), 0) == HEADER + 70 && back[HEADER] == 6);
}

/* libhermit offers the last packet's length as the room for the next one. */
static void a_packet_that_does_not_fit_is_not_cut(void)
{
	start_plain();
	use();
	send_one(60, 1);
	send_one(1000, 2);
	CHECK(read_packet(DATA, 3276) == 60);
	CHECK(read_packet(DATA, 60) == -1);
	CHECK(read_packet(DATA, 3276) == 1000);
	/* But one that fits nowhere is lost, and is not in the way for ever. */
	send_one(1000, 3);
	send_one(60, 4);
	CHECK(read_packet(DATA, 100) == -1 && read_packet(DATA, 100) == -1);
	CHECK(read_packet(DATA, 100) == 60);
}

static void hostile_pointers_and_lengths_are_refused(void)
{
	static const struct {
		uint64_t at, len;
	} bad[] = {{MIB(16), 60}, {MIB(16) - 10, 60}, {~0ull, 60},	{~0ull - 30, 60},
		   {DATA, ~0ull}, {DATA, MIB(17)},    {1ull << 62, 60}, {0xfe000000, 60}};
	unsigned int i;

	start_plain();
	use();
	send_one(60, 1);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK(write_packet(bad[i].at, bad[i].len) == -1);
		CHECK(read_packet(bad[i].at, bad[i].len) == -1);
	}
	CHECK(write_packet(DATA, 0) == -1 && write_packet(DATA, 13) == -1);
	CHECK(write_packet(DATA, MIB(1)) == -1);
	CHECK(read_packet(DATA, 0) == -1);
	CHECK(read_packet(DATA, 1500) == 60);
}

static void a_stream_serves_as_well(void)
{
	static struct net_config cfg;
	uint8_t frame[64] = {0, 0, 0, 60, 9}, back[64];

	start(&cfg, SOCK_STREAM);
	use();
	CHECK(write(peer, frame, sizeof(frame)) == sizeof(frame));
	CHECK(read_packet(DATA, 1500) == 60 && *(uint8_t *)memory_at(&mem, DATA, 1) == 9);
	CHECK(write_packet(DATA, 60) == 0 && read(peer, back, sizeof(back)) == sizeof(back));
	CHECK(!memcmp(frame, back, sizeof(back)));
	close(peer);
	CHECK(read_packet(DATA, 1500) == -1);
	loop_once(&loop, 0);
	CHECK(write_packet(DATA, 60) == -1 && read_packet(DATA, 1500) == -1);
}

static void a_limit_is_kept(void)
{
	static struct net_config cfg = {.rx = {.ops = 1, .ops_burst = 2},
					.tx = {.ops = 1, .ops_burst = 2}};
	unsigned int i, sent = 0;

	start(&cfg, SOCK_SEQPACKET);
	use();
	for (i = 0; i < 10; i++)
		sent += !write_packet(DATA, 60);
	CHECK(sent >= 2 && sent < 5);
	for (i = 0; i < 6; i++)
		send_one(60, 1);
	for (i = 0; i < 6 && read_packet(DATA, 100) > 0; i++)
		;
	CHECK(i >= 2 && i < 5);
}

static void a_reset_gives_the_device_back(void)
{
	start_plain();
	use();
	send_one(60, 1);
	nic_reset(hermit.nic);
	CHECK(read_packet(DATA, 100) == -1);
	use();
	CHECK(read_packet(DATA, 100) == 60);
}

/* A guest that sleeps makes no call that would listen again. */
static void a_snapshot_leaves_it_listening(void)
{
	start_plain();
	use();
	CHECK(((struct net *)dev)->pairs[0]->watched & EPOLLIN);
	dev->ops->quiesce(dev);
	dev->ops->resume(dev);
	CHECK(((struct net *)dev)->pairs[0]->watched & EPOLLIN);
	nic_reset(hermit.nic); /* and in another process */
	CHECK(!nic_is_used(hermit.nic) && !((struct net *)dev)->pairs[0]->watched);
	nic_go_on(hermit.nic);
	CHECK(nic_is_used(hermit.nic) && ((struct net *)dev)->pairs[0]->watched & EPOLLIN);
}

static void a_capture_holds_both_directions(void)
{
	static struct net_config cfg = {.capture = file};
	uint32_t data[64];
	uint8_t back[200];
	int fd = mkstemp(file);

	CHECK(fd >= 0);
	start(&cfg, SOCK_SEQPACKET);
	use();
	send_one(60, 5);
	CHECK(read_packet(DATA, 1500) == 60);
	CHECK(!memory_write(&mem, DATA, "second", 6) && write_packet(DATA, 20) == 0);
	CHECK(recv(peer, back, sizeof(back), 0) == HEADER + 20);
	CHECK(read(fd, data, sizeof(data)) == 24 + 16 + 60 + 16 + 20);
	CHECK(data[0] == 0xa1b2c3d4 && data[5] == 1);
	CHECK(data[6 + 2] == 60 && data[6 + 3] == 60 && data[10] == 0x05050505);
	CHECK(data[6 + 19 + 2] == 20 && !memcmp(data + 6 + 19 + 4, "second", 6));
	unlink(file);
}

/* A full disk ends the capture, whole records are left, and the network goes on. */
static void a_capture_that_fails_harms_nobody(void)
{
	struct capture c;
	struct iovec iov = {"0123456789", 10};
	int pipe_ends[2];

	log_open("/dev/null");
	CHECK(capture_open(&c, "/proc/nowhere/x", &err) && strstr(err.text, "/proc/nowhere/x"));
	CHECK(pipe2(pipe_ends, O_NONBLOCK) == 0);
	c = (struct capture){.fd = pipe_ends[1], .used = 0};
	while (c.fd >= 0 && c.used < MIB(16))
		capture_packet(&c, &iov, 1, 2, 8);
	CHECK(c.fd < 0);
	capture_packet(&c, &iov, 1, 0, 10);
	c = (struct capture){.fd = open("/dev/null", O_WRONLY), .used = CAPTURE_MAX - 20};
	capture_packet(&c, &iov, 1, 0, 10);
	CHECK(c.fd < 0);
}

/* --- options --- */

static int parse(struct vm_config *cfg, const char *option, const char *value)
{
	static char copy[100];
	char *argv[] = {"hg-vmm", (char *)(uintptr_t)option, copy, "app", NULL};

	strcpy(copy, value);
	return options_parse(4, argv, cfg, &err);
}

static void addresses_are_completed(void)
{
	static struct vm_config cfg;

	CHECK(parse(&cfg, "--ip", "192.168.28.4") == OPTIONS_RUN);
	CHECK(!memcmp(cfg.hermit.ip.gateway, (uint8_t[]){192, 168, 28, 1}, 4));
	CHECK(!memcmp(cfg.hermit.ip.mask, (uint8_t[]){255, 255, 255, 0}, 4));
	CHECK(cfg.hermit.nenv == 3 && !strcmp(cfg.hermit.env[0], "HERMIT_IP=192.168.28.4"));
	CHECK(parse(&cfg, "--ip", "10.1.2.1/22,gateway=10.1.3.254") == OPTIONS_RUN);
	CHECK(!memcmp(cfg.hermit.ip.gateway, (uint8_t[]){10, 1, 3, 254}, 4));
	CHECK(!memcmp(cfg.hermit.ip.mask, (uint8_t[]){255, 255, 252, 0}, 4));
}

static void wrong_addresses_are_refused(void)
{
	static const char *const bad[] = {
		"",	      "10.0.0",	       "10.0.0.2/31",
		"10.0.0.2/0", "10.0.0.0",      "10.0.0.255",
		"224.0.0.1",  "10.0.0.2,g=1",  "10.0.0.2,gateway=10.0.1.1",
		"10.0.0.2/",  "10.0.0.2/24/1", "999.0.0.1"};
	static struct vm_config cfg;
	unsigned int i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(parse(&cfg, "--ip", bad[i]) == OPTIONS_ERROR && err.code == ERROR_USER &&
		      strstr(err.text, "--ip"));
}

static void uhyve_says_it_so(void)
{
	static struct vm_config cfg;

	CHECK(parse(&cfg, "-n", "tap:mine,mtu=1400") == OPTIONS_RUN);
	CHECK(!strcmp(cfg.nets[0].tap, "mine") && cfg.nets[0].mtu == 1400);
	CHECK(parse(&cfg, "--net", "tap") == OPTIONS_RUN && !strcmp(cfg.nets[0].tap, "tap10"));
	CHECK(parse(&cfg, "--net", "tap:") == OPTIONS_ERROR && err.code == ERROR_USER);
}

static void variables_say_the_same(void)
{
	static struct vm_config cfg;

	setenv("HERMIT_NETIF", "tap7", 1);
	setenv("HERMIT_NETIF_MAC", "52:54:00:00:00:07", 1);
	setenv("HERMIT_IP", "10.9.0.7", 1);
	setenv("HERMIT_APP_PORT", "8000", 1);
	setenv("HERMIT_CAPTURE_NET", "1", 1);
	CHECK(parse(&cfg, "--memory", "64") == OPTIONS_RUN);
	CHECK(cfg.nnets == 1 && !strcmp(cfg.nets[0].tap, "tap7") && cfg.nets[0].mac[5] == 7);
	CHECK(!strcmp(cfg.nets[0].capture, "hermit-net.pcap") && cfg.hermit.ip.address[3] == 7);
	CHECK(!cfg.nets[0].tcp && !cfg.nets[0].address);
	/* Options count more. */
	CHECK(parse(&cfg, "--net", "tap=other,capture=a.pcap") == OPTIONS_RUN);
	CHECK(cfg.nnets == 1 && !strcmp(cfg.nets[0].tap, "other"));
	CHECK(!strcmp(cfg.nets[0].capture, "a.pcap"));
	/* A port alone: passt, and an address for both to know. */
	unsetenv("HERMIT_NETIF");
	unsetenv("HERMIT_IP");
	CHECK(parse(&cfg, "--memory", "64") == OPTIONS_RUN);
	CHECK(cfg.nets[0].kind == NET_PASST && !strcmp(cfg.nets[0].tcp, "8000"));
	CHECK(!strcmp(cfg.nets[0].address, "10.0.5.2") && !strcmp(cfg.nets[0].gateway, "10.0.5.1"));
}

static void an_isle_has_the_network_of_isles_or_another(void)
{
	static struct vm_config cfg;

	setenv("HERMIT_ISLE", "3", 1);
	setenv("HERMIT_CPUS", "0", 1);
	setenv("HERMIT_CAPTURE_NET", "i.pcap", 1);
	CHECK(parse(&cfg, "--memory", "64") == OPTIONS_RUN);
	CHECK(cfg.nnets == 1 && !strcmp(cfg.nets[0].tap, "isle3") && cfg.nets[0].capture);
	CHECK(cfg.hermit.ip.address[0] == 192 && cfg.hermit.ip.address[3] == 5);
	setenv("HERMIT_IP", "192.168.28.77", 1);
	CHECK(parse(&cfg, "--memory", "64") == OPTIONS_RUN);
	CHECK(!strcmp(cfg.nets[0].tap, "isle3") && cfg.hermit.ip.address[3] == 77);
	setenv("HERMIT_NETIF", "mine", 1);
	CHECK(parse(&cfg, "--memory", "64") == OPTIONS_RUN);
	CHECK(cfg.nnets == 1 && !strcmp(cfg.nets[0].tap, "mine") && !cfg.nets[0].bridge[0]);
}

static void wrong_variables_are_refused(void)
{
	static const char *const bad[][2] = {{"HERMIT_IP", "x"},
					     {"HERMIT_MASK", "255.255.255.0"},
					     {"HERMIT_NETIF", "too-long-a-name-"},
					     {"HERMIT_NETIF", ""},
					     {"HERMIT_APP_PORT", "65536"},
					     {"HERMIT_APP_PORT", "http"},
					     {"HERMIT_CAPTURE_NET", "yes"},
					     {"HERMIT_CAPTURE_NET", "1"}};
	static struct vm_config cfg;
	unsigned int i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		setenv(bad[i][0], bad[i][1], 1);
		CHECK(parse(&cfg, "--memory", "64") == OPTIONS_ERROR && err.code == ERROR_USER &&
		      strstr(err.text, bad[i][0]));
		unsetenv(bad[i][0]);
	}
}

static const struct unit_test tests[] = {
	TEST(without_a_network_the_calls_say_so),
	TEST(packets_go_both_ways),
	TEST(a_packet_that_does_not_fit_is_not_cut),
	TEST(hostile_pointers_and_lengths_are_refused),
	TEST(a_stream_serves_as_well),
	TEST(a_limit_is_kept),
	TEST(a_reset_gives_the_device_back),
	TEST(a_snapshot_leaves_it_listening),
	TEST(a_capture_holds_both_directions),
	TEST(a_capture_that_fails_harms_nobody),
	TEST(addresses_are_completed),
	TEST(wrong_addresses_are_refused),
	TEST(uhyve_says_it_so),
	TEST(variables_say_the_same),
	TEST(an_isle_has_the_network_of_isles_or_another),
	TEST(wrong_variables_are_refused),
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return run_units(argc, argv, tests);
}
