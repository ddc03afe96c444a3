// SPDX-License-Identifier: Apache-2.0
/*
 * The date as a PC's clock tells it (MC146818), for unikernels that know no other: Unikraft waits
 * for its status before it has said a word.  It can be read, not set, and interrupts nobody.
 */
#include "hermit/rtc.h"

#include <string.h>
#include <time.h>

#include "hermit/plain.h"
#include "vm.h"

#define PORT 0x70 /* the register's number; its value is at the next port */

#define DAY	     86400
#define STATUS_A     0x0a
#define STATUS_B     0x0b
#define STATUS_D     0x0d
#define CENTURY	     0x32
#define OSCILLATES   0x26 /* 32 kHz divided for seconds; no update is under way */
#define HOURS_24_BCD 0x02
#define DATE_VALID   0x80

struct date {
	unsigned int second, minute, hour, weekday, day, month, year; /* from 1 but for the time */
};

static bool leap(unsigned int year)
{
	return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* Not libc's, which looks for a file of time zones first. */
static struct date date_of(time_t now)
{
	static const uint8_t lengths[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	unsigned int days = now / DAY, second = now % DAY, year = 1970, month = 0, length;
	unsigned int weekday = (days + 4) % 7 + 1; /* 1 is Sunday; the first day was a Thursday */

	for (; days >= 365u + leap(year); year++)
		days -= 365 + leap(year);
	for (;; month++) {
		length = lengths[month] + (month == 1 && leap(year));
		if (days < length)
			break;
		days -= length;
	}
	return (struct date){second % 60, second / 60 % 60, second / 3600, weekday,
			     days + 1,	  month + 1,	    year};
}

static uint8_t bcd(unsigned int value)
{
	return (uint8_t)(value / 10 % 10 << 4 | value % 10);
}

uint8_t rtc_read(unsigned int reg, time_t now)
{
	struct date d = date_of(now);

	switch (reg) {
	case 0:
		return bcd(d.second);
	case 2:
		return bcd(d.minute);
	case 4:
		return bcd(d.hour);
	case 6:
		return bcd(d.weekday);
	case 7:
		return bcd(d.day);
	case 8:
		return bcd(d.month);
	case 9:
		return bcd(d.year);
	case CENTURY:
		return bcd(d.year / 100);
	case STATUS_A:
		return OSCILLATES;
	case STATUS_B:
		return HOURS_24_BCD;
	case STATUS_D:
		return DATE_VALID;
	default:
		return 0;
	}
}

static void rtc_port(void *opaque, uint64_t offset, bool write, uint8_t *data, unsigned int len)
{
	struct plain *plain = ((struct vm *)opaque)->plain;
	struct timespec now;

	if (!write)
		memset(data, 0xff, len);
	if (write && offset == 0) {
		plain->rtc_register = data[0] & 0x7f; /* bit 7 would keep an NMI away */
	} else if (!write && offset == 1) {
		clock_gettime(CLOCK_REALTIME, &now);
		data[0] = rtc_read(plain->rtc_register, now.tv_sec);
	}
}

void rtc_connect(struct vm *vm)
{
	bus_claim(&vm->ports, PORT, 2, rtc_port, vm, false);
}
