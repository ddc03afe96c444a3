/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Marks in the stream of instructions: a NOP with a displacement that nobody else uses.  It costs
 * one instruction and does nothing; the plugin (plugin.c) sees it pass.
 */
#ifndef BENCH_MARK_H
#define BENCH_MARK_H

#define MARK_MAGIC 0x48470000u
#define MARK_MASK  0x000000ffu

#define MARK_END    0 /* of a stretch; nothing when there is none */
#define MARK_COUNT  1 /* a stretch: instructions, entries into guests */
#define MARK_BLOCKS 2 /* a stretch: also by basic block */

/* nopl MARK_MAGIC+n(%rax) */
#define MARK(n)                                                                                    \
	__asm__ volatile(".byte 0x0f, 0x1f, 0x80; .long %c0" ::"i"(MARK_MAGIC + (n)) : "memory")

#endif
