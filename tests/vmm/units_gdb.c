// SPDX-License-Identifier: Apache-2.0
/* Unit tests of the debugger's server: packets, breakpoints; without KVM. */
#include "units.h"

#include "gdb_fixture.h"
#include "qmp_client.h"

static int client = -1;

static void say(const char *body)
{
	static struct rsp_reply r;
	char out[RSP_FRAME_MAX];
	size_t n;

	r.len = strlen(body);
	CHECK(r.len <= RSP_MAX);
	memcpy(r.body, body, r.len);
	n = rsp_frame(&r, out);
	CHECK(send(client, out, n, MSG_NOSIGNAL) == (ssize_t)n);
	settle();
}

/* The body of the one packet that came; acknowledgements are cut off. */
static const char *hear(void)
{
	size_t n = take_all(client, text, sizeof(text) - 1, &gone);
	char *from = text, *end;

	text[n] = '\0';
	while (*from == '+')
		from++;
	if (!*from)
		return "";
	CHECK(*from == '$');
	end = strchr(from, '#');
	CHECK(end && !end[3]);
	*end = '\0';
	return from + 1;
}

static bool answers(const char *body, const char *expected)
{
	const char *got;

	say(body);
	got = hear();
	if (strcmp(got, expected) != 0)
		fprintf(stderr, "%s -> '%.200s', not '%s'\n", body, got, expected);
	return !strcmp(got, expected);
}

static void start(void)
{
	open_debugged_vm(&trap_int3);
	client = connect_to(in_folder("gdb.sock"));
	CHECK(strstr((say("qSupported:swbreak+;hwbreak+"), hear()), "PacketSize=2000"));
	CHECK(vm.state == VM_DEBUG && gdb_holds(&vm));
}

static uint8_t at(uint64_t gpa)
{
	uint8_t byte;

	CHECK(memory_read(&vm.mem, gpa, &byte, 1) == 0);
	return byte;
}

static void acknowledgements_end_when_asked(void)
{
	size_t n;

	start();
	say("?");
	n = take_all(client, text, sizeof(text), &gone);
	CHECK(n && text[0] == '+');
	CHECK(send(client, "$?#00", 5, 0) == 5);
	settle();
	CHECK(take_all(client, text, sizeof(text), &gone) == 1 && text[0] == '-');
	CHECK(send(client, "-", 1, 0) == 1); /* the last answer again */
	settle();
	CHECK(!strcmp(hear(), "T05thread:1;"));
	CHECK(answers("QStartNoAckMode", "OK"));
	say("?");
	CHECK(take_all(client, text, sizeof(text), &gone) && text[0] == '$');
}

static void registers_are_read_and_written(void)
{
	char whole[2 * sizeof(struct gdb_registers) + 2];

	start();
	fake_registers[0].rax = 0x1122334455667788;
	fake_registers[1].rip = 0xabcd;
	CHECK(answers("p0", "8877665544332211"));
	CHECK(answers("Hg2", "OK") && answers("p10", "cdab000000000000"));
	CHECK(answers("P10=0100000000000000", "OK") && fake_registers[1].rip == 1);
	CHECK(answers("P10=01", "E16") && answers("P999=00", "E16") && answers("pffff", "E16"));
	CHECK(answers("p", "E16") && answers("P10", "E16"));
	say("g");
	CHECK(strlen(hear()) == 2 * sizeof(struct gdb_registers));
	memset(whole, 'a', sizeof(whole));
	whole[0] = 'G';
	whole[sizeof(whole) - 1] = '\0';
	CHECK(answers(whole, "OK") && fake_registers[1].efer == 0xaaaaaaaaaaaaaaaa);
	whole[50] = '\0';
	CHECK(answers(whole, "E16"));
	CHECK(answers("Hg3", "E16") && answers("Hx1", "E16") && answers("Hg-1", "OK"));
}

