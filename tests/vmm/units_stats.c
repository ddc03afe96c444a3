// SPDX-License-Identifier: Apache-2.0
/* Unit tests of what is counted and logged, as QMP tells it; without KVM. */
#include "units.h"

#include <sys/stat.h>
#include <time.h>

#include "kvm_stats.h"
#include "vm_fixture.h"

static char text[1 << 20];
static bool gone;
static int qmp;

static json_t *ask(const char *request)
{
	json_t *answer, *value;
	size_t n;

	CHECK(send(qmp, request, strlen(request), MSG_NOSIGNAL) == (ssize_t)strlen(request));
	settle();
	n = take_all(qmp, text, sizeof(text) - 1, &gone);
	text[n] = '\0';
	answer = json_loads(text, JSON_DISABLE_EOF_CHECK, NULL);
	CHECK(answer);
	value = json_object_get(answer, "return");
	return value ? value : json_object_get(json_object_get(answer, "error"), "desc");
}

static void start(void)
{
	static struct vm_config cfg = {.topology = {.sockets = 1, .cores = 1, .threads = 2}};

	open_vm(&cfg);
	qmp = connect_to(cfg.control);
	take_all(qmp, text, sizeof(text), &gone); /* the greeting */
	ask("{\"execute\":\"qmp_capabilities\"}");
}

static json_int_t number(const json_t *object, const char *key)
{
	CHECK(json_is_integer(json_object_get(object, key)));
	return json_integer_value(json_object_get(object, key));
}

static json_t *console_stats(void)
{
	json_t *devices = json_object_get(ask("{\"execute\":\"x-hypergen-stats\"}"), "devices");
	json_t *first = json_array_get(devices, 0);

	CHECK(!strcmp(json_string_value(json_object_get(first, "type")), "console"));
	return first;
}

