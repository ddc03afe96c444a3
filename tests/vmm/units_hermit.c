// SPDX-License-Identifier: Apache-2.0
/* Unit tests of unikernels' images: recognised, refused, loaded, relocated, told what they need. */
#include "hermit_image.h"

#include "hermit/fdt.h"
#include "hermit/hermit.h"
#include "hermit/rtc.h"
#include "hermit/load.h"

static const struct recipe rust = {.type = ET_DYN, .entry_version = 4, .version_minor = 11};
static const struct recipe newer = {
	.type = ET_DYN, .entry_version = 4, .interface = 3, .version_minor = 14};
static const struct recipe core = {.type = ET_EXEC, .abi = ELFOSABI_STANDALONE, .where = 0x800000};

static enum hermit_abi abi_of(struct recipe r)
{
	struct boot_file f = make_image(&r);
	struct hermit_image image;

	CHECK(hermit_identify(&f, &image, &err) == 0);
	close(f.fd);
	return image.abi;
}

static void images_are_known_by_their_notes(void)
{
	struct recipe linux_program = {.type = ET_DYN};

	CHECK(abi_of(rust) == HERMIT_V1 && abi_of(newer) == HERMIT_V2 && abi_of(core) == HERMIT_C);
	CHECK(abi_of(linux_program) == HERMIT_NONE);
}

static void refused(struct recipe r, const char *says)
{
	struct boot_file f = make_image(&r);
	struct hermit_image image;

	CHECK(hermit_identify(&f, &image, &err) == -1);
	if (!strstr(err.text, says)) {
		fprintf(stderr, "%s\n", err.text);
		abort();
	}
	close(f.fd);
}

static void what_cannot_run_is_named(void)
{
	struct recipe r = rust;

	r.machine = EM_AARCH64;
	refused(r, "Hermit 0.11.0 image for aarch64; this host is x86_64");
	r = rust;
	r.entry_version = 5;
	refused(r, "entry version 5; this VMM knows 4");
	r = newer;
	r.interface = 4;
	refused(r, "hypercall interface 4");
	r = (struct recipe){.type = ET_EXEC,
			    .machine = EM_X86_64,
			    .abi = ELFOSABI_STANDALONE,
			    .linux_program = true};
	refused(r, "no unikernel but a program for Linux");
	r = rust;
	r.where = ~0ull - 100;
	refused(r, "above 4 GiB");
}

/* No file, however it is damaged, does more than to be refused. */
static void damaged_images_are_refused_or_harmless(void)
{
	struct boot_file f = make_image(&newer), cut;
	struct hermit_image image;
	uint8_t byte;
	unsigned int at, bit;

	setup(MIB(16));
	for (at = 0; at < CODE_AT; at += 1 + (at > 0x500) * 64) {
		for (bit = 0; bit < 8; bit++) {
			CHECK(pread(f.fd, &byte, 1, at) == 1);
			byte ^= 1u << bit;
			CHECK(pwrite(f.fd, &byte, 1, at) == 1);
			if (!hermit_identify(&f, &image, &err) && image.abi != HERMIT_NONE)
				hermit_load(&f, &image, &mem,
					    image.relocatable ? 0x40000 : image.start, &err);
			byte ^= 1u << bit;
			CHECK(pwrite(f.fd, &byte, 1, at) == 1);
		}
	}
	for (cut = f; cut.size; cut.size -= cut.size > 200 ? 100 : 1)
		if (!hermit_identify(&cut, &image, &err) && image.abi != HERMIT_NONE)
			CHECK(hermit_load(&cut, &image, &mem, 0x40000, &err) ||
			      cut.size >= CODE_AT);
}

