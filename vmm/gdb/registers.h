/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registers that a debugger sees, in the order and the widths of the target description
 * ("Debugging with GDB", appendix G.5.6, i386 features), which registers_describe() writes.
 */
#ifndef HG_GDB_REGISTERS_H
#define HG_GDB_REGISTERS_H

#include <stddef.h>
#include <stdint.h>

/* Little endian and without gaps: this is the body of a 'g' packet before it becomes hex. */
struct __attribute__((packed)) gdb_registers {
	uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp;
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15, rip;
	uint32_t eflags, cs, ss, ds, es, fs, gs;
	uint8_t st[8][10];
	uint32_t fctrl, fstat, ftag, fiseg, fioff, foseg, fooff, fop;
	uint8_t xmm[16][16];
	uint32_t mxcsr;
	uint64_t fs_base, gs_base;
	uint64_t cr0, cr2, cr3, cr4, cr8, efer;
};

#define GDB_RIP 16 /* the number of rip */

/* Where register `number` is in struct gdb_registers; 0 bytes: there is no such register. */
size_t register_place(unsigned int number, size_t *offset);

/* target.xml, made once; *len without the NUL. */
const char *registers_describe(size_t *len);

#endif
