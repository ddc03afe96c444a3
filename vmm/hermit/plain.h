/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unikernels that are no Hermit's, run like programs: Unikraft's and Solo5's boot by multiboot, PVH
 * or Linux's protocol (boot/), on the machine that every VM has.  What is added to it:
 *
 *   a UART, as their console		an 8254 and the 8259s, by which they find their clock's rate
 *   ports 0x501 and 0xf4, whose value	a clock that tells the date (rtc.c)
 *   becomes the exit status		Unilib-FS
 */
#ifndef HG_HERMIT_PLAIN_H
#define HG_HERMIT_PLAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"
#include "hermit/files.h"

struct vm;

struct plain {
	struct files *files;
	bool unilib_ready;
	uint8_t rtc_register;
	char *cmdline; /* the image's name and its arguments */
};

/* For vm->cfg->hermit.named, when it is no Hermit: makes vm->plain.  0, or -1 and *e. */
int plain_open(struct vm *vm, struct error *e);

/* Claims the ports. */
void plain_connect(struct vm *vm);

void plain_destroy(struct vm *vm);

#endif
