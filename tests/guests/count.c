// SPDX-License-Identifier: Apache-2.0
/*
 * count N [FILE]: the numbers from 1 to N, a line each and about ten a second, to the standard
 * output or to FILE, which stays open meanwhile; for tests of what goes on where it was.
 */
#include "hermit.h"

#include "fwq.h"

#define O_WRONLY 1
#define O_CREAT	 0100
#define O_APPEND 02000

/* Memory that changes from number to number, and is compared before each: 1 MiB. */
static uint64_t pages[1 << 17];

static void wait(uint32_t khz)
{
	uint64_t end = fwq_now() + 100ull * (khz ? khz : 1000000);

	while (fwq_now() < end)
		__asm__ volatile("pause");
}

static int same(uint64_t number)
{
	uint64_t i;

	for (i = 0; i < sizeof(pages) / sizeof(pages[0]); i += 512)
		if (pages[i] != (number ? number + i : 0))
			return 0;
	return 1;
}

int guest_main(uint64_t boot_info)
{
	int argc = guest_arguments(boot_info), fd = 1;
	uint32_t n = argc > 1 ? fwq_number(guest_argv[1], 1000000, 10) : 10, number;
	char line[24], *end;
	uint64_t i;

	if (argc > 2)
		fd = guest_open(guest_argv[2], O_WRONLY | O_CREAT | O_APPEND, 0644);
	for (number = 1; number <= n; number++) {
		if (!same(number - 1))
			return 3;
		for (i = 0; i < sizeof(pages) / sizeof(pages[0]); i += 512)
			pages[i] = number + i;
		end = fwq_put_number(line, "", number);
		*end++ = '\n';
		if (guest_write(fd, line, (uint64_t)(end - line)) != end - line)
			return 2;
		wait(guest_tsc_khz(boot_info));
	}
	return 0;
}
