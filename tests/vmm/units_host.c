// SPDX-License-Identifier: Apache-2.0
/* Unit tests of what the host's side sees: console, control socket, event loop; without KVM. */
#include <sys/stat.h>
#include <time.h>

#include "console_log.h"
#include "units.h"
#include "qmp_client.h"

static void start(void)
{
	static struct vm_config cfg;

	open_vm(&cfg);
}

/* --- console --- */

/* Byte n of the test stream: position-dependent, so that a wrong piece shows. */
static uint8_t stream_byte(uint64_t n)
{
	return n * 7 + (n >> 8) * 13 + (n >> 16);
}

static uint64_t stream_end;

static void produce(size_t len)
{
	uint8_t chunk[1000];
	size_t n, i;

	for (; len; len -= n) {
		n = len < sizeof(chunk) ? len : sizeof(chunk);
		for (i = 0; i < n; i++)
			chunk[i] = stream_byte(stream_end++);
		console_output(vm.console, chunk, n);
	}
}

/* The collected output's timer has fired. */
static void flushed(void)
{
	struct timespec ts = {.tv_nsec = 20000000};

	nanosleep(&ts, NULL);
	settle();
}

static bool is_stream(const char *data, size_t len, uint64_t from)
{
	size_t i;

	for (i = 0; i < len; i++)
		if ((uint8_t)data[i] != stream_byte(from + i))
			return false;
	return true;
}

static void console_replays_its_backlog(void)
{
	int fd;

	start();
	produce(100000);
	flushed();
	fd = connect_to(vm.cfg->console);
	CHECK(take_all(fd, text, sizeof(text), &gone) == CONSOLE_BACKLOG && !gone);
	CHECK(is_stream(text, CONSOLE_BACKLOG, 100000 - CONSOLE_BACKLOG));
	produce(10);
	flushed();
	CHECK(take_all(fd, text, sizeof(text), &gone) == 10 && is_stream(text, 10, 100000));
}

static void console_drops_a_slow_reader_alone(void)
{
	uint64_t seen = 0;
	int slow, quick;
	size_t n;

	start();
	slow = connect_to(vm.cfg->console);
	quick = connect_to(vm.cfg->console);
	while (stream_end < 2000000) {
		produce(20000);
		flushed();
		n = take_all(quick, text, sizeof(text), &gone);
		CHECK(!gone && is_stream(text, n, seen));
		seen += n;
	}
	CHECK(seen == stream_end);
	n = take_all(slow, text, sizeof(text), &gone);
	CHECK(gone && n < stream_end && is_stream(text, n, 0)); /* no gap before its end */
}

static void console_input_is_the_first_clients(void)
{
	int a, b, c;

	start();
	a = connect_to(vm.cfg->console);
	b = connect_to(vm.cfg->console);
	c = connect_to(vm.cfg->console);
	CHECK(send(b, "from b", 6, 0) == 6 && send(a, "from a", 6, 0) == 6);
	settle();
	CHECK(console_take(vm.console, text, 100) == 6 && !memcmp(text, "from a", 6));
	close(a);
	settle();
	CHECK(send(c, "from c", 6, 0) == 6 && send(b, "then b", 6, 0) == 6);
	settle();
	CHECK(console_take(vm.console, text, 100) == 6 && !memcmp(text, "then b", 6));
	close(b);
	settle();
	CHECK(send(c, "last c", 6, 0) == 6);
	settle();
	CHECK(console_take(vm.console, text, 100) == 6 && !memcmp(text, "last c", 6));
}

static bool types(int fd, const char *what)
{
	CHECK(send(fd, what, 1, 0) == 1);
	settle();
	return console_take(vm.console, text, 100) == 1 && text[0] == what[0];
}

static void console_is_looked_at_or_taken_over(void)
{
	int viewer, a, b, c;

	start();
	CHECK(!console_steal(vm.console));
	viewer = connect_to(vm.cfg->console);
	settle();
	CHECK(types(viewer, "v") && console_view(vm.console));
	CHECK(!console_steal(vm.console) && !console_view(vm.console));
	a = connect_to(vm.cfg->console);
	CHECK(types(a, "a"));
	b = connect_to(vm.cfg->console);
	CHECK(!types(b, "b") && console_steal(vm.console));
	CHECK(types(b, "b") && !types(a, "a"));
	c = connect_to(vm.cfg->console);
	settle();
	CHECK(console_steal(vm.console) && types(c, "c") && !types(b, "b"));
	close(c);
	settle();
	CHECK(types(b, "b"));
	/* Who only looks sees what all see, and its leaving is noticed. */
	produce(1000);
	flushed();
	CHECK(take_all(viewer, text, sizeof(text), &gone) == 1000 && is_stream(text, 1000, 0));
	close(viewer);
	close(b);
	settle();
	CHECK(types(a, "a"));
}

