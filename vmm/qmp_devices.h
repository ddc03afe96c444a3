/* SPDX-License-Identifier: Apache-2.0 */
/* QMP commands of single devices; rows of the table in qmp.c. */
#ifndef HG_QMP_DEVICES_H
#define HG_QMP_DEVICES_H

#include "control.h"

/* qmp_balloon.c: QEMU's `balloon` and `query-balloon`, and QEMU's guest-stats as a command. */
json_t *qmp_balloon(struct vm *vm, struct control *c, json_t *args, char *text, size_t len);
json_t *qmp_query_balloon(struct vm *vm, struct control *c, json_t *args, char *text, size_t len);
json_t *qmp_balloon_stats(struct vm *vm, struct control *c, json_t *args, char *text, size_t len);

/*
 * qmp_block.c: QEMU's `query-blockstats`, `block_resize` and `block_set_io_throttle`; disks are
 * called disk0, disk1, ...
 * qmp_block_errors() makes their failures BLOCK_IO_ERROR events.
 */
json_t *qmp_query_blockstats(struct vm *vm, struct control *c, json_t *args, char *text,
			     size_t len);
json_t *qmp_block_resize(struct vm *vm, struct control *c, json_t *args, char *text, size_t len);
json_t *qmp_block_throttle(struct vm *vm, struct control *c, json_t *args, char *text, size_t len);
void qmp_block_errors(struct vm *vm);

#endif
