// SPDX-License-Identifier: Apache-2.0
/* Breakpoints as int3 in guest RAM; hardware breakpoints and watchpoints as debug registers. */
#include <string.h>

#include "gdb/stub.h"

const struct trap trap_int3 = {.len = 1, .code = {0xcc}};
const struct trap trap_out = {.len = 2, .code = {0xe6 /* out %al, $port */, GDB_TRAP_PORT}};

static struct vcpu *looked_at(struct gdb *g)
{
	return &g->vm->vcpus[g->cpu_regs];
}

static struct breakpoint *other_at(struct gdb *g, const struct breakpoint *b)
{
	struct breakpoint *o;

	for (o = g->breakpoints; o < g->breakpoints + MAX_BREAKPOINTS; o++)
		if (o != b && o->used && o->gpa == b->gpa)
			return o;
	return NULL;
}

bool breakpoint_at(const struct gdb *g, uint64_t gpa)
{
	const struct breakpoint *b;

	for (b = g->breakpoints; b < g->breakpoints + MAX_BREAKPOINTS; b++)
		if (b->used && b->gpa == gpa)
			return true;
	return false;
}

/* Two traps may share an address, but not a part of themselves. */
static bool overlaps(const struct gdb *g, uint64_t gpa)
{
	const struct breakpoint *b;

	for (b = g->breakpoints; b < g->breakpoints + MAX_BREAKPOINTS; b++)
		if (b->used && b->gpa != gpa && b->gpa + g->trap->len > gpa &&
		    gpa + g->trap->len > b->gpa)
			return true;
	return false;
}

static int insert_software(struct gdb *g, uint64_t address)
{
	struct breakpoint *b, *other;
	unsigned int len = g->trap->len;

	for (b = g->breakpoints; b < g->breakpoints + MAX_BREAKPOINTS && b->used; b++)
		;
	if (b == g->breakpoints + MAX_BREAKPOINTS ||
	    target_ram(g->ops, looked_at(g), address, &b->gpa) || (b->gpa & 4095) + len > 4096 ||
	    overlaps(g, b->gpa))
		return -1;
	b->address = address;
	other = other_at(g, b); /* one byte of RAM can have several addresses */
	if (other)
		memcpy(b->original, other->original, len);
	else if (memory_read(&g->vm->mem, b->gpa, b->original, len) ||
		 memory_write(&g->vm->mem, b->gpa, g->trap->code, len))
		return -1;
	b->used = true;
	return 0;
}

static bool holds(const struct gdb *g, uint64_t gpa, const uint8_t *code)
{
	uint8_t now[TRAP_MAX];

	return !memory_read(&g->vm->mem, gpa, now, g->trap->len) &&
	       !memcmp(now, code, g->trap->len);
}

static void take_out(struct gdb *g, struct breakpoint *b)
{
	b->used = false;
	/* What is not ours any more was changed by the guest, which has the last word. */
	if (!other_at(g, b) && holds(g, b->gpa, g->trap->code))
		memory_write(&g->vm->mem, b->gpa, b->original, g->trap->len);
}

static int remove_software(struct gdb *g, uint64_t address)
{
	struct breakpoint *b;

	for (b = g->breakpoints; b < g->breakpoints + MAX_BREAKPOINTS; b++) {
		if (b->used && b->address == address) {
			take_out(g, b);
			return 0;
		}
	}
	return -1;
}

/* A debug register watches 1, 2, 4 or 8 aligned bytes (Intel SDM volume 3, 18.2.5). */
static unsigned int piece(uint64_t address, uint64_t len)
{
	unsigned int n = 8;

	while (n > len || (address & (n - 1)))
		n /= 2;
	return n;
}

static void remove_register(struct gdb *g, enum break_type type, uint64_t address)
{
	struct debug_register *d;

	for (d = g->registers; d < g->registers + DEBUG_REGISTERS; d++)
		if (d->used && d->type == type && d->request == address)
			d->used = false;
}

static int insert_register(struct gdb *g, enum break_type type, uint64_t address, uint64_t len)
{
	uint64_t at = address, left = type == BP_HARDWARE ? 1 : len;
	struct debug_register *d;

	if (!left || left > DEBUG_REGISTERS * 8)
		return -1;
	while (left) {
		for (d = g->registers; d < g->registers + DEBUG_REGISTERS && d->used; d++)
			;
		if (d == g->registers + DEBUG_REGISTERS) {
			remove_register(g, type, address);
			return -1;
		}
		*d = (struct debug_register){.used = true,
					     .type = type,
					     .request = address,
					     .address = at,
					     .len = piece(at, left)};
		at += d->len;
		left -= d->len;
	}
	return 0;
}

int breakpoint_insert(struct gdb *g, enum break_type type, uint64_t address, uint64_t len)
{
	return type == BP_SOFTWARE ? insert_software(g, address)
				   : insert_register(g, type, address, len);
}

