// SPDX-License-Identifier: Apache-2.0
/*
 * A plugin for QEMU's TCG that counts executed instructions by address, host and nested guest
 * apart, between marks (mark.h) that the measured machine sets.
 *
 *   qemu-system-x86_64 -plugin FILE,out=PATH ... -accel tcg,thread=single -smp 1
 *
 * PATH gets for each stretch:
 *
 *   stretch
 *   user N, kernel N, guest N   instructions of the host's programs, its kernel, nested guests
 *   entries N                   VMRUNs, and so exits
 *   first N                     instructions before the first of them
 *   user-first N                of these the host's programs'
 *
 * and after MARK_BLOCKS also
 *
 *   h ADDRESS TIMES COUNT       a basic block of the host: entered how often, instructions in it
 *   g ADDRESS TIMES COUNT       one of a nested guest
 *   x ADDRESS TIMES             exits out of the guest's block at ADDRESS
 *
 * Declarations follow QEMU's plugin interface, version 1 (docs/devel/tcg-plugins.rst).
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mark.h"

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*vcpu_fn)(unsigned int vcpu, void *data);

enum { NO_REGS = 0 }; /* the callback touches no register of the CPU */
enum { ADD_U64 = 0 }; /* the inline operation */

extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id,
						  void (*)(plugin_id, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, vcpu_fn, int, void *);
extern void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *, int, void *,
						       uint64_t);
extern void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
extern size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

struct block {
	uint64_t address, times, count, exits;
	bool guest;
};

#define CHUNK  65536
#define CHUNKS 1024

static struct block *chunks[CHUNKS];
static size_t nblocks;
static FILE *out;
static bool in_guest;	     /* what runs was entered with VMRUN */
static uint64_t after_vmrun; /* where the host goes on */
static uint64_t entries, first[3];
static struct block *last; /* of the guest */
static uint32_t mark;

static struct block *block(size_t i)
{
	return &chunks[i / CHUNK][i % CHUNK];
}

static struct block *new_block(void)
{
	size_t i = nblocks++;

	if (i / CHUNK >= CHUNKS)
		abort();
	if (!chunks[i / CHUNK])
		chunks[i / CHUNK] = calloc(CHUNK, sizeof(struct block));
	return block(i);
}

enum part { USER, KERNEL, GUEST, PARTS };

static void add_up(uint64_t sum[PARTS])
{
	memset(sum, 0, PARTS * sizeof(*sum));
	for (size_t i = 0; i < nblocks; i++)
		sum[block(i)->guest	      ? GUEST
		    : block(i)->address >> 63 ? KERNEL
					      : USER] += block(i)->count;
}

static void write_blocks(void)
{
	for (size_t i = 0; i < nblocks; i++) {
		const struct block *b = block(i);

		if (b->count)
			fprintf(out, "%c %lx %lu %lu\n", b->guest ? 'g' : 'h', b->address, b->times,
				b->count);
		if (b->exits)
			fprintf(out, "x %lx %lu\n", b->address, b->exits);
	}
}

static void write_stretch(void)
{
	uint64_t sum[PARTS];

	add_up(sum);
	fprintf(out, "stretch\nuser %lu\nkernel %lu\nguest %lu\n", sum[USER], sum[KERNEL],
		sum[GUEST]);
	fprintf(out, "entries %lu\nfirst %lu\nuser-first %lu\n", entries,
		first[USER] + first[KERNEL], first[USER]);
	if (mark == MARK_BLOCKS)
		write_blocks();
	fflush(out);
}

static void on_mark(unsigned int vcpu, void *data)
{
	(void)vcpu;
	if (mark)
		write_stretch();
	for (size_t i = 0; i < nblocks; i++)
		block(i)->times = block(i)->count = block(i)->exits = 0;
	mark = (uint32_t)(uintptr_t)data;
	entries = 0;
	memset(first, 0, sizeof(first));
}

static void on_vmrun(unsigned int vcpu, void *data)
{
	(void)vcpu;
	if (mark && !entries)
		add_up(first);
	entries++;
	in_guest = true;
	after_vmrun = (uintptr_t)data;
}

static void on_exit_to_host(unsigned int vcpu, void *data)
{
	(void)vcpu;
	(void)data;
	if (in_guest && last)
		last->exits++;
	in_guest = false;
}

static void on_guest_block(unsigned int vcpu, void *data)
{
	(void)vcpu;
	last = data;
}

static void on_translation(plugin_id id, struct qemu_plugin_tb *tb)
{
	size_t n = qemu_plugin_tb_n_insns(tb);
	struct block *b = new_block();

	(void)id;
	b->address = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, 0));
	/* A block is translated just before it runs, and QEMU keeps the two modes' blocks apart. */
	b->guest = in_guest && b->address != after_vmrun;
	for (size_t i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		const uint8_t *code = qemu_plugin_insn_data(insn);
		size_t size = qemu_plugin_insn_size(insn);
		uint64_t address = qemu_plugin_insn_vaddr(insn);
		uint32_t word = 0;

		/* All of a block's at once: a block that faults halfway is counted too high. */
		if (i == 0) {
			qemu_plugin_register_vcpu_insn_exec_inline(insn, ADD_U64, &b->times, 1);
			qemu_plugin_register_vcpu_insn_exec_inline(insn, ADD_U64, &b->count, n);
		}
		if (i == 0 && b->guest)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_guest_block, NO_REGS, b);
		if (i == 0 && !b->guest && address == after_vmrun)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_exit_to_host, NO_REGS,
							       NULL);
		if (size == 3 && !memcmp(code, "\x0f\x01\xd8", 3))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_vmrun, NO_REGS,
							       (void *)(uintptr_t)(address + 3));
		if (size == 7 && !memcmp(code, "\x0f\x1f\x80", 3)) {
			memcpy(&word, code + 3, 4);
			if ((word & ~MARK_MASK) == MARK_MAGIC)
				qemu_plugin_register_vcpu_insn_exec_cb(
					insn, on_mark, NO_REGS,
					(void *)(uintptr_t)(word & MARK_MASK));
		}
	}
}

static void on_end(plugin_id id, void *data)
{
	(void)id;
	(void)data;
	if (mark)
		write_stretch();
	fclose(out);
}

__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id id, const void *info,
							       int argc, char **argv)
{
	(void)info;
	if (argc != 1 || strncmp(argv[0], "out=", 4) || !(out = fopen(argv[0] + 4, "w"))) {
		fputs("plugin: wants out=FILE\n", stderr);
		return -1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
	qemu_plugin_register_atexit_cb(id, on_end, NULL);
	return 0;
}
