/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state file of a snapshot: a header, then sections.  All numbers are little endian.
 *
 *	struct snap_header                 magic, version, length, checksum over the whole file
 *	struct snap_section, payload       padded with zeros to a multiple of 8
 *	...
 *
 * A section is one thing's state (a vCPU's, a device's); `instance` numbers things of a kind.
 * KVM's structures are stored as its x86 API has them, which never changes.
 *
 * A reader trusts nothing: not the file's length, not its checksum (anybody can compute it),
 * not a section.  snap_open() has checked the bounds of all sections, snap_take*() each value's;
 * what the values mean is checked by whoever takes them.
 */
#ifndef HG_SNAPSHOT_FORMAT_H
#define HG_SNAPSHOT_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define SNAP_MAGIC	     "HGSNAP\r\n" /* the line end shows what a text-mode copy did */
#define SNAP_VERSION	     2		  /* of the header, the way to read the rest, the machine */
#define SNAP_SECTION_VERSION 1		  /* of each kind of section so far */
#define SNAP_MAX	     (64u << 20)  /* bytes of a state file */
#define SNAP_ID		     16

struct snap_header {
	char magic[8];
	uint32_t version;
	uint32_t reserved; /* 0 */
	uint64_t length;   /* of the file */
	uint64_t sum;	   /* sum_bytes() of the file with this field 0 */
	uint8_t id[SNAP_ID];
};

enum snap_kind {
	SNAP_OPTIONS = 1, /* the part of the command line that the guest depends on */
	SNAP_MEMORY,	  /* what is in the memory file */
	SNAP_CLOCK,
	SNAP_IRQCHIP, /* instance: KVM_IRQCHIP_* */
	SNAP_PLATFORM,
	SNAP_DEVICE, /* instance: its place on the virtio-mmio bus */
	SNAP_CPUID,  /* the rest: instance is the vCPU's index */
	SNAP_REGS,
	SNAP_SREGS,
	SNAP_XSAVE,
	SNAP_XCRS,
	SNAP_DEBUGREGS,
	SNAP_LAPIC,
	SNAP_MP_STATE,
	SNAP_EVENTS,
	SNAP_MSRS,
	SNAP_TSC,
	SNAP_NESTED,
	SNAP_UNIKERNEL, /* hermit/saved.c */
	SNAP_KINDS,
};

struct snap_section {
	uint16_t kind;
	uint16_t version;
	uint32_t instance;
	uint32_t length; /* of the payload */
	uint32_t reserved;
};

/* A state file being made; a failed allocation is noticed at the end. */
struct snap_out {
	uint8_t *data;
	size_t len, room;
	size_t section; /* where the open one is */
	bool failed;
};

void snap_create(struct snap_out *o, const uint8_t id[SNAP_ID]);
void snap_begin(struct snap_out *o, enum snap_kind kind, uint32_t instance);
void snap_put(struct snap_out *o, const void *data, size_t len);
void snap_put32(struct snap_out *o, uint32_t value);
void snap_put64(struct snap_out *o, uint64_t value);
void snap_end(struct snap_out *o);
/* Fills in the header. 0, or -1 when memory ran out on the way. */
int snap_finish(struct snap_out *o);
void snap_discard(struct snap_out *o);

/* What is left of one section's payload.  Past its end everything is 0 and `bad` is set. */
struct snap_in {
	const uint8_t *data;
	size_t len;
	bool bad;
};

/*
 * Checks header, checksum and the bounds of every section of the file's bytes (aligned to 8), which
 * are as before when it returns.  0, or -1 with the reason.
 */
int snap_check(uint8_t *file, size_t len, struct error *e);

/* The id of a checked file. */
const uint8_t *snap_id(const uint8_t *file);

/* One section of a checked file.  False: there is none; *in is empty and bad. */
bool snap_find(const uint8_t *file, enum snap_kind kind, uint32_t instance, struct snap_in *in);

/* The next len bytes, or NULL. */
const void *snap_take(struct snap_in *in, size_t len);
void snap_take_to(struct snap_in *in, void *to, size_t len); /* zeros when they are not there */
uint32_t snap_take32(struct snap_in *in);
uint64_t snap_take64(struct snap_in *in);

/* Whether all was there and nothing is left over: 0, or -1 with "`what` is damaged". */
int snap_done(const struct snap_in *in, const char *what, struct error *e);

#endif
