// SPDX-License-Identifier: Apache-2.0
/*
 * Fuzzes everything that answers a guest's I/O: reads and writes of all widths, anywhere on
 * both buses, that straddle registers, devices and the ends of windows, as vcpu.c makes them.
 */
#include "fuzz.h"
#include "layout.h"
#include "vm_fixture.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static struct vm_config cfg = {.cmdline = "console=ttyS0", .balloon = {.wanted = true}};
	static char disk[] = "/tmp/fuzz-bus-XXXXXX";
	int fd = mkstemp(disk);

	(void)argc, (void)argv;
	CHECK(fd >= 0 && ftruncate(fd, 1 << 20) == 0);
	close(fd);
	cfg.disks[0].path = disk;
	cfg.ndisks = 1;
	open_vm(&cfg);
	unlink(disk);
	atexit(remove_vm);
	return 0;
}

static void access_bus(struct vm *v, const struct bus *bus, uint64_t addr, bool write,
		       uint8_t *data, unsigned int len)
{
	const struct bus_range *r = bus_find(bus, addr, len);

	if (!r)
		return;
	CHECK(addr >= r->start && len <= r->len && addr - r->start <= r->len - len);
	if (!r->unlocked)
		pthread_mutex_lock(&v->lock);
	r->fn(r->opaque, addr - r->start, write, data, len);
	if (!r->unlocked)
		pthread_mutex_unlock(&v->lock);
}

static uint64_t some_port(struct script *s)
{
	const struct bus_range *r = &vm.ports.ranges[take(s, 1) % vm.ports.count];

	if (take(s, 1) < 20)
		return take(s, 2);
	return (r->start + take(s, 1) % (r->len + 4) - 2) & 0xffff;
}

static uint64_t some_gpa(struct script *s)
{
	const struct bus_range *r = &vm.mmio.ranges[take(s, 1) % vm.mmio.count];
	uint64_t kind = take(s, 1);

	if (kind < 20)
		return take(s, 8);
	if (kind < 60)
		return r->start + r->len - take(s, 1) % 16;
	return r->start + (kind < 160 ? take(s, 1) : take(s, 2) % r->len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script s = {.data = data, .len = size};
	uint8_t value[16];
	unsigned int len, i;
	uint64_t addr;
	bool write, io;

	while (s.at < s.len) {
		io = take(&s, 1) < 80;
		len = 1u << take(&s, 1) % (io ? 3 : 4);
		write = take(&s, 1) & 1;
		addr = io ? some_port(&s) : some_gpa(&s);
		memset(value, 0xa5, sizeof(value));
		for (i = 0; write && i < len; i++)
			value[i] = take(&s, 1);
		access_bus(&vm, io ? &vm.ports : &vm.mmio, addr, write, value, len);
		for (i = len; i < sizeof(value); i++)
			CHECK(value[i] == 0xa5); /* nothing behind what was asked for */
		/* What asked the VM to end or reset ends this piece of the script only. */
		vm.request = REQUEST_NONE;
		vm.state = VM_RUNNING;
		vm.loop.stop = false;
	}
	atomic_store(&vm.hold, false);
	for (i = 0; i < vm.ndevices; i++)
		reg_write(vm.devices[i], VIRTIO_MMIO_STATUS, 0);
	settle();
	vm.request = REQUEST_NONE;
	vm.state = VM_RUNNING;
	vm.loop.stop = false;
	return 0;
}
