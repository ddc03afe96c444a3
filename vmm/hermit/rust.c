// SPDX-License-Identifier: Apache-2.0
/* What a Rust Hermit kernel finds at its start: boot information, device tree, page tables. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "hermit/fdt.h"
#include "hermit/hermit.h"
#include "hermit/load.h"

/* From the beginning of RAM. */
#define GDT_AT	    0x0
#define FDT_AT	    0x1000
#define FDT_BYTES   0x4000
#define INFO_AT	    0x5000
#define PML4_AT	    0x10000
#define TABLES_AT   0x11000
#define TABLES_END  0x38000
#define KERNEL_AT   0x40000
#define STACK_BYTES 0x8000
#define FIRST_BYTES 0x20000

#define PAGE	       0x1000ull
#define HUGE	       0x200000ull
#define V1_END	       0xc0000000ull   /* interface 1 addresses less than 3 GiB */
#define V2_START       0x100000000ull  /* interfaces 2 and 3: from 4 GiB ... */
#define V2_END	       0x1000000000ull /* ... to 64 GiB */
#define LEGACY_MAP     0x40000000ull   /* kernels before 0.10 expect this much to be mapped */
#define SERIAL_V1      0x800
#define SERIAL_V2      0x1030
#define PLATFORM_UHYVE 1

/* hermit-entry's RawBootInfo, 128 bytes, naturally aligned. */
struct boot_info {
	uint64_t memory_start, memory_end;
	uint16_t serial_port;
	uint16_t pad1[3];
	uint64_t fdt;
	uint64_t image_start, image_end;
	struct hermit_tls tls;
	uint32_t platform;
	uint32_t pad2;
	uint8_t has_pci;
	uint8_t pad3[7];
	uint64_t cpus;
	uint32_t tsc_khz;
	uint32_t pad4;
	uint64_t unix_ns[2]; /* an i128 */
};
_Static_assert(sizeof(struct boot_info) == 128, "RawBootInfo");

static uint64_t random_base(uint64_t room)
{
	uint64_t r = 0;

	/* Without entropy there is no secret place, but there is a place. */
	if (getrandom(&r, sizeof(r), 0) != sizeof(r))
		r = 0;
	return V2_START + (room / HUGE ? r % (room / HUGE) * HUGE : 0);
}

int hermit_place_at(struct hermit *h, uint64_t base)
{
	const struct hermit_image *image = &h->image;

	if (image->abi == HERMIT_V2 ? base < V2_START || base >= V2_END || base % HUGE : base != 0)
		return -1;
	h->at.base = base;
	h->at.kernel = image->relocatable ? base + KERNEL_AT : image->start;
	h->at.end = h->at.kernel + image->size;
	h->at.entry = image->entry + hermit_bias(image, h->at.kernel);
	return 0;
}

int hermit_place(struct hermit *h, uint64_t memory, uint64_t *base, struct error *e)
{
	const struct hermit_image *image = &h->image;
	uint64_t limit = image->abi == HERMIT_V2 ? V2_END - V2_START : V1_END;
	char name[48];

	if (image->abi != HERMIT_C && memory > limit)
		return error_set(e, ERROR_USER, "%s can use at most %llu MiB of memory",
				 hermit_name(image, name), (unsigned long long)(limit >> 20));
	*base = 0;
	if (image->abi == HERMIT_V2)
		*base = h->cfg.aslr && image->relocatable ? random_base(limit - memory) : V2_START;
	return hermit_place_at(h, *base);
}

/* Quoted as a POSIX shell would read it back: the guest splits its arguments like one. */
static void put_quoted(FILE *to, const char *text)
{
	putc('\'', to);
	for (; *text; text++) {
		if (*text == '\'')
			fputs("'\\''", to);
		else
			putc(*text, to);
	}
	putc('\'', to);
}

static bool is_plain(const char *text)
{
	return *text && !text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
					   "0123456789_-./:=,+@%")];
}

static void put_word(FILE *to, const char *before, const char *text)
{
	fputs(before, to);
	if (is_plain(text))
		fputs(text, to);
	else
		put_quoted(to, text);
}

