// SPDX-License-Identifier: Apache-2.0
/* bzImage by the Linux/x86 boot protocol (Documentation/arch/x86/boot.rst), 64-bit entry. */
#include <asm/bootparam.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "boot/boot.h"
#include "layout.h"

#define HEADER_MAGIC	0x53726448 /* "HdrS" */
#define PROTOCOL_2_12	0x020c	   /* the first with xloadflags */
#define ENTRY_64_OFFSET 0x200
#define SECTOR		512u
#define HEADER_AT	offsetof(struct boot_params, hdr) /* 0x1f1 in the file, too */

static int bad(const struct boot_file *f, struct error *e, const char *what)
{
	return error_set(e, ERROR_USER, "%s: not a usable kernel: %s", f->path, what);
}

static int read_header(const struct boot_file *f, struct setup_header *h, struct error *e)
{
	uint8_t raw[HEADER_AT + sizeof(*h)];
	size_t len = sizeof(*h), end;

	if (f->size < sizeof(raw) || pread(f->fd, raw, sizeof(raw), 0) != sizeof(raw))
		return bad(f, e, "neither ELF nor bzImage (too short)");
	memcpy(h, raw + HEADER_AT, sizeof(*h));
	if (h->boot_flag != 0xaa55 || h->header != HEADER_MAGIC)
		return bad(f, e, "neither ELF nor bzImage (no boot signature)");
	if (h->version < PROTOCOL_2_12 || !(h->xloadflags & XLF_KERNEL_64))
		return bad(f, e, "the bzImage has no 64-bit entry (boot protocol 2.12)");
	if (!(h->loadflags & LOADED_HIGH))
		return bad(f, e, "a zImage, not a bzImage");
	/* The header's own length stands in its jump: 0x202 + the byte at 0x201. */
	end = 0x202 + raw[0x201];
	if (end < HEADER_AT + len)
		memset((uint8_t *)h + (end > HEADER_AT ? end - HEADER_AT : 0), 0,
		       len - (end > HEADER_AT ? end - HEADER_AT : 0));
	return 0;
}

bool bzimage_is(const struct boot_file *f)
{
	uint32_t magic = 0;

	return pread(f->fd, &magic, sizeof(magic),
		     HEADER_AT + offsetof(struct setup_header, header)) == sizeof(magic) &&
	       magic == HEADER_MAGIC;
}

int bzimage_load(const struct boot_file *f, const struct guest_memory *m, struct boot_params *bp,
		 uint64_t *entry, struct boot_layout *l, struct error *e)
{
	struct setup_header *h = &bp->hdr;
	uint64_t setup, size, at, need;

	if (read_header(f, h, e))
		return -1;
	setup = ((h->setup_sects ? h->setup_sects : 4) + 1ull) * SECTOR;
	if (setup >= f->size)
		return bad(f, e, "the bzImage is cut off in its setup part");
	size = f->size - setup;
	/* syssize counts the protected-mode part in 16-byte units; less of it is a torn file. */
	if ((uint64_t)h->syssize * 16 > size + 15)
		return bad(f, e, "the bzImage is cut off");
	if (size <= ENTRY_64_OFFSET)
		return bad(f, e, "the bzImage has no protected-mode code");
	at = h->pref_address;
	if (at < HIGH_RAM_START || at >= HOLE_START)
		return bad(f, e, "the bzImage's preferred address is out of range");
	need = h->init_size > size ? h->init_size : size;
	if (!memory_at(m, at, need) || at + need > HOLE_START)
		return error_set(e, ERROR_USER,
				 "%s: the kernel unpacks up to %llu MiB; give more --memory",
				 f->path, (unsigned long long)((at + need) >> 20) + 1);
	if (memory_load(m, at, f->fd, setup, size))
		return error_set(e, ERROR_USER, "%s: %s", f->path,
				 errno == ENODATA ? "the file became shorter" : strerror(errno));
	*entry = at + ENTRY_64_OFFSET;
	h->code32_start = at;
	l->kernel_end = at + need;
	if (h->initrd_addr_max && h->initrd_addr_max < l->initrd_max)
		l->initrd_max = h->initrd_addr_max;
	if (h->cmdline_size && h->cmdline_size < CMDLINE_MAX)
		l->cmdline_max = h->cmdline_size;
	return 0;
}
