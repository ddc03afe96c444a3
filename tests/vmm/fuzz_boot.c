// SPDX-License-Identifier: Apache-2.0
/*
 * Fuzzes the loaders of kernels: the input says what kind of file there is, and how it is
 * wrong.  A file that is random from its first byte would only ever test the magic numbers.
 */
#include <elf.h>
#include <linux/memfd.h>
#include <sys/mman.h>

#include "boot/boot.h"
#include "fuzz.h"
#include "log.h"

#define RAM	  (32ull << 20)
#define FILE_SIZE 16384u

static struct guest_memory mem;
static int kernel_fd, initrd_fd;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct error e;

	(void)argc, (void)argv;
	log_open("/dev/null");
	CHECK(memory_create(&mem, &(struct memory_config){.size = RAM}, &e) == 0);
	kernel_fd = memfd_create("kernel", MFD_CLOEXEC);
	initrd_fd = memfd_create("initrd", MFD_CLOEXEC);
	CHECK(kernel_fd >= 0 && initrd_fd >= 0);
	return 0;
}

/* Often what is right, else small, else near an edge, else anything. */
static uint64_t number(struct script *s, uint64_t right)
{
	uint64_t kind = take(s, 1);

	if (kind < 140)
		return right;
	if (kind < 180)
		return take(s, 2);
	if (kind < 200)
		return right + (int8_t)take(s, 1);
	if (kind < 220)
		return (1ull << (take(s, 1) & 63)) - take(s, 1) % 3;
	if (kind < 235)
		return RAM - take(s, 2);
	return take(s, 8);
}

static void make_elf64(struct script *s, uint8_t *file)
{
	Elf64_Ehdr *h = (Elf64_Ehdr *)file;
	Elf64_Phdr *p;
	Elf64_Nhdr *n = (Elf64_Nhdr *)(file + 0x800);
	unsigned int i, count = take(s, 1) % 6;

	memcpy(h->e_ident, "\177ELF\2\1\1", 7);
	h->e_type = number(s, ET_EXEC);
	h->e_machine = number(s, EM_X86_64);
	h->e_version = 1;
	h->e_entry = number(s, 0x1000000);
	h->e_phoff = number(s, sizeof(*h));
	h->e_ehsize = sizeof(*h);
	h->e_phentsize = number(s, sizeof(*p));
	h->e_phnum = number(s, count);
	for (i = 0; i < count; i++) {
		p = (Elf64_Phdr *)(file + sizeof(*h)) + i;
		p->p_type = take(s, 1) % 3 ? PT_LOAD : number(s, PT_NOTE);
		p->p_offset = number(s, p->p_type == PT_LOAD ? 0x1000 : 0x800);
		p->p_paddr = number(s, 0x1000000 + 0x1000ull * i);
		p->p_vaddr = number(s, p->p_paddr);
		p->p_filesz = number(s, p->p_type == PT_LOAD ? 0x400 : 0x80);
		p->p_memsz = number(s, p->p_filesz);
		p->p_align = number(s, 4);
	}
	for (i = 0; i < 3; i++) {
		n->n_namesz = number(s, i ? 4 : 6);
		n->n_descsz = number(s, 8);
		n->n_type = number(s, 18); /* XEN_ELFNOTE_PHYS32_ENTRY */
		memcpy(n + 1, i ? "Xen" : "Linux", i ? 4 : 6);
		memset((char *)(n + 1) + 8, take(s, 1), 8);
		n = (Elf64_Nhdr *)((char *)(n + 1) + 16);
	}
}

static void make_elf32(struct script *s, uint8_t *file)
{
	Elf32_Ehdr *h = (Elf32_Ehdr *)file;
	Elf32_Phdr *p = (Elf32_Phdr *)(file + sizeof(*h));
	unsigned int i, count = take(s, 1) % 4;

	memcpy(h->e_ident, "\177ELF\1\1\1", 7);
	h->e_type = number(s, ET_EXEC);
	h->e_machine = number(s, EM_386);
	h->e_entry = number(s, 0x100000);
	h->e_phoff = number(s, sizeof(*h));
	h->e_phentsize = number(s, sizeof(*p));
	h->e_phnum = number(s, count);
	for (i = 0; i < count; i++, p++) {
		p->p_type = number(s, PT_LOAD);
		p->p_offset = number(s, 0x1000);
		p->p_paddr = number(s, 0x100000);
		p->p_filesz = number(s, 0x400);
		p->p_memsz = number(s, 0x800);
	}
}

