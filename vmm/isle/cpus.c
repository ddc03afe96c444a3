// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "isle/parts.h"

int cpus_parse(const char *text, cpu_set_t *set)
{
	unsigned long first, last;
	char *end;

	CPU_ZERO(set);
	for (;;) {
		if (*text < '0' || *text > '9')
			return -1;
		first = last = strtoul(text, &end, 10);
		if (*end == '-' && end[1] >= '0' && end[1] <= '9')
			last = strtoul(end + 1, &end, 10);
		if (first > last || last >= CPU_SETSIZE)
			return -1;
		for (; first <= last; first++)
			CPU_SET(first, set);
		if (*end != ',')
			return *end ? -1 : 0;
		text = end + 1;
	}
}

void cpus_print(const cpu_set_t *set, char text[CPUS_TEXT])
{
	unsigned int cpu, last;
	size_t n = 0;

	text[0] = '\0';
	for (cpu = 0; cpu < CPU_SETSIZE; cpu = last + 1) {
		last = cpu;
		if (!CPU_ISSET(cpu, set))
			continue;
		while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, set))
			last++;
		n += snprintf(text + n, CPUS_TEXT - n, last > cpu ? "%s%u-%u" : "%s%u",
			      n ? "," : "", cpu, last);
	}
}

int cpus_parse_mask(const char *text, cpu_set_t *set)
{
	const char *end = text + strlen(text);
	unsigned int cpu = 0, bit, digit;

	CPU_ZERO(set);
	while (end > text) {
		end--;
		if (*end == ',')
			continue;
		if (!strchr("0123456789abcdefABCDEF", *end))
			return -1;
		digit = *end <= '9' ? *end - '0' : (*end | 32) - 'a' + 10;
		for (bit = 0; bit < 4; bit++, cpu++)
			if (digit & 1u << bit) {
				if (cpu >= CPU_SETSIZE)
					return -1;
				CPU_SET(cpu, set);
			}
	}
	return cpu ? 0 : -1;
}

void cpus_print_mask(const cpu_set_t *set, char text[CPUS_TEXT])
{
	unsigned int word = CPU_SETSIZE / 32, bit;
	uint32_t bits;
	size_t n = 0;

	text[0] = '\0';
	while (word--) {
		for (bits = 0, bit = 0; bit < 32; bit++)
			if (CPU_ISSET(word * 32 + bit, set))
				bits |= 1u << bit;
		if (n || bits || !word)
			n += snprintf(text + n, CPUS_TEXT - n, n ? ",%08x" : "%x", bits);
	}
}

int isle_read(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

	if (fd >= 0)
		close(fd);
	if (n < 0)
		return -1;
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return 0;
}

int isle_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), error;
	ssize_t len = (ssize_t)strlen(text), n;

	if (fd < 0)
		return -1;
	n = write(fd, text, len);
	error = errno;
	close(fd);
	errno = error;
	return n == len ? 0 : -1;
}
