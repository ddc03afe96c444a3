// SPDX-License-Identifier: Apache-2.0
#include "crc32c.h"

#define POLYNOMIAL 0x82f63b78u /* 0x1edc6f41, its bits in reverse */

/* Half a byte at a time: a table of 64 bytes that needs no set-up, for data that is small. */
static const uint32_t table[16] = {
#define STEP(c) ((c) & 1 ? (c) >> 1 ^ POLYNOMIAL : (c) >> 1)
#define ROW(c)	STEP(STEP(STEP(STEP((uint32_t)(c)))))
	ROW(0), ROW(1), ROW(2),	 ROW(3),  ROW(4),  ROW(5),  ROW(6),  ROW(7),
	ROW(8), ROW(9), ROW(10), ROW(11), ROW(12), ROW(13), ROW(14), ROW(15),
};

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
	const uint8_t *p = data;

	crc = ~crc;
	while (len--) {
		crc ^= *p++;
		crc = crc >> 4 ^ table[crc & 15];
		crc = crc >> 4 ^ table[crc & 15];
	}
	return ~crc;
}
