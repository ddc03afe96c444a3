// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "options/family.h"
#include "options/params.h"

#define SERIAL_MAX 20 /* virtio 1.2, 5.2.6: VIRTIO_BLK_T_GET_ID has room for as many bytes */

static int check(const struct disk_config *d, struct error *e)
{
	if (d->serial && strlen(d->serial) > SERIAL_MAX)
		return error_set(e, ERROR_USER, "--disk: serial '%s' has more than %d bytes",
				 d->serial, SERIAL_MAX);
	if (d->read_only && (d->snapshot || d->overlay))
		return error_set(e, ERROR_USER,
				 "--disk %s: readonly and %s exclude each other (the image itself "
				 "is not written with %s)",
				 d->path, d->overlay ? "overlay" : "snapshot",
				 d->overlay ? "overlay" : "snapshot");
	if (d->snapshot && d->overlay)
		return error_set(e, ERROR_USER,
				 "--disk %s: give overlay=FILE, which is kept, or snapshot, which "
				 "is not",
				 d->path);
	return 0;
}

int option_disk(char *value, struct vm_config *cfg, struct error *e)
{
	struct disk_config *disk = &cfg->disks[cfg->ndisks];
	const struct param known[] = {
		{.key = "readonly", .kind = PARAM_FLAG, .to = &disk->read_only},
		{.key = "snapshot", .kind = PARAM_FLAG, .to = &disk->snapshot},
		{.key = "overlay", .kind = PARAM_TEXT, .to = &disk->overlay},
		{.key = "direct", .kind = PARAM_FLAG, .to = &disk->direct},
		{.key = "serial", .kind = PARAM_TEXT, .to = &disk->serial},
		{.key = "queues",
		 .kind = PARAM_NUMBER,
		 .to = &disk->queues,
		 .min = 1,
		 .max = MAX_DISK_QUEUES},
		{"iops", PARAM_PARSED, &disk->rate.ops, 0, 0, parse_rate, RATE_EXPECTED},
		{"bps", PARAM_PARSED, &disk->rate.bytes, 0, 0, parse_rate, RATE_EXPECTED},
		{0},
	};

	if (cfg->ndisks == MAX_DISKS)
		return error_set(e, ERROR_USER, "--disk: at most %d disks", MAX_DISKS);
	disk->path = params_next(&value);
	if (!*disk->path)
		return error_set(e, ERROR_USER, "--disk: the path is empty");
	if (params_parse("--disk", value, known, e) || check(disk, e))
		return -1;
	cfg->ndisks++;
	return 0;
}