static void relocations_follow_the_place(void)
{
	struct recipe r = rust;
	struct hermit_image image;
	struct boot_file f;
	uint64_t value;

	setup(MIB(16));
	r.nrela = 2;
	r.rela[0] = (Elf64_Rela){0x200, ELF64_R_INFO(0, R_X86_64_RELATIVE), 0x123};
	r.rela[1] = (Elf64_Rela){0x208, ELF64_R_INFO(0, R_X86_64_64), 5};
	f = make_image(&r);
	CHECK(!hermit_identify(&f, &image, &err));
	/* Symbol 0 is undefined and not weak: nobody can provide it. */
	CHECK(hermit_load(&f, &image, &mem, 0x40000, &err) == -1);
	r.nrela = 1;
	f = make_image(&r);
	CHECK(!hermit_identify(&f, &image, &err) && !hermit_load(&f, &image, &mem, 0x40000, &err));
	CHECK(!memory_read(&mem, 0x40200, &value, 8) && value == 0x40123);
	CHECK(hermit_tls(&image, 0x40000).start == 0x40100 && hermit_tls(&image, 0).memsz == 64);
}

static void bad_relocations_are_refused(void)
{
	static const struct {
		Elf64_Rela rela;
		uint64_t size;
	} bad[] = {
		{{0x200, ELF64_R_INFO(0, R_X86_64_TPOFF64), 0}, 0},
		{{~0ull, ELF64_R_INFO(0, R_X86_64_RELATIVE), 0}, 0},
		{{MIB(64), ELF64_R_INFO(0, R_X86_64_RELATIVE), 0}, 0},
		{{0x200, ELF64_R_INFO(0xffffffff, R_X86_64_64), 0}, 0},
		{{0x200, ELF64_R_INFO(0, R_X86_64_RELATIVE), 0}, 23},
		{{0x200, ELF64_R_INFO(0, R_X86_64_RELATIVE), 0}, ~0ull / 24 * 24},
	};
	struct hermit_image image;
	struct recipe r = rust;
	struct boot_file f;
	unsigned int i;

	setup(MIB(16));
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		r.nrela = 1;
		r.rela[0] = bad[i].rela;
		r.rela_size = bad[i].size;
		f = make_image(&r);
		CHECK(!hermit_identify(&f, &image, &err));
		CHECK(hermit_load(&f, &image, &mem, 0x40000, &err) == -1);
		close(f.fd);
	}
}

static struct hermit place(struct recipe r, uint64_t memory, uint64_t *base)
{
	struct boot_file f = make_image(&r);
	struct hermit h = {.cfg.aslr = true};

	CHECK(!hermit_identify(&f, &h.image, &err));
	CHECK(!hermit_place(&h, memory, base, &err));
	close(f.fd);
	return h;
}

static void memory_begins_where_the_interface_says(void)
{
	uint64_t base, first, other = 0;
	struct hermit h;
	unsigned int i;

	h = place(rust, MIB(512), &base);
	CHECK(base == 0 && h.at.kernel == 0x40000 && h.at.entry == 0x40008);
	h = place(core, MIB(512), &base);
	CHECK(base == 0 && h.at.kernel == 0x800000 && h.at.entry == 0x800008);
	place(newer, MIB(512), &first);
	for (i = 0; i < 8; i++) {
		h = place(newer, MIB(512), &base);
		CHECK(base >= 1ull << 32 && base + MIB(512) <= 1ull << 36 &&
		      !(base & (MIB(2) - 1)));
		CHECK(h.at.entry == base + 0x40008);
		other |= base ^ first;
	}
	CHECK(other); /* eight times the same place would be no randomisation */
}

static void too_much_memory_is_refused(void)
{
	struct boot_file f = make_image(&rust);
	struct hermit h = {0};
	uint64_t base;

	CHECK(!hermit_identify(&f, &h.image, &err));
	CHECK(hermit_place(&h, MIB(4096), &base, &err) == -1);
	CHECK(strstr(err.text, "at most 3072 MiB"));
}

