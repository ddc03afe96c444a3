// SPDX-License-Identifier: Apache-2.0
/* Unit tests of kernel loading, ACPI, address decoding and options. */
#include <asm/bootparam.h>
#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>

#include "acpi.h"
#include "boot/boot.h"
#include "bus.h"
#include "layout.h"
#include "mptable.h"
#include "options.h"
#include "serial8250.h"
#include "units.h"

static void memfile(const void *data, size_t len, struct boot_file *f)
{
	f->fd = memfd_create("test", MFD_CLOEXEC);
	CHECK(f->fd >= 0 && write(f->fd, data, len) == (ssize_t)len);
	f->size = len;
	f->path = "test-kernel";
}

/* --- boot files --- */

struct elf_file {
	Elf64_Ehdr h;
	Elf64_Phdr ph[2];
	struct {
		Elf64_Nhdr n;
		char name[4];
		uint64_t entry;
		Elf64_Nhdr second;
		char second_name[8];
	} __attribute__((packed)) note;
	uint8_t code[64];
};

static struct elf_file good_elf(void)
{
	struct elf_file f = {0};

	memcpy(f.h.e_ident, "\177ELF\2\1\1", 7);
	f.h.e_type = ET_EXEC;
	f.h.e_machine = EM_X86_64;
	f.h.e_entry = 0x1000000;
	f.h.e_phoff = offsetof(struct elf_file, ph);
	f.h.e_phentsize = sizeof(Elf64_Phdr);
	f.h.e_phnum = 2;
	f.ph[0] = (Elf64_Phdr){.p_type = PT_LOAD,
			       .p_offset = offsetof(struct elf_file, code),
			       .p_vaddr = 0xffffffff81000000,
			       .p_paddr = 0x1000000,
			       .p_filesz = 64,
			       .p_memsz = 4096};
	f.ph[1] = (Elf64_Phdr){.p_type = PT_NOTE,
			       .p_offset = offsetof(struct elf_file, note),
			       .p_filesz = sizeof(f.note)};
	f.note.n = (Elf64_Nhdr){.n_namesz = 4, .n_descsz = 8, .n_type = 18};
	memcpy(f.note.name, "Xen", 4);
	f.note.entry = 0x1000020;
	f.note.second = (Elf64_Nhdr){.n_namesz = 6, .n_type = 0x101};
	memcpy(f.note.second_name, "Other", 6);
	memset(f.code, 0x90, sizeof(f.code));
	return f;
}

/* The loader's verdict; the message is in err. */
static int try_elf(const struct elf_file *f, size_t len, struct boot_entry *entry)
{
	struct boot_source src = {.initrd.fd = -1, .cmdline = "console=hvc0"};
	int r;

	memfile(f, len, &src.kernel);
	r = boot_load(&src, &mem, entry, &err);
	close(src.kernel.fd);
	return r;
}

static void elf_is_entered_by_note_or_header(void)
{
	struct elf_file f = good_elf();
	struct boot_entry entry;
	struct boot_params *bp;

	setup(MIB(32));
	CHECK(try_elf(&f, sizeof(f), &entry) == 0);
	CHECK(entry.method == BOOT_PVH && entry.rip == 0x1000020);
	CHECK(!memcmp(memory_at(&mem, 0x1000000, 64), f.code, 64));
	CHECK(*(uint32_t *)memory_at(&mem, START_INFO_GPA, 4) == 0x336ec578);
	/* Linux says what it is, and is then entered where it costs less. */
	memcpy(f.note.second_name, "Linux", 6);
	CHECK(try_elf(&f, sizeof(f), &entry) == 0);
	CHECK(entry.method == BOOT_LINUX64 && entry.rip == 0x1000000);
	f.h.e_phnum = 1;
	f.h.e_entry = 0xffffffff81000010;
	CHECK(try_elf(&f, sizeof(f), &entry) == 0);
	CHECK(entry.method == BOOT_LINUX64 && entry.rip == 0x1000010);
	bp = memory_at(&mem, ZERO_PAGE_GPA, sizeof(*bp));
	CHECK(bp->hdr.header == 0x53726448 && bp->hdr.cmd_line_ptr == CMDLINE_GPA);
	CHECK(bp->acpi_rsdp_addr == ACPI_GPA && bp->e820_entries == 3);
	CHECK(bp->e820_table[2].addr == MIB(1) && bp->e820_table[2].size == MIB(31));
}

