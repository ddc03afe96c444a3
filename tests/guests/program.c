// SPDX-License-Identifier: Apache-2.0
/* program [STATUS [WORD]...]: says its arguments, copies its input, ends with STATUS. */
#include "hermit.h"

int guest_main(uint64_t boot_info)
{
	static char buffer[512];
	int argc = guest_arguments(boot_info), status = 0, i;
	const char *digit;
	int64_t n;

	say("arguments");
	for (i = 1; i < argc; i++) {
		say(" ");
		say(guest_argv[i]);
	}
	say("\n");
	while ((n = guest_read(0, buffer, sizeof(buffer))) > 0)
		guest_write(1, buffer, (uint64_t)n);
	for (digit = argc > 1 ? guest_argv[1] : ""; *digit >= '0' && *digit <= '9'; digit++)
		status = 10 * status + *digit - '0';
	return status;
}
