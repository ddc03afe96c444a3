/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The smallest guest: its first instructions write '!' to COM1 and halt. Entered by its PVH note;
 * the code is the same in 32 and 64 bits.
 */
	.section .note.pvh, "a", @note
	.long 4, 4, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long _start

	.section .text, "ax"
	.globl _start
_start:
	mov $0x3f8, %dx
	mov $'!', %al
	out %al, %dx
1:	hlt
	jmp 1b
