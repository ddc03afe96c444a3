// SPDX-License-Identifier: Apache-2.0
/*
 * Writes that can be checked after a crash:
 *
 *   numbered write FILE   block n full of the number n, for n = 0, 1, ...; after each eight an
 *                         fsync, and only when it has succeeded "acked N" with the last number
 *   numbered check FILE N fails unless blocks 0 to N are as written
 *   numbered zero FILE OFFSET LEN
 *                         the device writes zeros
 *   numbered storm FILE   writes of all sizes for ever, many at once, without a sync
 *   numbered clean MIB    fails if somebody writes to its memory within half a second
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BLOCK  4096
#define GROUP  8
#define BLOCKS 1024 /* 4 MiB, then from the start with higher numbers */

static uint64_t block[BLOCK / 8];

static void fill(uint64_t n)
{
	for (unsigned int i = 0; i < BLOCK / 8; i++)
		block[i] = n;
}

static int write_all(int fd)
{
	for (uint64_t n = 0;; n++) {
		fill(n);
		if (pwrite(fd, block, BLOCK, n % BLOCKS * BLOCK) != BLOCK) {
			perror("numbered: write");
			return 1;
		}
		if (n % GROUP != GROUP - 1)
			continue;
		if (fsync(fd)) {
			perror("numbered: fsync");
			return 1;
		}
		printf("acked %llu\n", (unsigned long long)n);
		fflush(stdout);
	}
}

/* Blocks past N may be older or newer: they were not acknowledged. */
static int check(int fd, uint64_t last)
{
	uint64_t n = last >= BLOCKS ? last - BLOCKS + 1 : 0;

	for (; n <= last; n++) {
		if (pread(fd, block, BLOCK, n % BLOCKS * BLOCK) != BLOCK) {
			perror("numbered: read");
			return 1;
		}
		for (unsigned int i = 0; i < BLOCK / 8; i++) {
			if (block[i] == n || (block[i] > n && block[i] % BLOCKS == n % BLOCKS))
				continue;
			printf("block %llu has %llu in it\n", (unsigned long long)n,
			       (unsigned long long)block[i]);
			return 1;
		}
	}
	printf("all %llu are there\n", (unsigned long long)last);
	return 0;
}

static int storm(const char *path)
{
	static char data[1 << 18];
	unsigned int i;
	int fd = -1;

	for (i = 0; i < 3; i++)
		if (fork() == 0)
			break;
	srandom(i);
	memset(data, 'a' + i, sizeof(data));
	fd = open(path, O_RDWR);
	printf("storm\n");
	fflush(stdout);
	for (;;) {
		size_t len = (1 + random() % (sizeof(data) / 512)) * 512;

		if (pwrite(fd, data, len, random() % 15000 * 512) < 0)
			return 1;
	}
}

static int zero(int fd, const char *offset, const char *len)
{
	uint64_t range[2] = {strtoull(offset, NULL, 10), strtoull(len, NULL, 10)};

	if (ioctl(fd, BLKZEROOUT, range) == 0)
		return 0;
	perror("numbered: BLKZEROOUT");
	return 1;
}

static int clean(unsigned int mib)
{
	size_t words = ((size_t)mib << 20) / sizeof(uint64_t);
	volatile uint64_t *memory = malloc(words * sizeof(*memory));

	for (size_t i = 0; memory && i < words; i++)
		memory[i] = 0;
	usleep(500000);
	for (size_t i = 0; memory && i < words; i++)
		if (memory[i])
			return 1;
	return !memory;
}

int main(int argc, char **argv)
{
	int fd;

	if (argc == 3 && !strcmp(argv[1], "clean"))
		return clean(atoi(argv[2]));
	if (argc == 3 && !strcmp(argv[1], "storm"))
		return storm(argv[2]);
	fd = argc >= 3 ? open(argv[2], O_RDWR) : -1;
	if (fd < 0) {
		fprintf(stderr, "numbered write|check|zero|storm FILE [N]..., or clean MIB\n");
		return 2;
	}
	if (argc == 3 && !strcmp(argv[1], "write"))
		return write_all(fd);
	if (argc == 4 && !strcmp(argv[1], "check"))
		return check(fd, strtoull(argv[3], NULL, 10));
	if (argc == 5 && !strcmp(argv[1], "zero"))
		return zero(fd, argv[3], argv[4]);
	return 2;
}
