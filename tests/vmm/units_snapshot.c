// SPDX-License-Identifier: Apache-2.0
/* Snapshots without KVM: RAM and devices to a file and back. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "options/family.h"
#include "snapshot/ram.h"
#include "snapshot/snapshot.h"
#include "snapshot/state.h"
#include "snapshot/sum.h"
#include "units.h"
#include "vm_fixture.h"

static const uint8_t id[SNAP_ID] = "an id of 16 byte", other_id[SNAP_ID] = "another of 16 by";

static void sum_sees_every_bit_and_no_holes(void)
{
	static uint8_t pages[2 * SUM_PAGE] __attribute__((aligned(64)));
	uint64_t sum;
	size_t i;

	CHECK(sum_pages(pages, 5, 2) == 0 && sum_is_zero(pages));
	for (i = 0; i < sizeof(pages); i++)
		pages[i] = i * 7 ^ i >> 5;
	sum = sum_pages(pages, 5, 2);
	CHECK(!sum_is_zero(pages));
	CHECK(sum == sum_pages(pages, 5, 1) + sum_pages(pages + SUM_PAGE, 6, 1));
	CHECK(sum != sum_pages(pages, 6, 2)); /* the place counts */
	for (i = 0; i < 8 * sizeof(pages); i += 3) {
		pages[i / 8] ^= 1u << i % 8;
		CHECK(sum_pages(pages, 5, 2) != sum);
		pages[i / 8] ^= 1u << i % 8;
	}
	memset(pages, 0, sizeof(pages));
	pages[SUM_PAGE - 1] = 1;
	CHECK(!sum_is_zero(pages) && sum_is_zero(pages + SUM_PAGE));
}

static int temp_file(void)
{
	char path[] = "/tmp/units-snapshot-XXXXXX";
	int fd = mkstemp(path);

	CHECK(fd >= 0);
	unlink(path);
	return fd;
}

static struct snap_out state;
static int memory_file;

static void save_ram(const uint64_t *dirty, const uint8_t *base, const uint8_t *as)
{
	uint64_t written;

	memory_file = temp_file();
	snap_create(&state, as);
	CHECK(ram_write(&mem, dirty, base, memory_file, as, &state, &written, &err) == 0);
	CHECK(snap_finish(&state) == 0 && snap_check(state.data, state.len, &err) == 0);
}

static int load_ram(struct guest_memory *to)
{
	const struct ram_extent *extents;
	struct ram_state r;

	if (ram_parse(state.data, &r, &extents, &err) ||
	    ram_check_file(memory_file, state.data, &r, &err))
		return -1;
	return ram_load(to, memory_file, &r, extents, true, &err);
}

/* RAM of 16 MiB with something here and there. */
static void fill_ram(void)
{
	uint64_t at;

	setup(MIB(16));
	for (at = 0; at < MIB(16); at += 333333)
		CHECK(memory_write(&mem, at, "something", 10) == 0);
}

static struct guest_memory fresh(bool shared)
{
	struct memory_config c = {.size = MIB(16), .shared = shared};
	struct guest_memory m;

	CHECK(memory_create(&m, &c, &err) == 0);
	return m;
}

static void ram_comes_back_mapped_or_copied(void)
{
	struct guest_memory mapped, copied;
	struct stat st;

	fill_ram();
	save_ram(NULL, NULL, id);
	CHECK(fstat(memory_file, &st) == 0 && st.st_size == MIB(16) + 4096);
	CHECK((uint64_t)st.st_blocks * 512 < MIB(1)); /* zeros are holes */
	mapped = fresh(false);
	copied = fresh(true);
	CHECK(load_ram(&mapped) == 0 && mapped.over_file);
	CHECK(load_ram(&copied) == 0 && !copied.over_file);
	CHECK(!memcmp(mapped.base, mem.base, MIB(16)) && !memcmp(copied.base, mem.base, MIB(16)));
	/* What a clone writes is its own; what it gives back reads as zeros, as does a reset. */
	mapped.base[0] = 'S';
	CHECK(copied.base[0] == 's' && load_ram(&copied) == 0);
	CHECK(memory_discard(&mapped, mapped.base, 4096) == 0 && mapped.base[0] == 0);
	CHECK(memory_clear(&mapped) == 0 && sum_pages(mapped.base, 0, 4096) == 0);
}

