/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A unikernel from nothing, for each interface of uhyve's: entry, notes and hypercalls.  ABI says
 * which: 0 C HermitCore, 1 and 2 Rust Hermit with that interface.  Built with the host's
 * compiler, without a library (tests/nested/unikernels.py has the flags).
 */
#ifndef GUEST_HERMIT_H
#define GUEST_HERMIT_H

#include <stddef.h>
#include <stdint.h>

#include "../../vmm/hermit/params.h"

int guest_main(uint64_t boot_info);

#if ABI == 0
__attribute__((aligned(16), used)) static uint8_t stack[32768];
__asm__(".pushsection .text\n.globl _start\n_start:\n"
	"	mov	$stack + 32768, %rsp\n"
	"	mov	$0, %edi\n"
	"	call	guest_start\n.popsection\n");
#else
/* RSP is the lower end of 32 KiB; RDI the boot information. */
__asm__(".pushsection .text\n.globl _start\n_start:\n"
	"	add	$0x8000, %rsp\n"
	"	call	guest_start\n.popsection\n");
__asm__(".pushsection .note.hermit, \"a\", @note\n"
	"	.long	7, 1, 0x5a00\n"
	"	.asciz	\"HERMIT\"\n"
	"	.balign	4\n"
	"	.byte	4\n"
	"	.balign	4\n"
	"	.long	4, 16, 1\n"
	"	.asciz	\"GNU\"\n"
	"	.long	6, 0, 12, 0\n"
#if ABI == 2
	"	.long	8, 4, 0x5b00\n"
	"	.asciz	\"UHYVEIF\"\n"
	"	.byte	0, 0, 0, 2\n"
#endif
	".popsection\n");
#endif

static inline void call(uint16_t port, volatile void *params)
{
	uint64_t at = (uint64_t)params;

	__asm__ volatile("outl %%eax, %%dx" : : "a"((uint32_t)at), "D"(at), "d"(port) : "memory");
}

static inline _Noreturn void leave(int code)
{
#if ABI == 2
	call(0x1010, (void *)(uint64_t)(uint32_t)code);
#else
	struct exit_v1 p = {code};

	call(0x540, &p);
#endif
	for (;;)
		__asm__ volatile("hlt");
}

static inline int64_t guest_write(int fd, const void *from, uint64_t len)
{
#if ABI == 2
	struct transfer_v2 p = {.len = len, .buf = (uint64_t)from, .fd = fd};

	call(0x1100, &p);
	return p.ret;
#else
	struct write_v1 p = {fd, (uint64_t)from, len};

	call(0x400, &p);
	return (int64_t)p.len;
#endif
}

static inline int64_t guest_read(int fd, void *to, uint64_t len)
{
#if ABI == 2
	struct transfer_v2 p = {.len = len, .buf = (uint64_t)to, .fd = fd};

	call(0x1130, &p);
#else
	struct read_v1 p = {fd, (uint64_t)to, len, 0};

	call(0x500, &p);
#endif
	return p.ret;
}

static inline int guest_open(const char *path, int flags, int mode)
{
	struct open_v1 p = {(uint64_t)path, flags, mode, -1000};

	call(ABI == 2 ? 0x1110 : 0x440, &p);
	return p.ret;
}

static inline int guest_close(int fd)
{
	struct close_v1 p = {fd, -1000};

	call(ABI == 2 ? 0x1120 : 0x480, &p);
	return p.ret;
}

static inline int64_t guest_seek(int fd, int64_t offset, int whence)
{
#if ABI == 2
	struct lseek_v2 p = {offset, (uint32_t)whence, fd};

	call(0x1140, &p);
#else
	struct lseek_v1 p = {fd, offset, whence};

	call(0x580, &p);
#endif
	return p.offset;
}

static inline int guest_unlink(const char *path)
{
	struct unlink_v1 p = {(uint64_t)path, -1000};

	call(ABI == 2 ? 0x1150 : 0x840, &p);
	return p.ret;
}

static inline size_t length(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

static inline void say(const char *s)
{
	guest_write(1, s, length(s));
}

__attribute__((used, noreturn)) static void guest_start(uint64_t boot_info)
{
	leave(guest_main(boot_info));
}

#endif
