/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HG_CRC32C_H
#define HG_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* CRC-32C (Castagnoli, as in RFC 3720, appendix B.4); `crc` is 0, or what the bytes before gave. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);

#endif