static void ram_file_that_is_not_right_is_refused(void)
{
	struct guest_memory m;
	uint8_t byte;

	fill_ram();
	save_ram(NULL, NULL, id);
	m = fresh(false);
	CHECK(pread(memory_file, &byte, 1, 333333) == 1);
	byte ^= 0x10;
	CHECK(pwrite(memory_file, &byte, 1, 333333) == 1);
	CHECK(load_ram(&m) == -1 && strstr(err.text, "checksum"));
	byte ^= 0x10;
	CHECK(pwrite(memory_file, &byte, 1, 333333) == 1 && load_ram(&m) == 0);
	CHECK(pwrite(memory_file, "x", 1, 5 << 20) == 1); /* into a hole */
	CHECK(load_ram(&m) == -1);
	CHECK(ftruncate(memory_file, MIB(16) + 4095) == 0);
	CHECK(load_ram(&m) == -1 && strstr(err.text, "truncated"));
	save_ram(NULL, NULL, other_id);
	snap_discard(&state);
	close(memory_file);
	save_ram(NULL, NULL, id);
	CHECK(pwrite(memory_file, other_id, SNAP_ID, MIB(16) + 8) == SNAP_ID);
	CHECK(load_ram(&m) == -1 && strstr(err.text, "another snapshot"));
}

static void mark_is_of_one_unchanged_file(void)
{
	char dir[] = "/tmp/units-snapshot-XXXXXX";
	int where, mark, copy = temp_file();
	const struct timespec past[2] = {{1000, 0}, {1000, 0}};

	fill_ram();
	save_ram(NULL, NULL, id);
	CHECK(mkdtemp(dir) && (where = open(dir, O_RDONLY | O_DIRECTORY)) >= 0);
	CHECK(futimens(memory_file, past) == 0);
	CHECK(ram_write_mark(where, memory_file) == 0);
	mark = openat(where, "checked", O_RDWR);
	unlinkat(where, "checked", 0);
	rmdir(dir);
	CHECK(ram_is_marked(mark, memory_file));
	CHECK(ftruncate(copy, MIB(16) + 4096) == 0 && !ram_is_marked(mark, copy));
	CHECK(pwrite(memory_file, "x", 1, 0) == 1 && !ram_is_marked(mark, memory_file));
	CHECK(!ram_is_marked(copy, memory_file)); /* zeros are no mark */
}

static void increment_has_what_was_noted(void)
{
	struct guest_memory m;
	struct stat st;

	fill_ram();
	save_ram(NULL, NULL, id);
	m = fresh(false);
	CHECK(load_ram(&m) == 0);
	CHECK(memory_track(&mem, true) == 0);
	CHECK(memory_write(&mem, 0x5000, "new", 4) == 0);
	CHECK(memory_at(&mem, 0x7fff, 2)); /* two pages, as far as anyone knows */
	memset(memory_at(&mem, MIB(16) - 4096, 4096), 0, 4096);
	CHECK(memory_discard(&mem, mem.base, 4096) == 0); /* from something to zeros */
	CHECK(mem.dirty[0] == (1 << 0 | 1 << 5 | 1 << 7 | 1 << 8));
	CHECK(mem.dirty[63] == 1ull << 63);
	save_ram(mem.dirty, id, other_id);
	CHECK(fstat(memory_file, &st) == 0 && st.st_blocks * 512 <= 6 * 4096);
	CHECK(memcmp(m.base, mem.base, MIB(16)) && load_ram(&m) == 0);
	CHECK(!memcmp(m.base, mem.base, MIB(16)));
	memory_track(&mem, false);
	CHECK(!mem.dirty);
}

