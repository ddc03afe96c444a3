// SPDX-License-Identifier: Apache-2.0
/* Disks on the control socket, in QEMU's shapes (qapi/block-core.json, qapi/block.json). */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "qmp_devices.h"
#include "virtio/blk.h"
#include "vm.h"

#define NAME_LEN 16

static void disk_name(char name[NAME_LEN], unsigned int index)
{
	snprintf(name, NAME_LEN, "disk%u", index);
}

static json_t *stats_of(const struct virtio_dev *dev)
{
	const struct blk_stats *s = blk_get_stats(dev);
	const struct {
		const char *name;
		uint64_t value;
	} rows[] = {
		{"rd_bytes", s->rd_bytes},
		{"wr_bytes", s->wr_bytes},
		{"unmap_bytes", s->unmap_bytes},
		{"rd_operations", s->rd_operations},
		{"wr_operations", s->wr_operations},
		{"flush_operations", s->flush_operations},
		{"unmap_operations", s->unmap_operations},
		{"failed_rd_operations", s->failed_rd_operations},
		{"failed_wr_operations", s->failed_wr_operations},
		{"failed_flush_operations", s->failed_flush_operations},
		{"failed_unmap_operations", s->failed_unmap_operations},
		{"failed_operations", s->failed_rd_operations + s->failed_wr_operations +
					      s->failed_flush_operations +
					      s->failed_unmap_operations + s->invalid_operations},
		{"x-hypergen-invalid_operations", s->invalid_operations},
		{"x-hypergen-copied_blocks", s->copied_blocks},
		{"x-hypergen-throttled", blk_throttled(dev)},
	};
	json_t *stats = json_object();
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		json_object_set_new(stats, rows[i].name, json_integer((json_int_t)rows[i].value));
	return stats;
}

json_t *qmp_query_blockstats(struct vm *vm, struct control *c, json_t *args, char *text, size_t len)
{
	json_t *list = json_array();
	char name[NAME_LEN];
	unsigned int i;

	(void)c, (void)args, (void)text, (void)len;
	for (i = 0; i < vm->cfg->ndisks; i++) {
		disk_name(name, i);
		json_array_append_new(list, json_pack("{s:s,s:o}", "device", name, "stats",
						      stats_of(vm->disks[i])));
	}
	return list;
}

json_t *qmp_block_resize(struct vm *vm, struct control *c, json_t *args, char *text, size_t len)
{
	const char *device = json_string_value(json_object_get(args, "device"));
	json_t *size = json_object_get(args, "size");
	char name[NAME_LEN];
	unsigned int i;

	(void)c;
	if (!device || !json_is_integer(size) || json_integer_value(size) < 0) {
		snprintf(text, len, "block_resize needs 'device' (disk0) and 'size' in bytes");
		return NULL;
	}
	for (i = 0; i < vm->cfg->ndisks; i++) {
		disk_name(name, i);
		if (strcmp(name, device))
			continue;
		if (blk_resize(vm->disks[i], (uint64_t)json_integer_value(size), text, len))
			return NULL;
		return json_object();
	}
	snprintf(text, len, "Cannot find device '%.32s'", device);
	return NULL;
}

static void on_error(void *arg, unsigned int index, bool write, int error)
{
	struct vm *vm = arg;
	char name[NAME_LEN];

	disk_name(name, index);
	control_event(vm->control, "BLOCK_IO_ERROR", "{s:s, s:s, s:s, s:b, s:s}", "device", name,
		      "operation", write ? "write" : "read", "action", "report", "nospace",
		      error == ENOSPC, "reason", strerror(error));
}

void qmp_block_errors(struct vm *vm)
{
	unsigned int i;

	for (i = 0; i < vm->cfg->ndisks; i++)
		blk_on_error(vm->disks[i], on_error, vm);
}
