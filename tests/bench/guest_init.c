// SPDX-License-Identifier: Apache-2.0
/*
 * A guest's init that says that it is there: the end of the way that the bench measures. Then it
 * answers each line.
 */
#include <unistd.h>

#include "guest_console.h"

int main(void)
{
	static const char mark[] = "bench-guest-init\n", answer[] = "bench-answer\n";
	char line[256];

	wait_for_console();
	if (write(1, mark, sizeof(mark) - 1) < 0)
		return 1;
	while (read(0, line, sizeof(line)) > 0)
		if (write(1, answer, sizeof(answer) - 1) < 0)
			return 1;
	for (;;)
		pause();
}