static void extents_that_lie_are_refused(void)
{
	static const struct ram_extent bad[][2] = {
		{{4096, 1}, {0, 0}},	   /* behind RAM */
		{{0, 4097}, {0, 0}},	   /* past its end */
		{{1, UINT64_MAX}, {0, 0}}, /* wraps */
		{{5, 5}, {9, 1}},	   /* overlap */
		{{5, 0}, {9, 1}},	   /* nothing */
	};
	const struct ram_extent *extents;
	struct ram_state r = {.size = MIB(16), .extents = 2};
	struct snap_out o;
	unsigned int i;

	memcpy(r.base, id, SNAP_ID);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snap_create(&o, other_id);
		snap_begin(&o, SNAP_MEMORY, 0);
		snap_put(&o, &r, sizeof(r));
		snap_put(&o, bad[i], sizeof(bad[i]));
		snap_end(&o);
		CHECK(snap_finish(&o) == 0);
		CHECK(ram_parse(o.data, &r, &extents, &err) == -1);
		snap_discard(&o);
	}
	r.extents = 1ull << 60;
	snap_create(&o, other_id);
	snap_begin(&o, SNAP_MEMORY, 0);
	snap_put(&o, &r, sizeof(r));
	snap_end(&o);
	CHECK(snap_finish(&o) == 0 && ram_parse(o.data, &r, &extents, &err) == -1);
}

static void devices_go_on_where_they_were(void)
{
	static struct vm_config cfg;
	struct snap_out o;
	struct virtio_dev *rng;
	const uint64_t features = 1ull << VIRTIO_RING_F_EVENT_IDX;

	open_vm(&cfg);
	rng = vm.devices[vm.ndevices - 1];
	CHECK(driver_start(rng, features, 16));
	set_desc(&vm.mem, 0, 3, 0x200000, 64, VRING_DESC_F_WRITE, 0);
	offer(&vm.mem, 0, 16, 3);
	reg_write(rng, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	CHECK(used_index(&vm.mem, 0) == 1);
	snap_create(&o, id);
	state_quiesce_devices(&vm);
	state_save_devices(&vm, &o);
	CHECK(snap_finish(&o) == 0);
	virtio_reset(rng);
	CHECK(state_load_devices(&vm, o.data, &err) == 0);
	CHECK(virtio_is_running(rng) && rng->queues[0].ready && rng->queues[0].event_idx);
	CHECK(rng->queues[0].next_avail == 1 && rng->queues[0].next_used == 1);
	offer(&vm.mem, 0, 16, 3);
	settle(); /* the kick that a load leaves behind */
	CHECK(used_index(&vm.mem, 0) == 2);
	remove_vm();
}

/* The section of the last device, in a sealed file with those of all. */
static struct transport_head {
	uint64_t driver_features;
	uint32_t id, sel[3], status;
} *last_device(struct snap_out *o)
{
	struct snap_in in;

	snap_create(o, id);
	state_save_devices(&vm, o);
	CHECK(snap_finish(o) == 0);
	CHECK(snap_find(o->data, SNAP_DEVICE, vm.ndevices - 1, &in));
	return (struct transport_head *)(void *)in.data;
}

static void devices_of_another_machine_are_refused(void)
{
	static struct vm_config cfg;
	struct virtio_dev *rng;
	struct snap_out o;

	open_vm(&cfg);
	rng = vm.devices[vm.ndevices - 1];
	CHECK(driver_start(rng, 0, 16));
	last_device(&o)->id ^= 1;
	CHECK(state_load_devices(&vm, o.data, &err) == -1 && strstr(err.text, "another kind"));
	last_device(&o)->driver_features |= 1ull << 50;
	CHECK(state_load_devices(&vm, o.data, &err) == -1 && strstr(err.text, "features"));
	CHECK(driver_start(rng, 0, 16));
	last_device(&o)->status = VIRTIO_CONFIG_S_DRIVER_OK;
	CHECK(state_load_devices(&vm, o.data, &err) == -1 && strstr(err.text, "impossible"));
	CHECK(driver_start(rng, 0, 16));
	/* A ring behind the end of RAM. */
	memset(last_device(&o) + 1, 0x7f, 40);
	CHECK(state_load_devices(&vm, o.data, &err) == -1);
	CHECK(driver_start(rng, 0, 16));
	last_device(&o);
	vm.ndevices--;
	CHECK(state_load_devices(&vm, o.data, &err) == -1 && strstr(err.text, "more devices"));
	vm.ndevices++;
	remove_vm();
}

/* Sends a request with n descriptors beside it; returns what came back. */
static const char *request(int fd, const char *text, const int *passed, unsigned int n)
{
	static char answer[4096];
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(8 * sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
		control.head = (struct cmsghdr){.cmsg_len = CMSG_LEN(n * sizeof(int)),
						.cmsg_level = SOL_SOCKET,
						.cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.head), passed, n * sizeof(int));
	}
	CHECK(sendmsg(fd, &msg, 0) == (ssize_t)iov.iov_len);
	settle();
	answer[take_all(fd, answer, sizeof(answer) - 1, NULL)] = '\0';
	return answer;
}

