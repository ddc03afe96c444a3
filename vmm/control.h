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
#include <stdbool.h>

#include "error.h"

#define CONTROL_MAX_CLIENTS 16
#define CONTROL_MAX_LINE    65536u  /* bytes of one request */
#define CONTROL_MAX_OUTPUT  262144u /* bytes that a client may leave unread */

#define CONTROL_MAX_FDS 4 /* descriptors that a client may have passed and not closed */

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
 * Descriptors that a client passes along with its requests (SCM_RIGHTS), each for `getfd`, which
 * gives the first that has none a name; of the client whose command runs, closed with it.
 * 0, or -1 when it has passed none; the descriptor or -1; whether there was one.
 */
int control_name_fd(struct control *c, const char *name);
int control_fd(const struct control *c, const char *name);
bool control_close_fd(struct control *c, const char *name);

/*
 * qmp.c.  Runs one command; returns the "return" value, or NULL with *class and text filled.
 * args may be NULL.
 */
json_t *qmp_execute(struct vm *vm, struct control *c, const char *name, json_t *args,
		    const char **class, char *text, size_t text_len);

/* snapshot/command.c */
json_t *snapshot_command(struct vm *vm, struct control *c, json_t *args, char *text, size_t len);

#endif
