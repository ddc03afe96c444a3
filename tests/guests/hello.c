// SPDX-License-Identifier: Apache-2.0
/* hello [COUNT|wait]: says hello; then writes COUNT bytes, one a call, or reads one. */
#include "hermit.h"

int guest_main(uint64_t boot_info)
{
	const char *digit = guest_arguments(boot_info) > 1 ? guest_argv[1] : "";
	unsigned int count = 0;
	char byte;

	say("hello\n");
	if (*digit == 'w')
		return (int)guest_read(0, &byte, 1);
	for (; *digit >= '0' && *digit <= '9'; digit++)
		count = 10 * count + (unsigned int)(*digit - '0');
	while (count--)
		guest_write(1, ".", 1);
	return 0;
}
