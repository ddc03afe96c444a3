/* SPDX-License-Identifier: Apache-2.0 */
/* QMP commands about what is counted; rows of the table in qmp.c. */
#ifndef HG_QMP_STATS_H
#define HG_QMP_STATS_H

#include "control.h"

/* QEMU's query-stats and query-stats-schemas, with KVM as the one provider. */
json_t *qmp_query_stats(struct vm *vm, struct control *c, json_t *args, char *text, size_t len);
json_t *qmp_stats_schemas(struct vm *vm, struct control *c, json_t *args, char *text, size_t len);

/* x-hypergen-stats: exits by reason, in all and of each vCPU; each device's counters. */
json_t *qmp_stats(struct vm *vm, struct control *c, json_t *args, char *text, size_t len);

/* Exits by reason, of all vCPUs together; those that never came are left out. */
json_t *qmp_exits(const struct vm *vm);

/* How QEMU would name a vCPU. */
#define QOM_PATH_MAX 48
void vcpu_qom_path(char path[QOM_PATH_MAX], unsigned int index);

#endif