static void devices_count_what_goes_through_them(void)
{
	const struct timespec flush = {.tv_nsec = 20000000};
	unsigned int i;
	json_t *s;

	start();
	CHECK(number(console_stats(), "requests") == 0);
	CHECK(driver_start(vm.vcon, 0, 64));
	for (i = 0; i < 3; i++) {
		set_desc(&vm.mem, 1, i, 0x200000, 100, 0, 0);
		offer(&vm.mem, 1, 64, i);
	}
	reg_write(vm.vcon, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
	nanosleep(&flush, NULL); /* its interrupts come together with the output's */
	settle();
	s = console_stats();
	CHECK(number(s, "requests") == 3 && number(s, "read-bytes") == 300);
	CHECK(number(s, "kicks") >= 1 && number(s, "interrupts") >= 1);
	CHECK(number(s, "errors") == 0 && json_is_true(json_object_get(s, "running")));
	offer(&vm.mem, 1, 64, 99); /* no such descriptor */
	reg_write(vm.vcon, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
	settle();
	CHECK(number(console_stats(), "errors") == 1);
	reg_write(vm.vcon, VIRTIO_MMIO_STATUS, 0); /* what was counted stays */
	s = console_stats();
	CHECK(number(s, "requests") == 3 && json_is_false(json_object_get(s, "running")));
}

static void exits_have_names(void)
{
	json_t *stats, *second;

	start();
	vm.vcpus[0].exits[2] = 5;
	vm.vcpus[1].exits[2] = 2;
	vm.vcpus[1].exits[63] = 1;
	stats = ask("{\"execute\":\"x-hypergen-stats\"}");
	CHECK(number(json_object_get(stats, "exits"), "io") == 7);
	CHECK(number(json_object_get(stats, "exits"), "exit-63") == 1);
	second = json_array_get(json_object_get(stats, "vcpus"), 1);
	CHECK(number(json_object_get(second, "exits"), "io") == 2);
}

static void vcpus_have_places_in_the_topology(void)
{
	json_t *second, *props;

	start();
	vm.vcpus[1].tid = 4711;
	second = json_array_get(ask("{\"execute\":\"query-cpus-fast\"}"), 1);
	props = json_object_get(second, "props");
	CHECK(number(second, "thread-id") == 4711 && number(props, "thread-id") == 1);
	CHECK(number(props, "core-id") == 0 && number(props, "socket-id") == 0);
	CHECK(!strcmp(json_string_value(json_object_get(second, "qom-path")),
		      "/machine/unattached/device[1]"));
}

/* There is no KVM here, and so no statistic; what is asked is checked all the same. */
static void kvms_statistics_are_asked_for_as_qemus(void)
{
	static const char *const bad[] = {
		"{\"execute\":\"query-stats\"}",
		"{\"execute\":\"query-stats\",\"arguments\":{\"target\":\"cryptodev\"}}",
		"{\"execute\":\"query-stats\",\"arguments\":{\"target\":3}}",
		"{\"execute\":\"query-stats-schemas\",\"arguments\":{\"provider\":\"x\"}}",
	};
	unsigned int i;

	start();
	for (i = 0; i < 4; i++)
		CHECK(strstr(json_string_value(ask(bad[i])), "accepts"));
	vm.vm_fd = vm.vcpus[0].fd = vm.vcpus[1].fd = -1;
	CHECK(json_array_size(ask("{\"execute\":\"query-stats\",\"arguments\":{\"target\":\"vcpu\","
				  "\"vcpus\":[1,\"x\"],\"providers\":[{\"provider\":\"kvm\","
				  "\"names\":[{}]},7]}}")) == 0);
	CHECK(json_array_size(ask("{\"execute\":\"query-stats-schemas\"}")) == 2);
	kvm_stats_close(&vm);
}

static off_t log_size(void)
{
	struct stat st;

	CHECK(stat(in_folder("log"), &st) == 0);
	return st.st_size;
}

static void the_log_writes_what_its_level_says(void)
{
	off_t size;

	start();
	CHECK(log_open(in_folder("log")) == 0);
	log_debug("nothing of this");
	log_guest_debug("nor of this");
	CHECK(log_size() == 0);
	ask("{\"execute\":\"x-hypergen-log-level\",\"arguments\":{\"level\":\"debug\"}}");
	CHECK(strstr(text, "\"debug\""));
	log_debug("this");
	size = log_size();
	CHECK(size);
	ask("{\"execute\":\"x-hypergen-log-level\",\"arguments\":{\"level\":\"error\"}}");
	size = log_size();
	log_line("not this");
	log_guest("nor this");
	CHECK(log_size() == size && log_dropped() == 0);
	log_error("this");
	CHECK(log_size() > size);
	CHECK(!strcmp(log_level_name(), "error"));
	ask("{\"execute\":\"x-hypergen-log-level\",\"arguments\":{\"level\":\"loud\"}}");
	CHECK(strstr(text, "error, warning, info, debug") && log_set_level("") == -1);
	unlink(in_folder("log"));
}

static void a_guest_can_write_only_so_many_lines(void)
{
	unsigned int i;
	off_t size;

	start();
	CHECK(log_open(in_folder("log")) == 0);
	for (i = 0; i < LOG_GUEST_MAX; i++)
		log_guest("line %u", i);
	CHECK(log_dropped() == 0);
	log_guest("one more");
	size = log_size();
	for (i = 0; i < 1000; i++)
		log_guest("line %u", i);
	CHECK(log_size() == size && log_dropped() == 1001);
	log_line("the host's lines go on");
	CHECK(log_size() > size);
	unlink(in_folder("log"));
}

static const struct unit_test tests[] = {
	TEST(devices_count_what_goes_through_them),
	TEST(exits_have_names),
	TEST(vcpus_have_places_in_the_topology),
	TEST(kvms_statistics_are_asked_for_as_qemus),
	TEST(the_log_writes_what_its_level_says),
	TEST(a_guest_can_write_only_so_many_lines),
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	int r = run_units(argc, argv, tests);

	remove_vm();
	return r;
}
