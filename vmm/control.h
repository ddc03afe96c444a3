/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket: the QMP wire protocol (QEMU's docs/interop/qmp-spec.rst) without
 * out-of-band execution.  Several clients at once; a client whose
 * input line or unread output outgrows its bound is dropped.
 * Everything runs in the event loop with the VM's lock held.
 */
#ifndef HG_CONTROL_H
#define HG_CONTROL_H

#include <jansson.h>

#include "error.h"

#define CONTROL_MAX_CLIENTS 16
#define CONTROL_MAX_LINE    65536u  /* bytes of one request */
#define CONTROL_MAX_OUTPUT  262144u /* bytes that a client may leave unread */

struct vm;
struct control;

struct control *control_create(struct vm *vm, const char *path, struct error *e);

/*
 * Sends an event to every client past its greeting.  fmt, ...: its data as for json_pack(),
 * NULL for none.  c may be NULL.
 */
void control_event(struct control *c, const char *name, const char *fmt, ...);

/*
 * The client whose command runs now becomes a debugger's connection (gdb/gdb.h) once the
 * command is answered.
 */
void control_hand_over(struct control *c);

/*
 * qmp.c.  Runs one command; returns the "return" value, or NULL with *class and text filled.
 * args may be NULL.
 */
json_t *qmp_execute(struct vm *vm, struct control *c, const char *name, json_t *args,
		    const char **class, char *text, size_t text_len);

#endif
