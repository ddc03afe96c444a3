/* SPDX-License-Identifier: Apache-2.0 */
/* Makes tar archives member by member, for tests of what reads them. */
#ifndef TEST_TAR_IMAGE_H
#define TEST_TAR_IMAGE_H

#include <string.h>

#include "driver.h"

#define TAR_ROOM (256u << 10)

struct tar {
	uint8_t data[TAR_ROOM];
	size_t size;
};

static inline void tar_sum(uint8_t *header)
{
	unsigned int i, sum = 0;

	memset(header + 148, ' ', 8);
	for (i = 0; i < 512; i++)
		sum += header[i];
	snprintf((char *)header + 148, 8, "%06o", sum);
}

/* A member with its content; type as in the header, '0' for a file. */
static inline uint8_t *tar_add(struct tar *t, const char *name, char type, const void *content,
			       size_t len)
{
	uint8_t *header = t->data + t->size;

	CHECK(t->size + 512 + ((len + 511) & ~511u) <= TAR_ROOM);
	memset(header, 0, 512);
	strncpy((char *)header, name, 100);
	strcpy((char *)header + 100, "0000755");
	snprintf((char *)header + 124, 12, "%011zo", len);
	header[156] = (uint8_t)type;
	memcpy(header + 257,
	       "ustar\0"
	       "00",
	       8);
	tar_sum(header);
	t->size += 512;
	if (len) {
		memset(t->data + t->size, 0, (len + 511) & ~511u);
		memcpy(t->data + t->size, content, len);
		t->size += (len + 511) & ~511u;
	}
	return header;
}

static inline void tar_end(struct tar *t)
{
	CHECK(t->size + 1024 <= TAR_ROOM);
	memset(t->data + t->size, 0, 1024);
	t->size += 1024;
}

#endif
