// SPDX-License-Identifier: Apache-2.0
/*
 * jitter [SAMPLES [WORK]]: what tests/guests/jitter.c measures in a guest, by a thread of the host
 * (start it with taskset or chrt to say where and how).  It does not know its TSC's frequency: 0.
 */
#include <unistd.h>

#include "../../guests/fwq.h"

int main(int argc, char **argv)
{
	static char text[FWQ_TEXT];
	uint32_t samples = FWQ_SAMPLES, work = FWQ_WORK;
	char *end;

	if (argc > 1)
		samples = fwq_number(argv[1], FWQ_MAX_SAMPLES, FWQ_SAMPLES);
	if (argc > 2)
		work = fwq_number(argv[2], 1u << 30, FWQ_WORK);
	fwq_measure(samples < 100 ? samples : 100, work);
	fwq_measure(samples, work);
	end = fwq_report(text, samples, work, 0);
	return write(1, text, (size_t)(end - text)) == end - text ? 0 : 1;
}