static void elf_damage_is_named(void)
{
	struct elf_file f;
	struct boot_entry entry;

	setup(MIB(32));
#define BAD_ELF(change, message)                                                                   \
	do {                                                                                       \
		f = good_elf();                                                                    \
		change;                                                                            \
		CHECK(try_elf(&f, sizeof(f), &entry) == -1 && err.code == ERROR_USER);             \
		CHECK(strstr(err.text, message) && !strchr(err.text, '\n'));                       \
	} while (0)
	BAD_ELF(f.h.e_ident[4] = 1, "not 64-bit");
	BAD_ELF(f.h.e_machine = EM_AARCH64, "not for x86-64");
	BAD_ELF(f.h.e_type = ET_REL, "not an executable");
	BAD_ELF(f.h.e_phnum = 0xffff, "program headers");
	BAD_ELF(f.h.e_phoff = UINT64_MAX - 8, "cut off");
	BAD_ELF(f.ph[0].p_filesz = 5000, "larger in the file");
	BAD_ELF(f.ph[0].p_offset = UINT64_MAX, "past the end of the file");
	BAD_ELF(f.ph[0].p_paddr = 0x1000, "below 1 MiB");
	BAD_ELF(f.ph[0].p_paddr = UINT64_MAX - 100, "wraps");
	BAD_ELF(f.ph[0].p_memsz = MIB(100), "more --memory");
	BAD_ELF(f.ph[0].p_type = PT_NULL, "nothing to load");
	BAD_ELF(f.note.entry = 0xfffffff0, "entry point");
	BAD_ELF(f.ph[1].p_offset = 1 << 20, "note segment");
	f = good_elf();
	CHECK(try_elf(&f, 40, &entry) == -1 && strstr(err.text, "cut off"));
	CHECK(try_elf(&f, 2, &entry) == -1 && strstr(err.text, "too short"));
}

static void bzimage_is_checked_and_placed(void)
{
	static uint8_t file[8192];
	struct setup_header *h = (struct setup_header *)(file + 0x1f1);
	struct boot_source src = {.initrd.fd = -1, .cmdline = ""};
	struct boot_entry entry;

	setup(MIB(64));
	*h = (struct setup_header){.setup_sects = 1,
				   .syssize = (8192 - 1024) / 16,
				   .boot_flag = 0xaa55,
				   .header = 0x53726448,
				   .version = 0x20f,
				   .jump = 0x6aeb,
				   .loadflags = LOADED_HIGH,
				   .xloadflags = XLF_KERNEL_64,
				   .pref_address = 0x1000000,
				   .init_size = MIB(16),
				   .initrd_addr_max = 0x7fffffff,
				   .cmdline_size = 2047};
	file[1024 + 0x200] = 0xfa;
	memfile(file, sizeof(file), &src.kernel);
	CHECK(boot_load(&src, &mem, &entry, &err) == 0 && entry.rip == 0x1000200);
	CHECK(*(uint8_t *)memory_at(&mem, entry.rip, 1) == 0xfa);
	src.kernel.size = 4096;
	CHECK(boot_load(&src, &mem, &entry, &err) && strstr(err.text, "cut off"));
	h->init_size = 0xffffffff;
	memfile(file, sizeof(file), &src.kernel);
	CHECK(boot_load(&src, &mem, &entry, &err) && strstr(err.text, "more --memory"));
	h->pref_address = UINT64_MAX - 4096;
	memfile(file, sizeof(file), &src.kernel);
	CHECK(boot_load(&src, &mem, &entry, &err) && strstr(err.text, "out of range"));
	h->xloadflags = 0;
	memfile(file, sizeof(file), &src.kernel);
	CHECK(boot_load(&src, &mem, &entry, &err) && strstr(err.text, "64-bit entry"));
	h->header = 0;
	memfile(file, sizeof(file), &src.kernel);
	CHECK(boot_load(&src, &mem, &entry, &err) && strstr(err.text, "neither ELF nor bzImage"));
}

