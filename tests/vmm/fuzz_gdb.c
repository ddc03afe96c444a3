// SPDX-License-Identifier: Apache-2.0
/*
 * Fuzzes the debugger's server of a VM without KVM: packets whole, damaged, cut, repeated, of
 * several at once; vCPUs that hit things meanwhile; connections that end anywhere.
 */
#include "fuzz.h"

#include "gdb_fixture.h"

static int client = -1;
static const char *path;

static const char *const templates[] = {
	"?",
	"g",
	"G00112233445566778899",
	"p10",
	"P3=0011223344556677",
	"m1000,40",
	"mffffffff80001fff,1000",
	"M2000,4:11223344",
	"X2000,5:ab}cde",
	"Z0,1000,1",
	"Z0,ffffffff80001000,1",
	"z0,1000,1",
	"Z0,1fff,1",
	"Z1,3000,1",
	"z1,3000,1",
	"Z2,3001,8",
	"z2,3001,8",
	"Z3,4000,4",
	"Z4,4000,2",
	"z4,4000,2",
	"c",
	"s",
	"c1000",
	"C05;2000",
	"S00",
	"vCont?",
	"vCont;c",
	"vCont;s:1;c",
	"vCont;S02:2",
	"vCont;c:-1",
	"Hg1",
	"Hg2",
	"Hc-1",
	"T1",
	"qSupported:swbreak+;hwbreak+",
	"qC",
	"qfThreadInfo",
	"qsThreadInfo",
	"qThreadExtraInfo,1",
	"qXfer:features:read:target.xml:0,1000",
	"qXfer:features:read:target.xml:1000,ffffffffffffffff",
	"QStartNoAckMode",
	"D",
	"vMustReplyEmpty",
	"qSymbol::",
	"qAttached",
};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	signal(SIGPIPE, SIG_IGN);
	open_debugged_vm(&trap_int3);
	path = in_folder("gdb.sock");
	atexit(remove_debugged_vm);
	return 0;
}

static void say(const void *data, size_t len)
{
	if (client >= 0 && send(client, data, len, MSG_NOSIGNAL) < 0)
		return; /* full, or dropped by the server */
}

/* A packet with a few of its bytes changed; its checksum is right, most of the time. */
static void say_packet(struct script *s)
{
	const char *t = templates[take(s, 1) % (sizeof(templates) / sizeof(templates[0]))];
	size_t len = strlen(t), cut;
	unsigned int damage = take(s, 1);
	static struct rsp_reply r;
	char out[RSP_FRAME_MAX];

	memcpy(r.body, t, len);
	for (damage = damage < 140 ? 0 : damage % 4; damage; damage--)
		r.body[take(s, 1) % len] = (char)take(s, 1);
	r.len = take(s, 1) < 230 ? len : take(s, 1) % len;
	len = rsp_frame(&r, out);
	cut = take(s, 1);
	say(out, cut < 240 ? len : cut % len);
}

static void say_much(struct script *s)
{
	static char much[40000];
	size_t len = take(s, 2) % sizeof(much);

	memset(much, (int)take(s, 1), len);
	if (len)
		much[0] = '$';
	say(much, len);
}

static void step(struct script *s)
{
	uint8_t bytes[32];
	unsigned int i, n;

	switch (take(s, 1) % 16) {
	case 0:
		if (client < 0)
			client = connect_to(path);
		break;
	case 1:
		if (client >= 0 && take(s, 1) < 128) {
			close(client);
			client = -1;
		}
		break;
	case 2:
		n = take(s, 1) % sizeof(bytes);
		for (i = 0; i < n; i++)
			bytes[i] = (uint8_t)take(s, 1);
		say(bytes, n);
		break;
	case 3:
		say_much(s);
		break;
	case 4:
		say("\003", 1);
		break;
	case 5:
	case 6:
		if (vm.state == VM_RUNNING) /* only then is a vCPU where it can exit */
			debug_exit(take(s, 1) % 2, take(s, 1) & 1 ? 3 : 1, 0x1000 + take(s, 1) % 3,
				   take(s, 1) << 8 | take(s, 1));
		break;
	case 7:
		mapped = take(s, 1) < 200;
		break;
	default:
		say_packet(s);
	}
	settle();
}

/* Once nobody debugs, the guest runs and its memory is as it was. */
static void check_left_alone(void)
{
	unsigned int i;

	CHECK(vm.state == VM_RUNNING && !atomic_load(&vm.hold) && !gdb_breakpoints(&vm));
	for (i = 0; i < vm.cfg->cpus; i++)
		CHECK(!atomic_load(&vm.vcpus[i].frozen) && !fake_armed[i].on);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script s = {.data = data, .len = size};
	static char heard[1 << 20];
	bool gone;

	while (s.at < s.len) {
		step(&s);
		if (client >= 0) {
			take_all(client, heard, sizeof(heard), &gone);
			if (gone) {
				close(client);
				client = -1;
			}
		}
		vm.request = REQUEST_NONE; /* k ends only this piece of the script */
		vm.loop.stop = false;
	}
	if (client >= 0)
		close(client);
	client = -1;
	mapped = true;
	settle();
	check_left_alone();
	return 0;
}
