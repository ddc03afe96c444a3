// SPDX-License-Identifier: Apache-2.0
/*
 * Fuzzes the loader of snapshots, without KVM: the input changes bytes of a good state file, which
 * then gets a right checksum again, as a forger would see to.  What is accepted has to work.
 */
#include "fuzz.h"
#include "snapshot/ram.h"
#include "snapshot/state.h"
#include "snapshot/sum.h"
#include "snapshot_fixture.h"
#include "vm_fixture.h"

/* What is opened lives as long as the process: nothing of it is a leak. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}

static struct snap_out good;
static struct cpuid_table host = {.head.nent = 2, .entries = {{.function = 0}, {.function = 1}}};

static void put_section(enum snap_kind kind, uint32_t instance, const void *data, size_t len)
{
	snap_begin(&good, kind, instance);
	snap_put(&good, data, len);
	snap_end(&good);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static struct vm_config cfg = {.balloon.wanted = true};
	static const struct ram_extent extents[] = {{1, 2}, {9, 7}};
	struct ram_state r = {.size = 16 << 20, .base = "a base", .extents = 2};
	unsigned int i;

	(void)argc, (void)argv;
	open_vm(&cfg);
	remove_vm();
	for (i = 0; i < vm.ndevices; i++)
		CHECK(driver_start(vm.devices[i], vm.devices[i]->features, 16));
	snap_create(&good, (const uint8_t *)"sixteen bytes...");
	put_section(SNAP_OPTIONS, 0, "cpus\0001\0cmdline\0quiet", 21);
	snap_begin(&good, SNAP_MEMORY, 0);
	snap_put(&good, &r, sizeof(r));
	snap_put(&good, extents, sizeof(extents));
	snap_end(&good);
	put_section(SNAP_CPUID, 0, host.entries, 2 * sizeof(host.entries[0]));
	state_save_devices(&vm, &good);
	CHECK(snap_finish(&good) == 0);
	return 0;
}

/* Changes bytes, a word at a time or to what numbers go wrong at. */
static void change(struct script *s, uint8_t *file, size_t len)
{
	static const uint64_t odd[] = {0, 1, 0x7fffffff, 0xffffffff, UINT64_MAX, 1ull << 63};
	size_t at = take(s, 2) % len, n = 1u << take(s, 1) % 4;
	uint64_t value = take(s, 1);

	value = value & 1 ? odd[value / 2 % 6] : take(s, 8);
	memcpy(file + at, &value, n < len - at ? n : len - at);
}

static void use(uint8_t *file)
{
	struct vcpu v = {.vm = &vm, .fd = -1};
	const struct ram_extent *extents;
	struct ram_state r;
	struct error e;
	unsigned int i;

	if (!ram_parse(file, &r, &extents, &e))
		for (i = 0; i < r.extents; i++)
			CHECK(extents[i].first + extents[i].count <= r.size / 4096);
	state_load_cpuid(&v, file, &host, &e);
	state_load_vcpu(&v, file, &e);
	state_load_machine(&vm, file, &e);
	if (!state_load_devices(&vm, file, &e)) {
		for (i = 0; i < vm.ndevices; i++)
			virtio_kick(vm.devices[i]);
		settle();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script s = {.data = data, .len = size};
	size_t len = good.len, cut = take(&s, 1);
	unsigned int i;
	uint8_t *file;
	struct error e;

	if (cut < 20)
		len -= take(&s, 2) % len;
	if (len < sizeof(struct snap_header))
		len = sizeof(struct snap_header);
	file = malloc(len);
	CHECK(file);
	memcpy(file, good.data, len);
	for (i = 0; i < 8 && s.at < s.len; i++)
		change(&s, file, len);
	reseal(file, len);
	if (!snap_check(file, len, &e))
		use(file);
	free(file);
	for (i = 0; i < vm.ndevices; i++)
		virtio_reset(vm.devices[i]);
	memset(memory_at(&vm.mem, RING_GPA(0), 0x60000), 0, 0x60000);
	return 0;
}