static void memory_is_read_and_written_where_it_is_ram(void)
{
	char last[40];

	start();
	CHECK(memory_write(&vm.mem, 0x5000, "hello", 5) == 0);
	CHECK(answers("m5000,5", "68656c6c6f"));
	CHECK(answers("mffffffff80005000,5", "68656c6c6f"));
	CHECK(answers("M5001,2:4141", "OK") && at(0x5001) == 'A' && at(0x5003) == 'l');
	CHECK(answers("X5000,2:zz", "OK") && at(0x5000) == 'z' && at(0x5002) == 'A');
	CHECK(answers("X5000,0:", "OK")); /* how gdb asks whether X is known */
	CHECK(answers("M5001,3:4141", "E16") && answers("X5000,3:zz", "E16"));
	CHECK(answers("M5001", "E16") && answers("m5000", "E16") && answers("m,", "E16"));
	CHECK(answers("md0000000,4", "E0e") && answers("M100000000,1:00", "E0e"));
	/* Of a range that leaves RAM, what is there. */
	snprintf(last, sizeof(last), "m%llx,10", (unsigned long long)vm.mem.size - 2);
	CHECK(answers(last, "0000"));
	CHECK(answers("mffffffffffffffff,10", "E0e"));
	say("m5000,ffffffffffffffff");
	CHECK(strlen(hear()) == RSP_MAX);
}

static void breakpoints_are_hidden_from_the_debugger(void)
{
	start();
	CHECK(memory_write(&vm.mem, 0x7000, "\x55\x56\x57", 3) == 0);
	CHECK(answers("Z0,ffffffff80007001,1", "OK") && at(0x7001) == 0xcc);
	CHECK(answers("m7000,3", "555657"));
	CHECK(answers("M7000,3:616263", "OK") && at(0x7000) == 0x61 && at(0x7001) == 0xcc);
	CHECK(answers("m7000,3", "616263"));
	CHECK(answers("Z0,7001,1", "OK")); /* the same byte by another address */
	CHECK(answers("z0,ffffffff80007001,1", "OK") && at(0x7001) == 0xcc);
	CHECK(answers("z0,7001,1", "OK") && at(0x7001) == 0x62);
	CHECK(answers("z0,7001,1", "E0e") && answers("Z0,d0000000,1", "E0e"));
	CHECK(answers("Z9,7001,1", "") && answers("Z0,7001", "E16") && answers("Z", "E16"));
}

static void a_longer_trap_is_hidden_too(void)
{
	open_debugged_vm(&trap_out);
	client = connect_to(in_folder("gdb.sock"));
	CHECK(memory_write(&vm.mem, 0x7000, "\x55\x56\x57\x58", 4) == 0);
	CHECK(answers("Z0,7001,1", "OK") && at(0x7001) == 0xe6 && at(0x7002) == GDB_TRAP_PORT);
	CHECK(answers("m7000,4", "55565758") && answers("m7002,1", "57"));
	CHECK(answers("M7002,2:6263", "OK") && at(0x7002) == GDB_TRAP_PORT && at(0x7003) == 0x63);
	CHECK(answers("Z0,7002,1", "E0e") && answers("Z0,7000,1", "E0e")); /* would overlap */
	CHECK(answers("Z0,7fff,1", "E0e"));				   /* two pages */
	CHECK(answers("z0,7001,1", "OK") && at(0x7001) == 0x56 && at(0x7002) == 0x62);
	CHECK(answers("Z2,7000,4", ""));
	/* The exit comes behind the OUT. */
	CHECK(answers("Z0,7000,1", "OK") && answers("c", ""));
	fake_registers[1].rip = 0x7002;
	gdb_trap_exit(&vm.vcpus[1]);
	settle();
	CHECK(!strcmp(hear(), "T05thread:2;") && fake_registers[1].rip == 0x7000);
	CHECK(answers("c", ""));
	fake_registers[1].rip = 0x9002; /* an OUT of the guest's own */
	gdb_trap_exit(&vm.vcpus[1]);
	settle();
	CHECK(!strcmp(hear(), "") && fake_registers[1].rip == 0x9002 && vm.state == VM_RUNNING);
}

static void breakpoints_are_bounded(void)
{
	char packet[40];
	unsigned int i;

	start();
	for (i = 0; i < MAX_BREAKPOINTS; i++) {
		snprintf(packet, sizeof(packet), "Z0,%x,1", 0x8000 + i);
		CHECK(answers(packet, "OK"));
	}
	CHECK(answers("Z0,7000,1", "E0e") && gdb_breakpoints(&vm) == MAX_BREAKPOINTS);
	CHECK(answers("D", "OK") && gone && !gdb_breakpoints(&vm));
	for (i = 0; i < MAX_BREAKPOINTS; i++)
		CHECK(at(0x8000 + i) == 0);
}

