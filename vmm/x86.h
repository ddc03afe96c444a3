/* SPDX-License-Identifier: Apache-2.0 */
/* Bits of control registers and EFER that a vCPU starts with (Intel SDM volume 3, 2.2.1 and 2.5).
 */
#ifndef HG_X86_H
#define HG_X86_H

#define CR0_PE	 1ull
#define CR0_ET	 0x10ull
#define CR0_NE	 0x20ull
#define CR0_PG	 0x80000000ull
#define CR4_PAE	 0x20ull
#define EFER_LME 0x100ull
#define EFER_LMA 0x400ull
#define EFER_NXE 0x800ull

#endif
