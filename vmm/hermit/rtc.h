/* SPDX-License-Identifier: Apache-2.0 */
/* A PC's clock, for vm->plain alone. */
#ifndef HG_HERMIT_RTC_H
#define HG_HERMIT_RTC_H

#include <stdint.h>
#include <time.h>

struct vm;

/* Claims its ports. */
void rtc_connect(struct vm *vm);

/* A register's value (MC146818A: UTC, in BCD, 24 hours) at `now`, seconds since 1970. */
uint8_t rtc_read(unsigned int reg, time_t now);

#endif