static void watchpoints_become_debug_registers(void)
{
	start();
	/* RW and LEN: write 01, access 11, execute 00; 8 bytes 10, 4 bytes 11 (SDM 18.2.4). */
	CHECK(answers("Z2,1000,8", "OK") && answers("Z4,2004,4", "OK"));
	CHECK(answers("Z1,3001,1", "OK"));
	CHECK(answers("vCont;c", ""));
	CHECK(fake_armed[0].dr7 == (0x2aull | 0x9ull << 16 | 0xfull << 20));
	CHECK(fake_armed[1].address[1] == 0x2004 && fake_armed[1].address[2] == 0x3001);
	CHECK(send(client, "\003", 1, 0) == 1);
	settle();
	CHECK(!strcmp(hear(), "T02thread:1;"));
	CHECK(answers("z2,1000,8", "OK") && answers("z4,2004,4", "OK"));
	/* 6 bytes at an odd address: 1 + 2 + 2 + 1, which is one register more than is left. */
	CHECK(answers("Z2,1001,6", "E0e") && answers("Z2,1001,5", "OK"));
	CHECK(answers("Z2,5000,1", "E0e") && answers("Z3,5000,0", "E0e"));
	CHECK(answers("z2,1001,5", "OK") && answers("Z3,5000,8", "OK"));
	CHECK(answers("Z2,5000,21", "E0e"));
}

static void all_stop_when_one_vcpu_hits(void)
{
	start();
	CHECK(answers("Z0,7000,1", "OK") && answers("c", "") && vm.state == VM_RUNNING);
	CHECK(!atomic_load(&vm.hold) && answers("g", "E10")); /* nothing of a vCPU in the guest */
	debug_exit(1, 3, 0x7000, 0);
	CHECK(!strcmp(hear(), "T05thread:2;swbreak:;"));
	CHECK(vm.state == VM_DEBUG && atomic_load(&vm.hold) && answers("qC", "QC2"));
	CHECK(answers("?", "T05thread:2;swbreak:;"));
}

static void the_guests_own_exceptions_stay_its_own(void)
{
	start();
	CHECK(answers("Z0,7000,1", "OK") && answers("Z2,6000,1", "OK") && answers("c", ""));
	debug_exit(0, 3, 0x9000, 0);
	CHECK(!strcmp(hear(), "") && vm.state == VM_RUNNING && !atomic_load(&vm.hold));
	CHECK(fake_armed[0].inject == INJECT_BREAKPOINT && fake_armed[0].on && fake_armed[0].dr7);
	debug_exit(1, 1, 0x9000, 0xffff0ff0 | DR6_STEP);
	CHECK(fake_armed[1].inject == INJECT_DEBUG && fake_armed[1].dr6 == DR6_STEP);
	debug_exit(1, 1, 0x9000, 0xffff0ff2); /* a register that is not ours */
	CHECK(fake_armed[1].dr6 == 2 && !strcmp(hear(), ""));
}

static void a_watched_access_is_not_lost_to_another_stop(void)
{
	start();
	CHECK(answers("Z4,6000,1", "OK") && answers("Z0,7000,1", "OK") && answers("c", ""));
	fake_run[1].debug.arch.exception = 1;
	fake_run[1].debug.arch.dr6 = 1;
	gdb_debug_exit(&vm.vcpus[1]);
	debug_exit(0, 3, 0x7000, 0);
	CHECK(!strcmp(hear(), "T05thread:1;swbreak:;"));
	CHECK(answers("vCont;c:2", "T05thread:2;awatch:6000;") && vm.state == VM_DEBUG);
	CHECK(answers("c", "") && vm.state == VM_RUNNING);
}

