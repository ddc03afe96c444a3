// SPDX-License-Identifier: Apache-2.0
/* jitter [SAMPLES [WORK]]: a fixed work quantum on the first CPU; fwq.h says what it prints. */
#include "hermit.h"

#include "fwq.h"

int guest_main(uint64_t boot_info)
{
	static char text[FWQ_TEXT];
	uint32_t samples = FWQ_SAMPLES, work = FWQ_WORK;
	int argc = guest_arguments(boot_info);

	if (argc > 1)
		samples = fwq_number(guest_argv[1], FWQ_MAX_SAMPLES, FWQ_SAMPLES);
	if (argc > 2)
		work = fwq_number(guest_argv[2], 1u << 30, FWQ_WORK);
	fwq_measure(samples < 100 ? samples : 100, work); /* whatever the first ones warm up */
	fwq_measure(samples, work);
	guest_write(1, text,
		    (uint64_t)(fwq_report(text, samples, work, guest_tsc_khz(boot_info)) - text));
	return 0;
}
