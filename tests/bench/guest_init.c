// SPDX-License-Identifier: Apache-2.0
/* A guest's init that says that it is there: the end of the way that the bench measures. */
#include <unistd.h>

int main(void)
{
	static const char mark[] = "bench-guest-init\n";

	if (write(1, mark, sizeof(mark) - 1) < 0)
		return 1;
	for (;;)
		pause();
}