static void one_thread_steps_while_others_stay(void)
{
	start();
	CHECK(answers("vCont?", "vCont;c;C;s;S") && answers("vCont;s:2", ""));
	CHECK(fake_armed[1].step && !fake_armed[0].step);
	CHECK(atomic_load(&vm.vcpus[0].frozen) && !atomic_load(&vm.vcpus[1].frozen));
	debug_exit(1, 1, 0x1234, DR6_STEP);
	CHECK(!strcmp(hear(), "T05thread:2;"));
	CHECK(answers("vCont;s:2;c", "") && !atomic_load(&vm.vcpus[0].frozen));
	debug_exit(1, 1, 0x1234, DR6_STEP);
	CHECK(!strcmp(hear(), "T05thread:2;"));
	CHECK(answers("Hc1", "OK") && answers("s1000", "") && fake_registers[0].rip == 0x1000);
	CHECK(fake_armed[0].step && !fake_armed[1].step);
	debug_exit(0, 1, 0x1001, DR6_STEP);
	CHECK(!strcmp(hear(), "T05thread:1;"));
	CHECK(answers("vCont;x", "E16") && answers("vCont;c:9", "E16") && answers("C", "E16"));
	CHECK(answers("vCont;C05:1;c:-1", "") && vm.state == VM_RUNNING);
}

static void a_lost_connection_leaves_no_trace(void)
{
	start();
	CHECK(memory_write(&vm.mem, 0x7000, "\x55", 1) == 0);
	CHECK(answers("Z0,7000,1", "OK") && answers("Z1,6000,1", "OK"));
	CHECK(answers("vCont;s:2", "") && at(0x7000) == 0xcc);
	close(client);
	settle();
	CHECK(at(0x7000) == 0x55 && vm.state == VM_RUNNING && !atomic_load(&vm.hold));
	CHECK(!atomic_load(&vm.vcpus[0].frozen) && !fake_armed[1].step && !fake_armed[1].on);
	client = connect_to(in_folder("gdb.sock"));
	CHECK(vm.state == VM_DEBUG && answers("?", "T05thread:1;"));
}

static void one_debugger_at_a_time(void)
{
	int second;

	start();
	second = connect_to(in_folder("gdb.sock"));
	CHECK(take_all(second, text, 10, &gone) == 0 && gone);
	CHECK(answers("?", "T05thread:1;"));
}

/* --- with QMP --- */

static void qmp_sees_what_the_debugger_does(void)
{
	int qmp;

	open_debugged_vm(&trap_int3);
	qmp = connect_qmp();
	client = connect_to(in_folder("gdb.sock"));
	CHECK(strstr(ask(qmp, "{\"execute\":\"query-status\"}"), "\"debug\""));
	CHECK(strstr(text, "\"STOP\""));
	CHECK(strstr(ask(qmp, "{\"execute\":\"cont\"}"), "a debugger has stopped"));
	CHECK(strstr((say("vCont;s:1;c"), ask(qmp, "{\"execute\":\"query-status\"}")), "running"));
	CHECK(!strstr(text, "RESUME")); /* a step is no event */
	debug_exit(0, 1, 0x1000, DR6_STEP);
	hear();
	CHECK(answers("c", "") && strstr(ask(qmp, "{\"execute\":\"stop\"}"), "\"RESUME\""));
	CHECK(strstr(text, "\"STOP\"") && !strcmp(hear(), "T02thread:1;"));
	CHECK(answers("D", "OK") && strstr(ask(qmp, "{\"execute\":\"query-status\"}"), "running"));
}

static void a_vm_that_was_paused_is_paused_afterwards(void)
{
	int qmp;

	open_debugged_vm(&trap_int3);
	qmp = connect_qmp();
	ask(qmp, "{\"execute\":\"stop\"}");
	client = connect_to(in_folder("gdb.sock"));
	CHECK(answers("D", "OK") && vm.state == VM_PAUSED && atomic_load(&vm.hold));
	ask(qmp, "{\"execute\":\"cont\"}");
	CHECK(vm.state == VM_RUNNING && strstr(text, "RESUME"));
}

static void a_qmp_connection_becomes_the_debuggers(void)
{
	open_debugged_vm(&trap_int3);
	client = connect_qmp();
	/* The first packet may follow at once. */
	CHECK(strstr(ask(client, "{\"execute\":\"x-hypergen-gdb-start\"}$?#3f"),
		     "{\"return\":{}}\r\n+$T05thread:1;#"));
	CHECK(gdb_holds(&vm) && answers("qAttached", "1"));
	CHECK(strstr(ask(connect_qmp(), "{\"execute\":\"x-hypergen-gdb-start\"}"), "already"));
	close(client);
	settle();
	CHECK(vm.state == VM_RUNNING && !gdb_connected(&vm));
}