static void random_damage_never_harms_the_loader(void)
{
	uint64_t state = 12345;
	struct elf_file f;
	struct boot_entry entry;
	unsigned int i, n;

	setup(MIB(32));
	for (i = 0; i < 20000; i++) {
		f = good_elf();
		for (n = 0; n < 1 + i % 8; n++) {
			state = state * 6364136223846793005ull + 1442695040888963407ull;
			((uint8_t *)&f)[(state >> 33) % sizeof(f)] = state >> 25;
		}
		if (try_elf(&f, sizeof(f) - i % 50, &entry))
			CHECK(err.text[0] && !strchr(err.text, '\n'));
	}
}

/* --- ACPI, bus, serial --- */

static uint8_t sum(const uint8_t *p, size_t n)
{
	uint8_t s = 0;

	while (n--)
		s += *p++;
	return s;
}

static void mp_table_names_cpus_and_pins(void)
{
	struct cpu_topology topology = {.sockets = 1, .cores = 3, .threads = 2};
	const uint8_t *p, *t;
	unsigned int i, sum = 0;

	setup(MIB(32));
	CHECK(mptable_build(&mem, &topology) == 0);
	p = memory_at(&mem, 639 << 10, 16 + 44 + 6 * 20 + 8 + 8 + GSI_COUNT * 8);
	CHECK(!memcmp(p, "_MP_", 4) && p[8] == 1 && p[9] == 4);
	for (i = 0; i < 16; i++)
		sum += p[i];
	t = memory_at(&mem, *(const uint32_t *)(p + 4), 4096);
	CHECK(t == p + 16 && !memcmp(t, "PCMP", 4));
	for (i = 0; i < *(const uint16_t *)(t + 4); i++)
		sum += t[i];
	CHECK((sum & 0xff) == 0);
	CHECK(*(const uint16_t *)(t + 34) == 6 + 1 + 1 + GSI_COUNT);
	t += 44;
	CHECK(t[0] == 0 && t[1] == 0 && t[3] == 3); /* the boot processor */
	CHECK(t[5 * 20] == 0 && t[5 * 20 + 1] == 5 && t[5 * 20 + 3] == 1);
	t += 6 * 20;
	CHECK(t[0] == 1 && !memcmp(t + 2, "ISA   ", 6) && t[8] == 2);
	t += 16 + (GSI_COUNT - 1) * 8;
	CHECK(t[0] == 3 && t[5] == GSI_COUNT - 1 && t[7] == GSI_COUNT - 1);
	memory_destroy(&mem);
	CHECK(mptable_build(&mem, &topology) == -1);
}

static void acpi_tables_are_linked_and_summed(void)
{
	struct acpi_machine machine = {
		.topology = {2, 3, 2}, .nvirtio = MAX_VIRTIO, .serial = true};
	const uint8_t *rsdp, *xsdt, *t;
	uint64_t gpa;
	uint32_t len, i;

	setup(MIB(16));
	CHECK(acpi_build(&mem, &machine) == 0);
	rsdp = memory_at(&mem, ACPI_GPA, 36);
	CHECK(!memcmp(rsdp, "RSD PTR ", 8) && !sum(rsdp, 20) && !sum(rsdp, 36));
	memcpy(&gpa, rsdp + 24, 8);
	xsdt = memory_at(&mem, gpa, 36 + 16);
	CHECK(!memcmp(xsdt, "XSDT", 4) && !sum(xsdt, 36 + 16));
	for (i = 0; i < 2; i++) {
		memcpy(&gpa, xsdt + 36 + 8 * i, 8);
		t = memory_at(&mem, gpa, 36);
		memcpy(&len, t + 4, 4);
		CHECK(!memcmp(t, i ? "APIC" : "FACP", 4) && !sum(memory_at(&mem, gpa, len), len));
		if (i)
			CHECK(len == 44 + 12 + 12 * 8 && t[56 + 7 * 8 + 3] == 9);
		else
			memcpy(&gpa, t + 140, 8);
		if (!i) {
			memcpy(&len, (uint8_t *)memory_at(&mem, gpa, 36) + 4, 4);
			t = memory_at(&mem, gpa, len);
			CHECK(!memcmp(t, "DSDT", 4) && !sum(t, len));
		}
	}
}