int breakpoint_remove(struct gdb *g, enum break_type type, uint64_t address)
{
	if (type == BP_SOFTWARE)
		return remove_software(g, address);
	remove_register(g, type, address);
	return 0;
}

void breakpoint_remove_all(struct gdb *g)
{
	struct breakpoint *b;

	for (b = g->breakpoints; b < g->breakpoints + MAX_BREAKPOINTS; b++)
		if (b->used)
			take_out(g, b);
	memset(g->registers, 0, sizeof(g->registers));
}

/* The same kernel lies at the same place again; what else was there is gone, and its breaks. */
void breakpoints_rewrite(struct gdb *g)
{
	struct breakpoint *b;

	for (b = g->breakpoints; b < g->breakpoints + MAX_BREAKPOINTS; b++) {
		if (!b->used)
			continue;
		if (holds(g, b->gpa, b->original))
			memory_write(&g->vm->mem, b->gpa, g->trap->code, g->trap->len);
		else /* unless it has two addresses and was just written */
			b->used = holds(g, b->gpa, g->trap->code);
	}
}

/* The byte of a buffer, copied from or for `address` on, that lies at gpa in RAM; or NULL. */
static uint8_t *covered(struct gdb *g, uint64_t gpa, uint64_t address, uint8_t *data, uint64_t len)
{
	uint64_t at, there;

	/* Wherever the buffer's pages are mapped from: only the offset in the page is known. */
	for (at = (gpa - address) & 4095; at < len; at += 4096)
		if (!target_ram(g->ops, looked_at(g), address + at, &there) && there == gpa)
			return data + at;
	return NULL;
}

void breakpoints_hide(struct gdb *g, uint64_t address, uint8_t *data, uint64_t len)
{
	struct breakpoint *b;
	unsigned int i;
	uint8_t *byte;

	for (b = g->breakpoints; b < g->breakpoints + MAX_BREAKPOINTS; b++) {
		for (i = 0; b->used && i < g->trap->len; i++) {
			byte = covered(g, b->gpa + i, address, data, len);
			if (byte && *byte == g->trap->code[i])
				*byte = b->original[i];
		}
	}
}

/* The byte of the original code at gpa is now `value`, whichever breakpoints cover it. */
static void change_original(struct gdb *g, uint64_t gpa, uint8_t value)
{
	struct breakpoint *b;

	for (b = g->breakpoints; b < g->breakpoints + MAX_BREAKPOINTS; b++)
		if (b->used && gpa - b->gpa < g->trap->len)
			b->original[gpa - b->gpa] = value;
}

void breakpoints_keep(struct gdb *g, uint64_t address, uint8_t *data, uint64_t len)
{
	struct breakpoint *b;
	unsigned int i;
	uint8_t *byte;

	for (b = g->breakpoints; b < g->breakpoints + MAX_BREAKPOINTS; b++) {
		for (i = 0; b->used && i < g->trap->len; i++) {
			byte = covered(g, b->gpa + i, address, data, len);
			if (!byte || *byte == g->trap->code[i])
				continue;
			change_original(g, b->gpa + i, *byte);
			*byte = g->trap->code[i];
		}
	}
}

/* DR7: two enable bits a register, then four of type and length (Intel SDM volume 3, 18.2.4). */
static uint64_t dr7_of(const struct debug_register *d, unsigned int n)
{
	static const uint8_t types[] = {
		[BP_HARDWARE] = 0, [BP_WRITE] = 1, [BP_READ] = 3, [BP_ACCESS] = 3};
	static const uint8_t lengths[] = {[1] = 0, [2] = 1, [4] = 3, [8] = 2};

	if (!d->used)
		return 0;
	return 2ull << 2 * n | (uint64_t)(types[d->type] | lengths[d->len] << 2) << (16 + 4 * n);
}

int breakpoints_arm(struct gdb *g, unsigned int cpu, enum debug_inject inject, uint64_t dr6)
{
	struct debug_control c = {.inject = inject, .dr6 = dr6, .step = g->cpus[cpu].stepping};
	const struct breakpoint *b;
	unsigned int i;

	c.on = c.step;
	for (b = g->breakpoints; !c.on && b < g->breakpoints + MAX_BREAKPOINTS; b++)
		c.on = b->used;
	for (i = 0; i < DEBUG_REGISTERS; i++) {
		c.dr7 |= dr7_of(&g->registers[i], i);
		c.address[i] = g->registers[i].address;
	}
	c.on = c.on || c.dr7;
	return g->ops->arm(&g->vm->vcpus[cpu], &c);
}

void breakpoints_arm_all(struct gdb *g)
{
	unsigned int i;

	for (i = 0; i < g->vm->cfg->cpus; i++)
		breakpoints_arm(g, i, INJECT_NONE, 0);
}