/* The text of a property's name is searched for; what stands before it must be a token. */
static void the_device_tree_is_well_formed(void)
{
	static uint8_t blob[4096];
	struct fdt t;
	size_t len;

	fdt_begin(&t, blob, sizeof(blob), 0, 0);
	fdt_text(&t, "compatible", "hermit,uhyve");
	fdt_node(&t, "chosen");
	fdt_text(&t, "bootargs", "-- a");
	fdt_end_node(&t);
	len = fdt_finish(&t);
	CHECK(len && len % 4 == 0 && !memcmp(blob, "\xd0\x0d\xfe\xed", 4));
	CHECK(memmem(blob, len, "hermit,uhyve", 13) && memmem(blob, len, "bootargs", 9));
	fdt_begin(&t, blob, 100, 0, 0);
	fdt_text(&t, "compatible", "something that does not fit in here");
	CHECK(fdt_finish(&t) == 0);
	fdt_begin(&t, blob, sizeof(blob), 0, 0);
	fdt_node(&t, "never closed");
	CHECK(fdt_finish(&t) == 0);
}

static void a_rust_kernel_finds_its_boot_information(void)
{
	char *args[] = {"app", "plain", "two words", "it's"};
	struct boot_file f = make_image(&rust);
	struct hermit h = {.cfg = {.args = args, .nargs = 4, .env = {"K=a b"}, .nenv = 1}};
	struct hermit_registers r;
	struct guest_memory *m = &mem;
	uint64_t base, pml4;

	setup(MIB(16));
	h.files = files_create(&h.cfg.files, &err);
	CHECK(h.files && !hermit_identify(&f, &h.image, &err));
	CHECK(!hermit_place(&h, m->size, &base, &err) && !hermit_boot(&h, &f, m, 2, 1000, &err));
	CHECK(memmem(memory_at(m, 0x1000, 0x4000), 0x4000,
		     "env='K=a b' -- plain 'two words' 'it'\\''s'", 41));
	CHECK(memmem(memory_at(m, 0x1000, 0x4000), 0x4000, "cpu@1", 6));
	hermit_registers(&h, 1, &r);
	CHECK(r.rdi == 0x5000 && r.rsi == 1 && r.rsp == 0x38000 && r.cr3 == 0x10000);
	CHECK(!memory_read(m, r.cr3, &pml4, 8) && (pml4 & 3) == 3);
}

/* Second, minute, hour, weekday, day, month, year, century, as they stand in the registers. */
static void check_date(time_t now, const uint8_t expected[8])
{
	static const uint8_t registers[8] = {0, 2, 4, 6, 7, 8, 9, 0x32};
	unsigned int i;

	for (i = 0; i < 8; i++)
		CHECK(rtc_read(registers[i], now) == expected[i]);
}

static void the_clock_tells_the_date(void)
{
	check_date(0, (const uint8_t[]){0, 0, 0, 5, 1, 1, 0x70, 0x19});
	check_date(951782400, (const uint8_t[]){0, 0, 0, 3, 0x29, 2, 0, 0x20});
	check_date(1767225599, (const uint8_t[]){0x59, 0x59, 0x23, 4, 0x31, 0x12, 0x25, 0x20});
	check_date(4107542399, (const uint8_t[]){0x59, 0x59, 0x23, 1, 0x28, 2, 0, 0x21});
	check_date(4107542400, (const uint8_t[]){0, 0, 0, 2, 1, 3, 0, 0x21}); /* no leap year */
	CHECK(!(rtc_read(0x0a, 0) & 0x80)); /* no update is under way */
	CHECK(rtc_read(0x0b, 0) == 2 && rtc_read(0x0d, 0) == 0x80 && rtc_read(0x7f, 0) == 0);
}

static const struct unit_test tests[] = {
	TEST(the_clock_tells_the_date),
	TEST(images_are_known_by_their_notes),
	TEST(what_cannot_run_is_named),
	TEST(damaged_images_are_refused_or_harmless),
	TEST(relocations_follow_the_place),
	TEST(bad_relocations_are_refused),
	TEST(memory_begins_where_the_interface_says),
	TEST(too_much_memory_is_refused),
	TEST(the_device_tree_is_well_formed),
	TEST(a_rust_kernel_finds_its_boot_information),
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return run_units(argc, argv, tests);
}