static void bus_finds_only_whole_accesses(void)
{
	struct bus b = {0};

	bus_claim(&b, 0x3f8, 8, serial_access, NULL, false);
	CHECK(bus_find(&b, 0x3f8, 1) && bus_find(&b, 0x3ff, 1) && !bus_find(&b, 0x3ff, 2));
	CHECK(!bus_find(&b, 0x3f7, 1) && !bus_find(&b, 0x400, 1) && !bus_find(&b, 0, 4));
	CHECK(serial_named_in("console=ttyS0") && !serial_named_in("console=hvc0"));
}

static void options_understand_disks_and_nets(void)
{
	char disk[] = "/a,,b c.img,readonly", net[] = "tap=hg1,bridge=br0,mac=52:54:00:12:34:56";
	char memory[] = "2G", cpus[] = "16";
	char *argv[] = {"hg-vmm", "--kernel", "k",    "--disk", disk, "--net",
			net,	  "--memory", memory, "--cpus", cpus, NULL};
	struct vm_config cfg;

	CHECK(options_parse(11, argv, &cfg, &err) == OPTIONS_RUN);
	CHECK(!strcmp(cfg.disks[0].path, "/a,b c.img") && cfg.disks[0].read_only);
	CHECK(!strcmp(cfg.nets[0].tap, "hg1") && !strcmp(cfg.nets[0].bridge, "br0"));
	CHECK(cfg.nets[0].mac[5] == 0x56 && cfg.memory.size == 2ull << 30 && cfg.cpus == 16);
}

static void options_know_sizes_and_defaults(void)
{
	static const struct {
		const char *text;
		uint64_t bytes; /* 0: refused */
	} sizes[] = {
		{"512", 512ull << 20},
		{"16384K", 16 << 20},
		{"16385k", (16 << 20)},
		{"1024G", 1ull << 40},
		{"1025G", 0},
		{"15M", 0},
		{"18014398509481984K", 0}, /* 2^64 bytes */
		{"0x100", 0},
		{"1e3", 0},
		{"", 0},
		{" 512", 0},
		{"512MB", 0},
	};
	char *argv[] = {"hg-vmm", "--kernel", "k", "--memory", NULL, NULL};
	struct vm_config cfg;
	unsigned int i;

	CHECK(options_parse(3, argv, &cfg, &err) == OPTIONS_RUN);
	CHECK(cfg.cpus == 1 && cfg.memory.size == 512ull << 20 && cfg.sandbox &&
	      !cfg.memory.small_pages);
	CHECK(!cfg.daemonize && !cfg.serial && !cfg.ndisks && !cfg.nnets && !cfg.control);
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		argv[4] = strdup(sizes[i].text);
		CHECK((options_parse(5, argv, &cfg, &err) == OPTIONS_RUN) == !!sizes[i].bytes);
		CHECK(!sizes[i].bytes || cfg.memory.size == sizes[i].bytes);
	}
}

static const struct unit_test tests[] = {
	TEST(elf_is_entered_by_note_or_header),	 TEST(elf_damage_is_named),
	TEST(bzimage_is_checked_and_placed),	 TEST(random_damage_never_harms_the_loader),
	TEST(acpi_tables_are_linked_and_summed), TEST(mp_table_names_cpus_and_pins),
	TEST(bus_finds_only_whole_accesses),	 TEST(options_know_sizes_and_defaults),
	TEST(options_understand_disks_and_nets), {NULL, NULL},
};

int main(int argc, char **argv)
{
	return run_units(argc, argv, tests);
}
