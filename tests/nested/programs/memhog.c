// SPDX-License-Identifier: Apache-2.0
/*
 * Fills memory and gives it back, in the guest:
 *
 *   memhog MIB SECONDS
 *
 * says "full" when each page of it has been written, holds it, and says "free" after unmapping.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	size_t bytes = argc == 3 ? strtoul(argv[1], NULL, 10) << 20 : 0;
	char *p;

	if (!bytes)
		return 2;
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	memset(p, 0x5a, bytes);
	puts("full");
	fflush(stdout);
	sleep((unsigned int)atoi(argv[2]));
	munmap(p, bytes);
	puts("free");
	return 0;
}