static unsigned int open_descriptors(void)
{
	unsigned int n = 0;
	int fd;

	for (fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void descriptors_come_with_requests(void)
{
	static struct vm_config cfg;
	const int passed[8] = {0, 0, 0, 0, 0, 0, 0, 0};
	unsigned int before, i;
	int fd;

	open_vm(&cfg);
	fd = connect_to(cfg.control);
	request(fd, "{\"execute\":\"qmp_capabilities\"}", NULL, 0);
	before = open_descriptors();
	CHECK(strstr(
		request(fd, "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"a\"}}", NULL, 0),
		"error"));
	CHECK(strstr(
		request(fd, "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"a\"}}", passed, 1),
		"return"));
	CHECK(open_descriptors() == before + 1);
	CHECK(strstr(
		request(fd, "{\"execute\":\"closefd\",\"arguments\":{\"fdname\":\"a\"}}", NULL, 0),
		"return"));
	CHECK(open_descriptors() == before);
	/* However many are sent, few are kept, and none of a client that has gone. */
	for (i = 0; i < 40; i++)
		request(fd, "{\"execute\":\"query-status\"}", passed, 8);
	CHECK(open_descriptors() <= before + CONTROL_MAX_FDS);
	CHECK(strstr(request(fd, "{\"execute\":\"x-hypergen-snapshot-save\"}", NULL, 0), "error"));
	close(fd);
	settle();
	CHECK(open_descriptors() == before - 2);
	remove_vm();
}

static void only_what_opens_nothing_travels(void)
{
	static const char *const stay[] = {"kernel",	  "initrd",  "disk",	  "net",
					   "run-dir",	  "control", "console",	  "restore",
					   "console-log", "log",     "daemonize", "no-sandbox",
					   "gdb",	  "share",   NULL};
	unsigned int i;

	CHECK(option_travels("cpus") && option_travels("cmdline"));
	for (i = 0; stay[i]; i++)
		CHECK(!option_travels(stay[i]));
}

static const struct unit_test tests[] = {
	TEST(sum_sees_every_bit_and_no_holes),
	TEST(ram_comes_back_mapped_or_copied),
	TEST(ram_file_that_is_not_right_is_refused),
	TEST(mark_is_of_one_unchanged_file),
	TEST(increment_has_what_was_noted),
	TEST(extents_that_lie_are_refused),
	TEST(devices_go_on_where_they_were),
	TEST(devices_of_another_machine_are_refused),
	TEST(descriptors_come_with_requests),
	TEST(only_what_opens_nothing_travels),
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return run_units(argc, argv, tests);
}
