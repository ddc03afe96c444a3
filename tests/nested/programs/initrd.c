// SPDX-License-Identifier: Apache-2.0
/*
 * initrd TARGET PART... <SCRIPT: the PARTs one after another, and an archive with SCRIPT as
 * /test.sh behind them (newc: kernel documentation, driver-api/early-userspace/buffer-format).
 * Done by cpio, cat and their like it would be eight processes for each guest.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_SCRIPT 65536

static char buffer[1 << 18];

static int append(FILE *target, const char *path)
{
	FILE *part = fopen(path, "r");
	size_t got;

	if (!part) {
		perror(path);
		return -1;
	}
	while ((got = fread(buffer, 1, sizeof(buffer), part)) > 0)
		fwrite(buffer, 1, got, target);
	fclose(part);
	return 0;
}

/* Name and content are filled up to four bytes each. */
static void member(FILE *target, unsigned int ino, const char *name, const char *data, size_t len)
{
	static const char zeros[4];
	size_t named = strlen(name) + 1;

	fprintf(target, "070701%08x%08x%08x%08x%08x%08x%08zx%08x%08x%08x%08x%08zx%08x", ino,
		ino ? S_IFREG | 0755 : 0, 0, 0, 1, 0, len, 0, 0, 0, 0, named, 0);
	fwrite(name, 1, named, target);
	fwrite(zeros, 1, -(110 + named) % 4, target);
	fwrite(data, 1, len, target);
	fwrite(zeros, 1, -len % 4, target);
}

int main(int argc, char **argv)
{
	static char script[MAX_SCRIPT];
	FILE *target = argc > 1 ? fopen(argv[1], "w") : NULL;
	size_t len;

	if (!target) {
		fprintf(stderr, "initrd TARGET PART... <SCRIPT\n");
		return 2;
	}
	for (int i = 2; i < argc; i++)
		if (append(target, argv[i]))
			return 1;
	len = fread(script, 1, sizeof(script), stdin);
	if (len == sizeof(script)) {
		fprintf(stderr, "initrd: the script is too long\n");
		return 1;
	}
	member(target, 1, "test.sh", script, len);
	member(target, 0, "TRAILER!!!", "", 0);
	if (ferror(target) || fclose(target)) {
		perror(argv[1]);
		return 1;
	}
	return 0;
}