static void a_panicked_guest_can_be_looked_at(void)
{
	open_debugged_vm(&trap_int3);
	client = connect_to(in_folder("gdb.sock"));
	CHECK(answers("c", ""));
	pthread_mutex_lock(&vm.lock);
	vm_ask(&vm, REQUEST_PANICKED);
	pthread_mutex_unlock(&vm.lock);
	settle();
	CHECK(!strcmp(hear(), "T06thread:1;") && vm.state == VM_PANICKED);
	CHECK(answers("m0,1", "00") && answers("c", "T06thread:1;"));
	CHECK(answers("D", "OK") && vm.state == VM_PANICKED);
}

static void odd_packets_get_odd_answers(void)
{
	static const char *const nothing[] = {"!",	  "vMustReplyEmpty",
					      "vKill;1",  "R00",
					      "qOffsets", "QThreadEvents:1",
					      "bc",	  "",
					      "Q",	  "v"};
	unsigned int i;

	start();
	for (i = 0; i < sizeof(nothing) / sizeof(nothing[0]); i++)
		CHECK(answers(nothing[i], ""));
	CHECK(answers("qfThreadInfo", "m1,2") && answers("qsThreadInfo", "l"));
	CHECK(answers("T2", "OK") && answers("T3", "E16") && answers("T", "E16"));
	CHECK(answers("qThreadExtraInfo,2", "764350552c20746573746564"));
	CHECK(answers("qThreadExtraInfo,7", "E16"));
	CHECK(answers("qXfer:features:read:target.xml:ffff,10", "E16"));
	say("k");
	CHECK(vm.request == REQUEST_QUIT);
}

static void an_elf_kernels_addresses_work_before_it_maps_them(void)
{
	uint8_t elf[64 + 56] = {0x7f, 'E', 'L', 'F', 2, 1, 1};
	uint64_t header[3] = {0x1000000, 64, 0},
		 segment[6] = {64, KERNEL_BASE + 0x100000, 0x100000, 0x10, 0x2000, 0x1000};
	int fd;

	start();
	memcpy(elf + 24, header, sizeof(header));
	memcpy(elf + 54, (uint16_t[]){56, 1}, 4); /* e_phentsize, e_phnum */
	memcpy(elf + 64, (uint32_t[]){1, 5}, 8);
	memcpy(elf + 72, segment, sizeof(segment));
	mapped = false;
	CHECK(answers("mffffffff80100000,1", "E0e"));
	fd = open(vm.cfg->kernel, O_WRONLY | O_TRUNC);
	CHECK(fd >= 0 && write(fd, elf, sizeof(elf)) == sizeof(elf));
	close(fd);
	vm.boot.kernel.size = sizeof(elf);
	CHECK(memory_write(&vm.mem, 0x101ffe, "ab", 2) == 0);
	CHECK(answers("mffffffff80101ffe,4", "6162") && answers("mffffffff80102000,1", "E0e"));
	CHECK(answers("Z0,ffffffff80101fff,1", "OK") && at(0x101fff) == 0xcc);
}

static const struct unit_test tests[] = {
	TEST(acknowledgements_end_when_asked),
	TEST(registers_are_read_and_written),
	TEST(memory_is_read_and_written_where_it_is_ram),
	TEST(breakpoints_are_hidden_from_the_debugger),
	TEST(a_longer_trap_is_hidden_too),
	TEST(breakpoints_are_bounded),
	TEST(watchpoints_become_debug_registers),
	TEST(all_stop_when_one_vcpu_hits),
	TEST(the_guests_own_exceptions_stay_its_own),
	TEST(a_watched_access_is_not_lost_to_another_stop),
	TEST(one_thread_steps_while_others_stay),
	TEST(a_lost_connection_leaves_no_trace),
	TEST(one_debugger_at_a_time),
	TEST(qmp_sees_what_the_debugger_does),
	TEST(a_vm_that_was_paused_is_paused_afterwards),
	TEST(a_qmp_connection_becomes_the_debuggers),
	TEST(a_panicked_guest_can_be_looked_at),
	TEST(odd_packets_get_odd_answers),
	TEST(an_elf_kernels_addresses_work_before_it_maps_them),
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	int r = run_units(argc, argv, tests);

	if (vm.cfg)
		remove_debugged_vm();
	return r;
}
