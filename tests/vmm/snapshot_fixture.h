/* SPDX-License-Identifier: Apache-2.0 */
/* Changed state files that are whole again. */
#ifndef TEST_SNAPSHOT_FIXTURE_H
#define TEST_SNAPSHOT_FIXTURE_H

#include <string.h>

#include "snapshot/state.h"
#include "snapshot/sum.h"

/* A new sum for what was changed. */
static inline void reseal(uint8_t *file, size_t len)
{
	struct snap_header h;

	memcpy(&h, file, sizeof(h));
	h.sum = 0;
	h.length = len;
	memcpy(file, &h, sizeof(h));
	h.sum = sum_bytes(file, len);
	memcpy(file, &h, sizeof(h));
}

#endif
