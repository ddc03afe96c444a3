// SPDX-License-Identifier: Apache-2.0
#include "vmgenid.h"

#include <sys/random.h>

#include "layout.h"

int vmgenid_renew(const struct guest_memory *m)
{
	uint8_t id[16];

	if (getrandom(id, sizeof(id), 0) != sizeof(id))
		return -1;
	return memory_write(m, VMGENID_GPA, id, sizeof(id));
}