/* "KERNEL-ARGUMENT ... env=KEY=VALUE ... -- ARGUMENT ...": /chosen/bootargs, as Hermit reads it. */
static char *boot_arguments(const struct hermit *h)
{
	const struct hermit_config *cfg = &h->cfg;
	const char *between = "";
	char *text = NULL;
	unsigned int i;
	size_t len;
	FILE *to = open_memstream(&text, &len);

	if (!to)
		return NULL;
	for (i = 0; i < h->manifest.nkernel_args; i++, between = " ")
		put_word(to, between, h->manifest.kernel_args[i]);
	if (cfg->kernel_args && *cfg->kernel_args) {
		fprintf(to, "%s%s", between, cfg->kernel_args);
		between = " ";
	}
	for (i = 0; i < cfg->nenv; i++, between = " ") {
		fprintf(to, "%senv=", between);
		put_word(to, "", cfg->env[i]);
	}
	if (cfg->nargs > 1)
		fprintf(to, "%s--", between);
	for (i = 1; i < cfg->nargs; i++)
		put_word(to, " ", cfg->args[i]);
	if (fclose(to)) {
		free(text);
		return NULL;
	}
	return text;
}

static void add_memory(struct fdt *t, uint64_t start, uint64_t len)
{
	const uint64_t reg[2] = {__builtin_bswap64(start), __builtin_bswap64(len)};
	char name[32];

	snprintf(name, sizeof(name), "memory@%llx", (unsigned long long)start);
	fdt_node(t, name);
	fdt_text(t, "device_type", "memory");
	fdt_bytes(t, "reg", reg, sizeof(reg));
	fdt_end_node(t);
}

static void add_cpus(struct fdt *t, unsigned int cpus)
{
	char name[16];
	unsigned int i;

	fdt_node(t, "cpus");
	fdt_u32(t, "#address-cells", 1);
	fdt_u32(t, "#size-cells", 0);
	for (i = 0; i < cpus; i++) {
		snprintf(name, sizeof(name), "cpu@%u", i);
		fdt_node(t, name);
		fdt_text(t, "device_type", "cpu");
		fdt_u32(t, "reg", i);
		fdt_end_node(t);
	}
	fdt_end_node(t);
}

/* The folders that the guest may mount: a list of strings, each with its NUL. */
static void add_mounts(struct fdt *t, const struct hermit *h)
{
	char list[4096];
	size_t len = files_folders(h->files, list, sizeof(list));

	if (!len)
		return;
	fdt_node(t, "uhyve,mounts");
	fdt_bytes(t, "mounts", list, len);
	fdt_end_node(t);
}

static int write_fdt(const struct hermit *h, const struct guest_memory *m, unsigned int cpus,
		     uint32_t tsc_khz, struct error *e)
{
	void *to = memory_at(m, h->at.base + FDT_AT, FDT_BYTES);
	char *arguments = boot_arguments(h);
	struct fdt t;

	if (!to || !arguments) {
		free(arguments);
		return error_set(e, ERROR_MACHINE, "out of memory");
	}
	fdt_begin(&t, to, FDT_BYTES, h->at.initrd, (h->at.initrd_len + PAGE - 1) & ~(PAGE - 1));
	fdt_text(&t, "compatible", "hermit,uhyve");
	fdt_u32(&t, "#address-cells", 2);
	fdt_u32(&t, "#size-cells", 2);
	add_memory(&t, h->at.base, m->size);
	add_mounts(&t, h);
	add_cpus(&t, cpus);
	if (tsc_khz) {
		fdt_node(&t, "hermit,tsc");
		fdt_u32(&t, "khz", tsc_khz);
		fdt_end_node(&t);
	}
	fdt_node(&t, "chosen");
	fdt_text(&t, "bootargs", arguments);
	if (h->at.initrd_len) {
		fdt_u64(&t, "linux,initrd-start", h->at.initrd);
		fdt_u64(&t, "linux,initrd-end", h->at.initrd + h->at.initrd_len);
	}
	fdt_end_node(&t);
	free(arguments);
	if (!fdt_finish(&t))
		return error_set(e, ERROR_USER,
				 "arguments and environment of the unikernel are too long: "
				 "together with the rest they may take %d bytes",
				 FDT_BYTES);
	return 0;
}