/* The Multiboot Specification 0.6.96, 3.1.1. */
static void add_multiboot(struct script *s, uint8_t *file)
{
	uint32_t h[12] = {0x1badb002}, at = number(s, 0x600) & 0x1ffc;
	unsigned int i;

	h[1] = number(s, 0x10003);
	h[2] = -(h[0] + h[1]) + (take(s, 1) > 250);
	h[3] = number(s, 0x100000 + at); /* header_addr, load_addr, load_end, bss_end, entry */
	h[4] = number(s, 0x100000);
	h[5] = number(s, 0x102000);
	h[6] = number(s, 0x103000);
	h[7] = number(s, 0x100010);
	for (i = 8; i < 12; i++)
		h[i] = take(s, 1);
	if (at + sizeof(h) <= FILE_SIZE)
		memcpy(file + at, h, sizeof(h));
}

/* Documentation/arch/x86/boot.rst, "The real-mode kernel header". */
static void put(uint8_t *file, unsigned int at, uint64_t value, unsigned int bytes)
{
	memcpy(file + at, &value, bytes);
}

static void make_bzimage(struct script *s, uint8_t *file)
{
	file[0x1f1] = number(s, 1);
	put(file, 0x1f4, number(s, FILE_SIZE / 16 - 0x40), 4); /* syssize */
	put(file, 0x1fe, 0xaa55, 2);
	put(file, 0x201, number(s, 0x6a), 1);
	memcpy(file + 0x202, "HdrS", 4);
	put(file, 0x206, number(s, 0x20f), 2);
	file[0x211] = number(s, 1);
	put(file, 0x214, number(s, 0x100000), 4);
	put(file, 0x22c, number(s, 0x7fffffff), 4); /* initrd_addr_max */
	put(file, 0x230, number(s, 0x200000), 4);   /* kernel_alignment */
	file[0x234] = number(s, 1);
	put(file, 0x236, number(s, 1), 2);	   /* xloadflags */
	put(file, 0x238, number(s, 2047), 4);	   /* cmdline_size */
	put(file, 0x258, number(s, 0x1000000), 8); /* pref_address */
	put(file, 0x260, number(s, 0x100000), 4);  /* init_size */
}

static void make_file(struct script *s, uint8_t *file)
{
	unsigned int kind = take(s, 1) % 8, damage = take(s, 1) % 4;

	if (kind < 3)
		make_elf64(s, file);
	else if (kind < 4)
		make_elf32(s, file);
	else if (kind < 6)
		make_bzimage(s, file);
	if (kind >= 6 || take(s, 1) % 8 == 0)
		add_multiboot(s, file);
	for (; damage; damage--)
		file[take(s, 2) % FILE_SIZE] = take(s, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum boot_method methods[] = {BOOT_AUTO, BOOT_PVH, BOOT_LINUX64, BOOT_AUTO};
	struct script s = {.data = data, .len = size};
	struct boot_source src = {.cmdline = "console=hvc0",
				  .kernel = {.fd = kernel_fd, .path = "kernel"},
				  .initrd = {.fd = -1, .path = "initrd"}};
	static uint8_t file[FILE_SIZE];
	struct boot_entry entry;
	struct error e;

	memset(file, 0, sizeof(file));
	src.method = methods[take(&s, 1) % 4];
	src.kernel.size = take(&s, 1) < 200 ? FILE_SIZE : take(&s, 2) % FILE_SIZE;
	src.initrd.size = take(&s, 1) < 128 ? 0 : number(&s, 0x3000);
	src.rsdp = take(&s, 1) & 1 ? 0xe0000 : 0;
	make_file(&s, file);
	CHECK(pwrite(kernel_fd, file, FILE_SIZE, 0) == FILE_SIZE);
	CHECK(ftruncate(kernel_fd, src.kernel.size) == 0);
	if (src.initrd.size) {
		src.initrd.fd = initrd_fd;
		/* Also one that became shorter since it was opened. */
		CHECK(ftruncate(initrd_fd, src.initrd.size % 0x4000) == 0);
	}
	if (boot_load(&src, &mem, &entry, &e) == 0)
		CHECK(memory_at(&mem, entry.rip, 1)); /* nothing else can be entered */
	else
		CHECK(strnlen(e.text, sizeof(e.text)) < sizeof(e.text) && e.text[0]);
	CHECK(madvise(mem.base, mem.size, MADV_DONTNEED) == 0);
	return 0;
}
