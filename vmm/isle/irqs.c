// SPDX-License-Identifier: Apache-2.0
/*
 * Where interrupts go (Documentation/core-api/irq/irq-affinity.rst).  Some cannot be moved: those
 * of one CPU, such as timers, and queues whose driver has spread them itself; the kernel refuses
 * those with EIO, and they stay.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "isle/parts.h"

#define FOLDER "/proc/irq"
#define LINE   (CPUS_TEXT + 32)

/* What RUN/isle/irqs holds: lines "NAME MASK", NAME a number or "default". */
struct saved {
	char *text; /* "\nNAME MASK\nNAME MASK\n" */
	size_t len;
};

static void load(struct saved *s, const char *path)
{
	FILE *f = fopen(path, "re");
	char line[LINE];
	char *more;
	size_t n;

	s->text = strdup("\n");
	s->len = s->text ? 1 : 0;
	while (f && s->text && fgets(line, sizeof(line), f)) {
		n = strlen(line);
		more = realloc(s->text, s->len + n + 1);
		if (!more)
			break;
		s->text = more;
		memcpy(s->text + s->len, line, n + 1);
		s->len += n;
	}
	if (f)
		fclose(f);
}

/* The mask of `name`, or of interrupts that came after the first isle did. */
static bool saved_mask(const struct saved *s, const char *name, cpu_set_t *mask)
{
	char key[32], text[CPUS_TEXT];
	const char *at;

	snprintf(key, sizeof(key), "\n%s ", name);
	at = s->text ? strstr(s->text, key) : NULL;
	if (!at || sscanf(at + strlen(key), "%4095s", text) != 1)
		return false;
	return !cpus_parse_mask(text, mask);
}

static void path_of(char path[64], const char *name)
{
	if (!strcmp(name, "default"))
		snprintf(path, 64, FOLDER "/default_smp_affinity");
	else
		snprintf(path, 64, FOLDER "/%.20s/smp_affinity", name);
}

/* `more`, if not NULL, takes the line that remembers where it was. */
static void keep_one(const char *name, const cpu_set_t *shared, const struct saved *s, FILE *more)
{
	char path[64], text[CPUS_TEXT];
	cpu_set_t now, before, wanted;

	path_of(path, name);
	if (isle_read(path, text, sizeof(text)) || cpus_parse_mask(text, &now))
		return;
	before = now;
	if (!saved_mask(s, name, &before) && s->len > 1)
		saved_mask(s, "default", &before);
	CPU_AND(&wanted, &before, shared);
	if (!CPU_COUNT(&wanted))
		wanted = *shared;
	if (more)
		fprintf(more, "%s %s\n", name, text);
	if (CPU_EQUAL(&wanted, &now))
		return;
	cpus_print_mask(&wanted, text);
	isle_write(path, text);
}

void irqs_keep_to(const cpu_set_t *shared, bool all, const char *saved)
{
	DIR *folder = opendir(FOLDER);
	struct dirent *entry;
	struct saved s;
	FILE *more;

	load(&s, saved);
	more = s.len > 1 || all ? NULL : fopen(saved, "we");
	keep_one("default", shared, &s, more);
	while (folder && (entry = readdir(folder)))
		if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9')
			keep_one(entry->d_name, shared, &s, more);
	if (folder)
		closedir(folder);
	if (more)
		fclose(more);
	if (all)
		unlink(saved);
	free(s.text);
}
