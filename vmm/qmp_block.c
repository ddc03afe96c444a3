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

/* The disk that args name, or NULL with text filled. */
static struct virtio_dev *disk_of(struct vm *vm, json_t *args, char *text, size_t len)
{
	const char *device = json_string_value(json_object_get(args, "device"));
	char name[NAME_LEN];
	unsigned int i;

	for (i = 0; device && i < vm->cfg->ndisks; i++) {
		disk_name(name, i);
		if (!strcmp(name, device))
			return vm->disks[i];
	}
	snprintf(text, len, "Cannot find device '%.32s'", device ? device : "");
	return NULL;
}

json_t *qmp_block_resize(struct vm *vm, struct control *c, json_t *args, char *text, size_t len)
{
	json_t *size = json_object_get(args, "size");
	struct virtio_dev *disk;

	(void)c;
	if (!json_object_get(args, "device") || !json_is_integer(size) ||
	    json_integer_value(size) < 0) {
		snprintf(text, len, "block_resize needs 'device' (disk0) and 'size' in bytes");
		return NULL;
	}
	disk = disk_of(vm, args, text, len);
	if (!disk || blk_resize(disk, (uint64_t)json_integer_value(size), text, len))
		return NULL;
	return json_object();
}

/* The rate `key` of args into *rate, which stays as it is without one; -1 with text filled. */
static int take_rate(json_t *args, const char *key, int64_t *rate, char *text, size_t len)
{
	json_t *value = json_object_get(args, key);

	if (!value)
		return 0;
	*rate = json_integer_value(value);
	if (json_is_integer(value) && *rate >= 0 && *rate <= (int64_t)RATE_MAX)
		return 0;
	snprintf(text, len, "'%s' is from 0 (no limit) to %llu", key, RATE_MAX);
	return -1;
}

/* QEMU's, with `bps` and `iops` alone: limits of reads or writes by themselves there are none. */
json_t *qmp_block_throttle(struct vm *vm, struct control *c, json_t *args, char *text, size_t len)
{
	struct virtio_dev *disk = disk_of(vm, args, text, len);
	int64_t bps = -1, iops = -1;

	(void)c;
	if (!disk || take_rate(args, "bps", &bps, text, len) ||
	    take_rate(args, "iops", &iops, text, len))
		return NULL;
	if (blk_set_rate(disk, iops, bps)) {
		snprintf(text, len, "the limit cannot be set: %s", strerror(errno));
		return NULL;
	}
	return json_object();
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