static int write_info(const struct hermit *h, const struct guest_memory *m, unsigned int cpus,
		      uint32_t tsc_khz)
{
	struct boot_info info = {
		.memory_start = h->at.base,
		.memory_end = h->at.base + m->size,
		.serial_port = h->image.abi == HERMIT_V2 ? SERIAL_V2 : SERIAL_V1,
		.fdt = h->at.base + FDT_AT,
		.image_start = h->at.kernel,
		.image_end = h->at.end,
		.tls = hermit_tls(&h->image, h->at.kernel),
		.platform = PLATFORM_UHYVE,
		.has_pci = h->has_pci,
		.cpus = cpus,
		.tsc_khz = tsc_khz,
	};
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	info.unix_ns[0] = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	return memory_write(m, h->at.base + INFO_AT, &info, sizeof(info));
}

/* Behind the image, where the kernel looks for memory last. */
static int load_initrd(struct hermit *h, const struct guest_memory *m, struct error *e)
{
	const struct boot_file *f = &h->initrd;
	uint64_t at = (h->at.end + PAGE - 1) & ~(PAGE - 1);

	if (!f->size)
		return 0;
	if (!memory_at(m, at, f->size))
		return error_set(e, ERROR_USER,
				 "initrd %.150s: %llu KiB do not fit into guest RAM; give more "
				 "--memory",
				 f->path, (unsigned long long)(f->size >> 10));
	if (memory_load(m, at, f->fd, 0, f->size))
		return error_set(e, ERROR_USER, "initrd %.150s: %s", f->path, strerror(errno));
	h->at.initrd = at;
	h->at.initrd_len = f->size;
	return 0;
}

int hermit_boot_rust(struct hermit *h, const struct guest_memory *m, unsigned int cpus,
		     uint32_t tsc_khz, struct error *e)
{
	uint64_t base = h->at.base, mapped;

	if (h->at.kernel < base + KERNEL_AT)
		return error_set(e, ERROR_USER,
				 "the image starts at %#llx, where its boot information has to lie",
				 (unsigned long long)h->at.kernel);
	if (load_initrd(h, m, e))
		return -1;
	mapped = h->at.initrd_len ? h->at.initrd + h->at.initrd_len : h->at.end;
	if (!h->image.tagged && mapped < base + LEGACY_MAP)
		mapped = base + LEGACY_MAP;
	if (write_fdt(h, m, cpus, tsc_khz, e))
		return -1;
	if (write_info(h, m, cpus, tsc_khz) || hermit_gdt(m, base + GDT_AT) ||
	    hermit_map(m, base + PML4_AT, base + TABLES_AT, base + TABLES_END, base, mapped))
		return error_set(e, ERROR_USER, "the unikernel's memory is too small for it");
	return 0;
}

void hermit_registers(const struct hermit *h, unsigned int index, struct hermit_registers *r)
{
	memset(r, 0, sizeof(*r));
	r->rip = h->at.entry;
	r->gdt_limit = HERMIT_GDT_BYTES - 1;
	if (h->image.abi == HERMIT_C) {
		r->gdt = 0x1000;
		r->cr3 = 0x10000;
		return;
	}
	r->gdt = h->at.base + GDT_AT;
	r->cr3 = h->at.base + PML4_AT;
	r->rdi = h->at.base + INFO_AT;
	r->rsi = index;
	r->rsp = h->at.kernel - STACK_BYTES; /* its lower end: the entry code adds the size */
}

void hermit_first_pages(const struct hermit *h, struct hermit_range r[HERMIT_RANGES])
{
	bool core = h->image.abi == HERMIT_C;
	uint64_t start = h->at.kernel - (core ? 0 : PAGE); /* a stack ends there */
	uint64_t len = h->at.end - start;
	struct hermit_registers first;

	hermit_registers(h, 0, &first);
	/* Of a larger image the guest will not touch all. */
	r[0] = (struct hermit_range){start, len < FIRST_BYTES ? len : FIRST_BYTES};
	/* Tables: one each of the upper levels, the last maps 1 GiB. */
	r[1] = (struct hermit_range){first.cr3, 3 * PAGE};
	/* The GDT, and all up to the boot information, which C HermitCore has in its image. */
	r[2] = (struct hermit_range){first.gdt, core ? PAGE : first.rdi + PAGE - first.gdt};
}
