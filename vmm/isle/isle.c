// SPDX-License-Identifier: Apache-2.0
#include "isle/isle.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "isle/parts.h"

#define ONLINE "/sys/devices/system/cpu/online"

static int claimed = -1;    /* the isle of this process and its children */
static int threads_fd = -1; /* in the VMM: where vCPUs' threads write themselves into it */

void isle_path(char path[ISLE_PATH], int number)
{
	const char *run = getenv("HYPERGEN_RUN");

	run = run && *run ? run : "/run/hypergen";
	if (number < 0)
		snprintf(path, ISLE_PATH, "%.400s/isle", run);
	else
		snprintf(path, ISLE_PATH, "%.400s/isle/%d", run, number);
}

/* A file in the folder of an isle, or in that of all. */
static char *file_of(char path[ISLE_PATH], int number, const char *name)
{
	isle_path(path, number);
	strncat(path, "/", ISLE_PATH - strlen(path) - 1);
	strncat(path, name, ISLE_PATH - strlen(path) - 1);
	return path;
}

/* Serialises all that make and unmake isles; the folder of all is there then.  fd, or -1. */
static int lock_all(struct error *e)
{
	char path[ISLE_PATH];
	int fd = -1;

	isle_path(path, -1);
	*strrchr(path, '/') = '\0';
	if (!mkdir(path, 0755) || errno == EEXIST) {
		isle_path(path, -1);
		if (!mkdir(path, 0755) || errno == EEXIST)
			fd = open(file_of(path, -1, "lock"), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	}
	if (fd >= 0 && !flock(fd, LOCK_EX))
		return fd;
	error_set(e, ERROR_MACHINE, "%s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

/* Does a process of that isle's VM live? */
static bool is_owned(int number)
{
	char path[ISLE_PATH];
	int fd = open(file_of(path, number, "cpus"), O_RDONLY | O_CLOEXEC);
	bool owned;

	if (fd < 0)
		return false;
	owned = flock(fd, LOCK_SH | LOCK_NB) != 0;
	close(fd);
	return owned;
}

static int cpus_of(int number, cpu_set_t *set)
{
	char path[ISLE_PATH], text[CPUS_TEXT];

	CPU_ZERO(set);
	if (isle_read(file_of(path, number, "cpus"), text, sizeof(text)))
		return -1;
	return cpus_parse(text, set);
}

/* The next isle of an open folder, in no order; -1 after the last. */
static int next_isle(DIR *folder)
{
	struct dirent *entry;
	char *end;
	long n;

	while (folder && (entry = readdir(folder))) {
		n = strtol(entry->d_name, &end, 10);
		if (!*end && end != entry->d_name && n >= 0 && n <= ISLE_MAX)
			return (int)n;
	}
	return -1;
}

static DIR *open_all(void)
{
	char path[ISLE_PATH];

	isle_path(path, -1);
	return opendir(path);
}

/* The CPUs that no isle has; *all: there is none.  With the lock held, like the rest. */
static int shared_cpus(cpu_set_t *shared, bool *all, struct error *e)
{
	char text[CPUS_TEXT];
	cpu_set_t theirs, both;
	DIR *folder;
	int n;

	if (isle_read(ONLINE, text, sizeof(text)) || cpus_parse(text, shared))
		return error_set(e, ERROR_MACHINE, ONLINE ": %s", strerror(errno));
	*all = true;
	folder = open_all();
	while ((n = next_isle(folder)) >= 0) {
		cpus_of(n, &theirs);
		CPU_AND(&both, shared, &theirs);
		CPU_XOR(shared, shared, &both);
		*all = false;
	}
	if (folder)
		closedir(folder);
	return 0;
}

static void move_interrupts(void)
{
	char path[ISLE_PATH];
	cpu_set_t shared;
	struct error e;
	bool all;

	if (!shared_cpus(&shared, &all, &e) && CPU_COUNT(&shared))
		irqs_keep_to(&shared, all, file_of(path, -1, "irqs"));
}

static void remove_isle(int number)
{
	static const char *const names[] = {"log", "path", "cpus"};
	char path[ISLE_PATH];
	size_t i;

	partition_remove((unsigned int)number);
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlink(file_of(path, number, names[i]));
	isle_path(path, number);
	rmdir(path);
}

static void sweep(void)
{
	DIR *folder = open_all();
	bool any = false;
	int n;

	while ((n = next_isle(folder)) >= 0) {
		if (is_owned(n))
			continue;
		remove_isle(n);
		any = true;
	}
	if (folder)
		closedir(folder);
	if (any)
		move_interrupts();
}

int isle_sweep(struct error *e)
{
	int lock = lock_all(e);

	if (lock < 0)
		return -1;
	sweep();
	close(lock);
	return 0;
}

static int taken(const struct vm_config *cfg, unsigned int cpu, struct error *e)
{
	DIR *folder = open_all();
	cpu_set_t theirs;
	int n;

	while ((n = next_isle(folder)) >= 0)
		if (!cpus_of(n, &theirs) && CPU_ISSET(cpu, &theirs))
			break;
	if (folder)
		closedir(folder);
	return error_set(e, ERROR_USER, "isle %u: CPU %u is isle %d's; choose others",
			 cfg->isle.number, cpu, n);
}

/* Whether the isle can be: *wanted are its CPUs then. */
static int check(const struct vm_config *cfg, cpu_set_t *wanted, struct error *e)
{
	char path[ISLE_PATH], online[CPUS_TEXT], image[256];
	unsigned int number = cfg->isle.number, i, cpu;
	cpu_set_t shared, there;
	bool all;

	if (!isle_read(file_of(path, (int)number, "path"), image, sizeof(image)))
		return error_set(e, ERROR_USER,
				 "isle %u is there already: %s; choose another number", number,
				 image);
	if (shared_cpus(&shared, &all, e) || isle_read(ONLINE, online, sizeof(online)) ||
	    cpus_parse(online, &there))
		return -1;
	CPU_ZERO(wanted);
	for (i = 0; i < cfg->cpus; i++) {
		cpu = cfg->affinity[i].first;
		if (!CPU_ISSET(cpu, &there))
			return error_set(e, ERROR_USER, "isle %u: there is no CPU %u; there are %s",
					 number, cpu, online);
		if (!CPU_ISSET(cpu, &shared))
			return taken(cfg, cpu, e);
		CPU_SET(cpu, wanted);
	}
	if (CPU_COUNT(&shared) <= CPU_COUNT(wanted)) {
		cpus_print(&shared, online);
		return error_set(e, ERROR_USER,
				 "isle %u: one core has to stay with the host, which has %s left",
				 number, online);
	}
	return 0;
}

static int make_file(int number, const char *name, const char *text)
{
	char path[ISLE_PATH];
	int fd = open(file_of(path, number, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0)
		return -1;
	if (dprintf(fd, "%s\n", text) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* `log`: what the guest says, where it does not say it to a terminal; else options made it so. */
static int link_log(const struct vm_config *cfg)
{
	char path[ISLE_PATH], target[PATH_MAX];

	if (!cfg->console_log)
		return 0;
	if (cfg->console_log[0] == '/' || !getcwd(target, sizeof(target) - 1))
		target[0] = '\0';
	else
		strcat(target, "/");
	strncat(target, cfg->console_log, sizeof(target) - strlen(target) - 1);
	return symlink(target, file_of(path, (int)cfg->isle.number, "log"));
}

/* The folder, whose file `cpus` stays open and locked in this process and its children. */
static int make_folder(const struct vm_config *cfg, const char *cpus, struct error *e)
{
	int number = (int)cfg->isle.number, fd;
	const char *given = cfg->kernel ? cfg->kernel : cfg->restore_dir;
	char path[ISLE_PATH], image[PATH_MAX];

	isle_path(path, number);
	if (mkdir(path, 0755) && errno != EEXIST)
		return error_set(e, ERROR_MACHINE, "%s: %s", path, strerror(errno));
	fd = make_file(number, "cpus", cpus);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB))
		return error_set(e, ERROR_MACHINE, "%s: %s", path, strerror(errno));
	fd = make_file(number, "path", realpath(given, image) ? image : given);
	if (fd < 0 || link_log(cfg))
		return error_set(e, ERROR_MACHINE, "%s: %s", path, strerror(errno));
	close(fd);
	return 0;
}

int isle_claim(const struct vm_config *cfg, struct error *e)
{
	unsigned int number = cfg->isle.number;
	char text[CPUS_TEXT];
	cpu_set_t wanted;
	int lock, r;

	if (!cfg->isle.wanted)
		return 0;
	if (geteuid() != 0)
		return error_set(e, ERROR_USER, "isle %u: only root can take CPUs from the host",
				 number);
	lock = lock_all(e);
	if (lock < 0)
		return -1;
	sweep();
	r = check(cfg, &wanted, e);
	if (!r) {
		cpus_print(&wanted, text);
		r = make_folder(cfg, text, e);
		if (!r)
			r = partition_make(number, text, e);
		if (!r && !cfg->isle.without_network)
			r = bridge_make(e);
		if (r)
			remove_isle((int)number);
		else
			claimed = (int)number;
		move_interrupts();
	}
	close(lock);
	return r;
}

void isle_release(void)
{
	struct error e;
	int lock;

	if (claimed < 0)
		return;
	lock = lock_all(&e);
	remove_isle(claimed);
	move_interrupts();
	if (lock >= 0)
		close(lock);
}

int isle_open(const struct vm_config *cfg, struct error *e)
{
	if (!cfg->isle.wanted)
		return 0;
	threads_fd = partition_open(cfg->isle.number);
	if (threads_fd >= 0)
		return 0;
	return error_set(e, ERROR_MACHINE, "isle %u: its control group: %s", cfg->isle.number,
			 strerror(errno));
}

int isle_enter(unsigned int cpu)
{
	cpu_set_t set;

	/* The rights are those of who opened it (cgroup-v2.rst, delegation): root's. */
	if (write(threads_fd, "0", 1) != 1)
		return errno;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) ? errno : 0;
}