static void console_input_waits_for_the_guest(void)
{
	static char pasted[10000];
	size_t got = 0, n;
	int fd;

	start();
	memset(pasted, 'p', sizeof(pasted));
	fd = connect_to(vm.cfg->console);
	CHECK(send(fd, pasted, sizeof(pasted), 0) == sizeof(pasted));
	settle(); /* would never return if the loop went on watching what it cannot take */
	CHECK(console_pending(vm.console) == CONSOLE_INPUT);
	while ((n = console_take(vm.console, text, 100))) {
		got += n;
		settle();
	}
	CHECK(got == sizeof(pasted));
}

/* The heir of a writer whose input still fills the buffer must wait as well. */
static void console_heir_of_a_full_input_waits(void)
{
	static char pasted[CONSOLE_INPUT + 100];
	int a, b;

	start();
	memset(pasted, 'a', sizeof(pasted));
	a = connect_to(vm.cfg->console);
	b = connect_to(vm.cfg->console);
	CHECK(send(a, pasted, sizeof(pasted), 0) == sizeof(pasted));
	settle();
	close(a);
	settle();
	CHECK(send(b, "then b", 6, 0) == 6);
	settle();
	CHECK(console_pending(vm.console) == CONSOLE_INPUT);
	CHECK(console_take(vm.console, text, sizeof(text)) == CONSOLE_INPUT);
	settle();
	CHECK(console_take(vm.console, text, 100) == 6 && !memcmp(text, "then b", 6));
}

static void console_takes_no_more_clients_than_it_has_room_for(void)
{
	int fds[CONSOLE_MAX_CLIENTS + 1], i;

	start();
	for (i = 0; i <= CONSOLE_MAX_CLIENTS; i++)
		fds[i] = connect_to(vm.cfg->console);
	take_all(fds[CONSOLE_MAX_CLIENTS - 1], text, 10, &gone);
	CHECK(!gone);
	take_all(fds[CONSOLE_MAX_CLIENTS], text, 10, &gone);
	CHECK(gone);
}

static size_t slurp(const char *name, char *to)
{
	int fd = open(in_folder(name), O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, to, 2 << 20);

	CHECK(n >= 0);
	close(fd);
	return n;
}

static void console_log_is_bounded_and_without_gaps(void)
{
	size_t old, now;

	start();
	while (stream_end < 3500000) {
		produce(30000);
		settle();
	}
	flushed();
	old = slurp("console.log.1", text);
	now = slurp("console.log", text + old);
	CHECK(old <= CONSOLE_LOG_MAX && now <= CONSOLE_LOG_MAX && old > CONSOLE_LOG_MAX / 2);
	CHECK(is_stream(text, old + now, stream_end - old - now));
}

static void console_log_says_when(void)
{
	uint64_t record[4], before = time(NULL) * 1000ull;
	const struct timespec pause = {.tv_sec = 1, .tv_nsec = 50000000};

	start();
	produce(100);
	flushed();
	produce(100);
	flushed();
	CHECK(slurp("console.log.times", text) == 16);
	nanosleep(&pause, NULL);
	produce(100);
	flushed();
	CHECK(slurp("console.log.times", text) == 32);
	memcpy(record, text, 32);
	CHECK(record[0] == 0 && record[2] == 200);
	CHECK(record[1] >= before && record[3] >= record[1] + 1000);
}

