// SPDX-License-Identifier: Apache-2.0
/* Unit tests of kernel loading: what each format becomes, and that damage harms nobody. */
#include <asm/bootparam.h>
#include <elf.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include "boot/boot.h"
#include "layout.h"
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
	struct boot_source src = {.initrd.fd = -1, .cmdline = "console=hvc0", .rsdp = ACPI_GPA};
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
	BAD_ELF(f.h.e_ident[4] = 3, "not 32 or 64-bit");
	BAD_ELF(f.h.e_ident[4] = 1, "not for x86");
	BAD_ELF(f.h.e_machine = EM_AARCH64, "not for x86");
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

static struct setup_header *good_bzimage(uint8_t file[8192])
{
	struct setup_header *h = (struct setup_header *)(file + 0x1f1);

	memset(file, 0, 8192);
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
	return h;
}

static void bzimage_is_checked_and_placed(void)
{
	static uint8_t file[8192];
	struct setup_header *h = good_bzimage(file);
	struct boot_source src = {.initrd.fd = -1, .cmdline = ""};
	struct boot_entry entry;

	setup(MIB(64));
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

static const char *cmdline_of(struct boot_source *src)
{
	struct boot_entry entry;

	CHECK(boot_load(src, &mem, &entry, &err) == 0);
	return memory_at(&mem, CMDLINE_GPA, 2048);
}

static void linux_does_not_watch_a_tsc_that_it_does_not_use(void)
{
	static uint8_t file[8192];
	struct boot_source src = {.initrd.fd = -1, .cmdline = "quiet -- a"};
	struct elf_file other = good_elf();
	char longest[2048];

	setup(MIB(64));
	good_bzimage(file);
	memfile(file, sizeof(file), &src.kernel);
	CHECK(!strcmp(cmdline_of(&src), "tsc=nowatchdog quiet -- a"));
	src.tsc_invariant = true;
	CHECK(!strcmp(cmdline_of(&src), "quiet -- a"));
	src.tsc_invariant = false;
	src.cmdline = "tsc=unstable";
	CHECK(!strcmp(cmdline_of(&src), "tsc=unstable"));
	/* What the user says goes first where there is no room for both. */
	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	src.cmdline = longest;
	CHECK(!strcmp(cmdline_of(&src), longest));
	close(src.kernel.fd);
	/* Other systems are told nothing. */
	src.cmdline = "quiet";
	memfile(&other, sizeof(other), &src.kernel);
	CHECK(!strcmp(cmdline_of(&src), "quiet"));
	close(src.kernel.fd);
}

/* --- multiboot --- */

struct multiboot_file {
	uint8_t before[100];
	uint32_t magic, flags, checksum, header_addr, load_addr, load_end, bss_end, entry;
	uint8_t code[256];
};

/* The header lies 100 bytes into an image that is loaded at 2 MiB. */
static struct multiboot_file good_multiboot(void)
{
	struct multiboot_file f = {.magic = 0x1badb002, .flags = 1u << 16 | 3};

	f.load_addr = MIB(2);
	f.header_addr = MIB(2) + offsetof(struct multiboot_file, magic);
	f.load_end = MIB(2) + sizeof(f);
	f.bss_end = MIB(2) + 8192;
	f.entry = MIB(2) + offsetof(struct multiboot_file, code);
	memset(f.code, 0x90, sizeof(f.code));
	return f;
}

static int try_file(const void *data, size_t len, enum boot_method method, const void *initrd,
		    struct boot_entry *entry)
{
	struct boot_source src = {.initrd.fd = -1, .cmdline = "a b", .method = method};
	int r;

	memfile(data, len, &src.kernel);
	if (initrd)
		memfile(initrd, 5000, &src.initrd);
	r = boot_load(&src, &mem, entry, &err);
	close(src.kernel.fd);
	if (initrd)
		close(src.initrd.fd);
	return r;
}

static int try_multiboot(struct multiboot_file *f, struct boot_entry *entry)
{
	f->checksum = -(f->magic + f->flags);
	return try_file(f, sizeof(*f), BOOT_AUTO, NULL, entry);
}

/* The information structure (3.3) by the specification's offsets. */
static uint32_t info_word(unsigned int offset)
{
	return *(uint32_t *)memory_at(&mem, START_INFO_GPA + offset, 4);
}

static void multiboot_gets_its_information(void)
{
	struct multiboot_file f = good_multiboot();
	static const uint8_t initrd[5000] = {1, 2, 3};
	struct boot_entry entry;
	const uint8_t *map;
	uint32_t module;

	setup(MIB(32));
	f.checksum = -(f.magic + f.flags);
	CHECK(try_file(&f, sizeof(f), BOOT_AUTO, initrd, &entry) == 0);
	CHECK(entry.method == BOOT_MULTIBOOT && entry.rip == f.entry);
	CHECK(entry.rax == 0x2badb002 && entry.rbx == START_INFO_GPA);
	CHECK(!memcmp(memory_at(&mem, MIB(2), sizeof(f)), &f, sizeof(f)));
	CHECK(info_word(0) == (1 | 4 | 8 | 64 | 512));
	CHECK(info_word(4) == LOW_RAM_END >> 10 && info_word(8) == 31 << 10);
	CHECK(!strcmp(memory_at(&mem, info_word(16), 4), "a b"));
	CHECK(info_word(20) == 1);
	module = *(uint32_t *)memory_at(&mem, info_word(24), 16);
	CHECK(module % 4096 == 0 && !memcmp(memory_at(&mem, module, 5000), initrd, 5000));
	CHECK(((uint32_t *)memory_at(&mem, info_word(24), 16))[1] == module + 5000);
	CHECK(info_word(44) == 3 * 24);
	map = memory_at(&mem, info_word(48), 3 * 24);
	CHECK(map[0] == 20 && map[20] == 1 && map[24 + 20] == 2 && map[48 + 20] == 1);
	CHECK(!strcmp(memory_at(&mem, info_word(64), 7), "hg-vmm"));
}

static void multiboot_damage_is_named(void)
{
	struct multiboot_file f;
	struct boot_entry entry;

	setup(MIB(32));
#define BAD_MULTIBOOT(change, message)                                                             \
	do {                                                                                       \
		f = good_multiboot();                                                              \
		change;                                                                            \
		CHECK(try_multiboot(&f, &entry) == -1 && err.code == ERROR_USER);                  \
		CHECK(strstr(err.text, message) && !strchr(err.text, '\n'));                       \
	} while (0)
	BAD_MULTIBOOT(f.flags |= 4, "needs a screen");
	BAD_MULTIBOOT(f.flags |= 8, "does not know");
	BAD_MULTIBOOT(f.header_addr = f.load_addr - 4, "does not fit its place");
	BAD_MULTIBOOT(f.load_addr = 0, "does not fit its place");
	BAD_MULTIBOOT((f.header_addr = f.load_addr = 0x1000, f.load_end = 0), "below 1 MiB");
	BAD_MULTIBOOT(f.load_end = f.load_addr, "ends before it begins");
	BAD_MULTIBOOT(f.load_end += 1, "cut off");
	BAD_MULTIBOOT(f.load_end = UINT32_MAX, "cut off");
	BAD_MULTIBOOT(f.bss_end = f.load_end - 1, "bss ends before");
	BAD_MULTIBOOT(f.bss_end = UINT32_MAX, "more --memory");
	BAD_MULTIBOOT(f.bss_end = MIB(32) + 1, "more --memory");
	BAD_MULTIBOOT(f.entry = f.bss_end, "outside of the image");
	BAD_MULTIBOOT(f.flags &= 3, "neither ELF nor with addresses");
	f = good_multiboot(); /* a wrong sum: no header at all */
	CHECK(try_file(&f, sizeof(f), BOOT_MULTIBOOT, NULL, &entry) == -1);
	CHECK(strstr(err.text, "no multiboot header"));
	f = good_multiboot(); /* without ends: up to the file's end, no bss */
	f.load_end = f.bss_end = 0;
	CHECK(try_multiboot(&f, &entry) == 0);
}

struct elf32_file {
	Elf32_Ehdr h;
	Elf32_Phdr ph;
	uint32_t multiboot[3];
	uint8_t code[64];
};

static struct elf32_file good_elf32(void)
{
	struct elf32_file f = {.multiboot = {0x1badb002, 0, -0x1badb002u}};

	memcpy(f.h.e_ident, "\177ELF\1\1\1", 7);
	f.h.e_type = ET_EXEC;
	f.h.e_machine = EM_386;
	f.h.e_entry = 0xc0100010; /* virtual, as many kernels have it */
	f.h.e_phoff = offsetof(struct elf32_file, ph);
	f.h.e_phentsize = sizeof(Elf32_Phdr);
	f.h.e_phnum = 1;
	f.ph = (Elf32_Phdr){.p_type = PT_LOAD,
			    .p_offset = offsetof(struct elf32_file, code),
			    .p_vaddr = 0xc0100000,
			    .p_paddr = 0x100000,
			    .p_filesz = 64,
			    .p_memsz = 4096};
	memset(f.code, 0x90, sizeof(f.code));
	return f;
}

static void multiboot_elf_is_32_bit_or_64(void)
{
	struct elf32_file f = good_elf32();
	struct {
		struct elf_file f;
		uint32_t multiboot[3];
	} wide = {good_elf(), {0x1badb002, 0, -0x1badb002u}};
	struct boot_entry entry;

	setup(MIB(32));
	CHECK(try_file(&f, sizeof(f), BOOT_AUTO, NULL, &entry) == 0);
	CHECK(entry.method == BOOT_MULTIBOOT && entry.rip == 0x100010);
	CHECK(try_file(&wide, sizeof(wide), BOOT_AUTO, NULL, &entry) == 0);
	CHECK(entry.method == BOOT_PVH); /* by its note; without one, by the header */
	wide.f.h.e_phnum = 1;
	CHECK(try_file(&wide, sizeof(wide), BOOT_AUTO, NULL, &entry) == 0);
	CHECK(entry.method == BOOT_MULTIBOOT && entry.rip == 0x1000000);
	f.multiboot[2]++;
	CHECK(try_file(&f, sizeof(f), BOOT_AUTO, NULL, &entry) == -1);
	CHECK(strstr(err.text, "without a multiboot header"));
	f = good_elf32();
	f.h.e_phnum = 65;
	CHECK(try_file(&f, sizeof(f), BOOT_AUTO, NULL, &entry) == -1 &&
	      strstr(err.text, "headers"));
	f = good_elf32();
	f.ph.p_offset = UINT32_MAX;
	CHECK(try_file(&f, sizeof(f), BOOT_AUTO, NULL, &entry) == -1 &&
	      strstr(err.text, "past the end"));
	f = good_elf32();
	f.ph.p_paddr = UINT32_MAX - 100;
	CHECK(try_file(&f, sizeof(f), BOOT_AUTO, NULL, &entry) == -1 &&
	      strstr(err.text, "more --memory"));
}

/* --- any damage --- */

static void damage(const void *good, size_t len, enum boot_method method)
{
	static uint64_t state = 12345;
	static uint8_t f[8192];
	struct boot_entry entry;
	unsigned int i, n;

	for (i = 0; i < 8000; i++) {
		memcpy(f, good, len);
		for (n = 0; n < 1 + i % 8; n++) {
			state = state * 6364136223846793005ull + 1442695040888963407ull;
			f[(state >> 33) % len] = state >> 25;
		}
		if (try_file(f, len - i % 50, method, NULL, &entry))
			CHECK(err.text[0] && !strchr(err.text, '\n'));
	}
}

static void random_damage_never_harms_the_loader(void)
{
	struct elf_file elf = good_elf();
	struct elf32_file elf32 = good_elf32();
	struct multiboot_file multiboot = good_multiboot();

	setup(MIB(32));
	multiboot.checksum = -(multiboot.magic + multiboot.flags);
	damage(&elf, sizeof(elf), BOOT_AUTO);
	damage(&elf32, sizeof(elf32), BOOT_AUTO);
	damage(&multiboot, sizeof(multiboot), BOOT_AUTO);
}

/* Only the header's bytes: the rest of a bzImage is copied as it is. */
static void random_damage_never_harms_a_bzimage(void)
{
	static uint8_t file[8192];
	uint64_t state = 99;
	struct boot_entry entry;
	unsigned int i, n;

	setup(MIB(64));
	for (i = 0; i < 8000; i++) {
		good_bzimage(file);
		for (n = 0; n < 1 + i % 6; n++) {
			state = state * 6364136223846793005ull + 1442695040888963407ull;
			file[0x1f1 + (state >> 33) % 0x80] = state >> 25;
		}
		if (try_file(file, sizeof(file) - i % 50, BOOT_AUTO, NULL, &entry))
			CHECK(err.text[0] && !strchr(err.text, '\n'));
	}
}

static const struct unit_test tests[] = {
	TEST(elf_is_entered_by_note_or_header),
	TEST(elf_damage_is_named),
	TEST(bzimage_is_checked_and_placed),
	TEST(linux_does_not_watch_a_tsc_that_it_does_not_use),
	TEST(multiboot_gets_its_information),
	TEST(multiboot_damage_is_named),
	TEST(multiboot_elf_is_32_bit_or_64),
	TEST(random_damage_never_harms_the_loader),
	TEST(random_damage_never_harms_a_bzimage),
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return run_units(argc, argv, tests);
}
