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
/* RSP is the lower end of 32 KiB; RDI the boot information; ESI the CPU: only the first works. */
__asm__(".pushsection .text\n.globl _start\n_start:\n"
	"	test	%esi, %esi\n"
	"	jnz	2f\n"
	"	add	$0x8000, %rsp\n"
	"	call	guest_start\n"
	"2:	cli; hlt; jmp	2b\n.popsection\n");
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

#define GUEST_MAX_ARGUMENTS 16
#define GUEST_ARGUMENT_TEXT 2048

static char *guest_argv[GUEST_MAX_ARGUMENTS] __attribute__((unused));

#if ABI == 2
static inline uint32_t big_endian(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* The value of the first property `name` of a device tree; NULL: there is none. */
static inline const char *tree_property(const uint8_t *tree, const char *name)
{
	const uint8_t *at = tree + big_endian(tree + 8);
	const char *strings = (const char *)tree + big_endian(tree + 12), *own;
	uint32_t token;
	size_t i;

	for (;;) {
		token = big_endian(at);
		at += 4;
		if (token == 1) {
			at += (length((const char *)at) + 4) & ~3ull;
		} else if (token == 3) {
			own = strings + big_endian(at + 4);
			for (i = 0; name[i] && name[i] == own[i]; i++)
				;
			if (name[i] == own[i])
				return (const char *)at + 8;
			at += 8 + ((big_endian(at) + 3) & ~3u);
		} else if (token == 9) {
			return NULL;
		}
	}
}

/* Fills guest_argv with what follows "--"; it has no name of the program.  argc. */
static inline int guest_arguments(uint64_t boot_info)
{
	static char text[GUEST_ARGUMENT_TEXT], *to = text;
	const char *from = tree_property(*(const uint8_t **)(boot_info + 24), "bootargs");
	int argc = 1;

	guest_argv[0] = to;
	*to++ = '\0';
	while (from && *from && !(from[0] == '-' && from[1] == '-'))
		from++;
	for (from = from && *from ? from + 2 : NULL; from && *from && argc < GUEST_MAX_ARGUMENTS;) {
		for (; *from == ' '; from++)
			;
		guest_argv[argc++] = to;
		for (; *from && *from != ' '; from++)
			if (*from != '\'' && to < text + sizeof(text) - 2)
				*to++ = *from;
		*to++ = '\0';
	}
	return argc;
}
#else
/* Fills guest_argv; argc. */
static inline int guest_arguments(uint64_t boot_info)
{
	static char text[GUEST_ARGUMENT_TEXT], *to = text, nowhere[8];
	static uint64_t argv[CALL_MAX_ARGS], envp[CALL_MAX_ARGS];
	static struct cmdsize sizes;
	struct cmdval values = {(uint64_t)argv, (uint64_t)envp};
	int i;

	(void)boot_info;
	call(0x740, &sizes);
	for (i = 0; i < CALL_MAX_ARGS; i++) {
		envp[i] = argv[i] = ~0ull; /* nowhere: the monitor leaves it out */
		if (i >= sizes.argc || i >= GUEST_MAX_ARGUMENTS)
			continue;
		guest_argv[i] = nowhere;
		if (sizes.argsz[i] > text + sizeof(text) - to)
			continue;
		argv[i] = (uint64_t)(guest_argv[i] = to);
		to += sizes.argsz[i];
	}
	/* Not read, but the C monitor writes where it is told, without a look. */
	for (i = 0; i < sizes.envc && i < CALL_MAX_ARGS; i++) {
		if (sizes.envsz[i] > text + sizeof(text) - to)
			continue;
		envp[i] = (uint64_t)to;
		to += sizes.envsz[i];
	}
	call(0x780, &values);
	return sizes.argc < GUEST_MAX_ARGUMENTS ? sizes.argc : GUEST_MAX_ARGUMENTS;
}
#endif

/* Of the time stamp counter; 0 when the monitor does not say. */
static inline uint32_t guest_tsc_khz(uint64_t boot_info)
{
#if ABI == 0
	(void)boot_info;
	return 1000 * *(volatile uint32_t *)(0x800000 + 0x18);
#else
	return *(volatile uint32_t *)(boot_info + 104);
#endif
}

__attribute__((used, noreturn)) static void guest_start(uint64_t boot_info)
{
	leave(guest_main(boot_info));
}

#endif