/* Megabytes in one kick: the vCPU does a part of them, the loop the rest, in pieces. */
static void console_bounds_the_work_of_one_kick(void)
{
	unsigned int i;

	start();
	CHECK(driver_start(vm.vcon, 0, 64));
	for (i = 0; i < 64; i++) {
		set_desc(&vm.mem, 1, i, 0x200000, 65536, 0, 0);
		offer(&vm.mem, 1, 64, i);
	}
	reg_write(vm.vcon, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
	CHECK(used_index(&vm.mem, 1) == 1);
	loop_once(&vm.loop, 1000);
	CHECK(used_index(&vm.mem, 1) < 5);
	settle();
	CHECK(used_index(&vm.mem, 1) == 64);
}

/* --- control socket --- */

static void qmp_speaks_as_the_specification_says(void)
{
	const char *p, *whole = "{\"execute\":\"query-status\",\"id\":[1,\"}{\"]}";
	char one[2] = "";
	int fd;

	start();
	fd = connect_to(vm.cfg->control);
	CHECK(strstr(ask(fd, ""), "\"QMP\""));
	CHECK(strstr(ask(fd, "{\"execute\":\"query-status\"}\n"), "CommandNotFound"));
	CHECK(strstr(ask(fd, "{\"execute\":\"qmp_capabilities\",\"id\":7}"), "\"id\":7"));
	CHECK(strstr(ask(fd, "{\"execute\":\"qmp_capabilities\"}"), "CommandNotFound"));
	CHECK(strstr(ask(fd, "{\"execute\":\"nope\"}"), "CommandNotFound"));
	CHECK(strstr(ask(fd, "{\"arguments\":{}}"), "lacks member 'execute'"));
	CHECK(strstr(ask(fd, "{\"execute\":\"stop\",\"arguments\":3}"), "must be an object"));
	CHECK(strstr(ask(fd, "[1]\n"), "must be a JSON object"));
	CHECK(strstr(ask(fd, "{nonsense}"), "Invalid JSON"));
	for (p = whole; *p; p++) {
		one[0] = *p;
		ask(fd, one);
		CHECK(!p[1] == !!strstr(text, "\"running\":true},\"id\":[1,\"}{\"]"));
	}
	ask(fd,
	    "{\"execute\":\"query-kvm\"}{\"execute\":\"query-version\"}\n{\"execute\":\"stop\"}");
	CHECK(strstr(text, "present") && strstr(text, "hg-vmm") && strstr(text, "\"STOP\""));
	CHECK(strstr(ask(fd, "{\"execute\":\"query-status\"}"), "paused"));
	CHECK(strstr(ask(fd, "{\"execute\":\"cont\"}"), "\"RESUME\"") && !gone);
}

static void qmp_bounds_what_a_client_can_make_it_keep(void)
{
	const char *request = "{\"execute\":\"query-commands\"}";
	int greedy, lazy, i;
	ssize_t n;

	start();
	greedy = connect_qmp();
	memset(text, ' ', 100000);
	text[0] = '{';
	for (i = 0; i < 100000 && send(greedy, text + i, 1000, MSG_NOSIGNAL) > 0; i += 1000)
		settle();
	CHECK(i < 100000 && i >= (int)CONTROL_MAX_LINE - 4096);
	lazy = connect_qmp();
	for (i = 0; i < 20000; i++) {
		n = send(lazy, request, strlen(request), MSG_NOSIGNAL);
		settle();
		if (n < 0)
			break;
	}
	CHECK(i < 20000);
	CHECK(strstr(ask(connect_qmp(), "{\"execute\":\"query-status\"}"), "running"));
}

static void qmp_serves_many_clients_and_refuses_more(void)
{
	int fds[CONTROL_MAX_CLIENTS], i, one_more;

	start();
	for (i = 0; i < CONTROL_MAX_CLIENTS; i++)
		fds[i] = connect_qmp();
	one_more = connect_to(vm.cfg->control);
	CHECK(take_all(one_more, text, 10, &gone) == 0 && gone);
	ask(fds[0], "{\"execute\":\"system_powerdown\"}");
	for (i = 1; i < CONTROL_MAX_CLIENTS; i++)
		CHECK(strstr(ask(fds[i], ""), "\"POWERDOWN\"")); /* events go to all */
	close(fds[3]);
	settle();
	connect_qmp();
}

static void qmp_survives_deep_and_odd_json(void)
{
	static char deep[60100];
	int fd;

	start();
	fd = connect_qmp();
	strcpy(deep, "{\"a\":");
	memset(deep + 5, '[', 60000);
	strcpy(deep + 60005, "}");
	CHECK(strstr(ask(fd, deep), "Invalid JSON") && !gone);
	/* The name in the answer is cut at 64 bytes: here in the middle of a character. */
	memset(deep, 0, 200);
	strcpy(deep, "{\"execute\":\"");
	memset(deep + 12, 'a', 63);
	strcat(deep, "\303\244\"}");
	CHECK(strstr(ask(fd, deep), "CommandNotFound") && !gone);
	CHECK(strstr(ask(fd, "{\"execute\":\"x-hypergen-console-size\",\"arguments\":"
			     "{\"cols\":1e99,\"rows\":1}}"),
		     "integers"));
}

static void qmp_tells_of_names_that_are_not_utf8(void)
{
	static struct vm_config cfg = {.name = "na\377me", .cmdline = "a=\300"};
	int fd;

	open_vm(&cfg);
	fd = connect_qmp();
	CHECK(strstr(ask(fd, "{\"execute\":\"query-name\"}"), "\"na?me\""));
	CHECK(strstr(ask(fd, "{\"execute\":\"x-hypergen-info\"}"), "\"a=?\""));
}

static void a_failed_reset_is_an_error_and_no_reset(void)
{
	int fd;

	start(); /* there is no KVM to build the new machine with */
	fd = connect_qmp();
	ask(fd, "{\"execute\":\"system_reset\"}");
	CHECK(strstr(text, "{\"return\":{}}") && !strstr(text, "RESET"));
	CHECK(vm.request == REQUEST_ERROR && vm.loop.stop);
	CHECK(strstr(vm.fault.text, "KVM_CREATE_VM"));
	CHECK(strstr(ask(fd, "{\"execute\":\"query-status\"}"), "shutdown"));
	CHECK(!strstr(ask(fd, "{\"execute\":\"cont\"}"), "RESUME"));
}

/* --- event loop --- */

static atomic_bool hammering;
static atomic_uint blows;

/* A vCPU whose every access takes long, and which comes back at once. */
static void *hammer(void *unused)
{
	struct timespec now, end;

	(void)unused;
	while (atomic_load(&hammering)) {
		loop_lock(&vm.loop);
		clock_gettime(CLOCK_MONOTONIC, &end);
		end.tv_nsec += 300000;
		do {
			clock_gettime(CLOCK_MONOTONIC, &now);
		} while (now.tv_sec == end.tv_sec && now.tv_nsec < end.tv_nsec);
		pthread_mutex_unlock(&vm.lock);
		atomic_fetch_add(&blows, 1);
	}
	return NULL;
}

/* Guests that never leave their devices alone cannot keep the host's commands from being run. */
static void the_loop_gets_its_turn(void)
{
	pthread_t threads[3];
	unsigned int i;
	int fd;

	start();
	atomic_store(&hammering, true);
	for (i = 0; i < 3; i++)
		CHECK(pthread_create(&threads[i], NULL, hammer, NULL) == 0);
	while (atomic_load(&blows) < 10)
		sched_yield();
	alarm(30); /* its signal is the failure */
	fd = connect_qmp();
	for (i = 0; i < 100; i++)
		CHECK(strstr(ask(fd, "{\"execute\":\"query-status\"}"), "running"));
	atomic_store(&hammering, false);
	for (i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
}

static const struct unit_test tests[] = {
	TEST(console_replays_its_backlog),
	TEST(console_drops_a_slow_reader_alone),
	TEST(console_input_is_the_first_clients),
	TEST(console_is_looked_at_or_taken_over),
	TEST(console_input_waits_for_the_guest),
	TEST(console_heir_of_a_full_input_waits),
	TEST(console_takes_no_more_clients_than_it_has_room_for),
	TEST(console_log_is_bounded_and_without_gaps),
	TEST(console_log_says_when),
	TEST(console_bounds_the_work_of_one_kick),
	TEST(qmp_speaks_as_the_specification_says),
	TEST(qmp_bounds_what_a_client_can_make_it_keep),
	TEST(qmp_serves_many_clients_and_refuses_more),
	TEST(qmp_survives_deep_and_odd_json),
	TEST(qmp_tells_of_names_that_are_not_utf8),
	TEST(a_failed_reset_is_an_error_and_no_reset),
	TEST(the_loop_gets_its_turn),
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	int r = run_units(argc, argv, tests);

	remove_vm();
	return r;
}
