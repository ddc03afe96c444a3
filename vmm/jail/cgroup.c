// SPDX-License-Identifier: Apache-2.0
/* Control groups, version 2 (Documentation/admin-guide/cgroup-v2.rst). */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "jail/layers.h"

#define ROOT   "/sys/fs/cgroup"
#define PERIOD 100000ull /* microseconds, of cpu.max */

static void path_of(const struct vm_config *cfg, char path[PATH_MAX])
{
	const char *given = cfg->limits.cgroup;

	if (!strncmp(given, ROOT "/", sizeof(ROOT)))
		given += sizeof(ROOT);
	snprintf(path, PATH_MAX, ROOT "/%s", given + strspn(given, "/"));
}

/* Writes a line to a file of the group. */
static int __attribute__((format(printf, 3, 4))) put(const char *group, const char *file,
						     const char *fmt, ...)
{
	char path[PATH_MAX + 32], text[128];
	va_list ap;
	ssize_t n;
	int fd, len;

	va_start(ap, fmt);
	len = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	snprintf(path, sizeof(path), "%s/%s", group, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = write(fd, text, len);
	close(fd);
	return n == len ? 0 : -1;
}

/* Makes each folder of path that is missing, and hands its parent's controllers down to it. */
static int make(char *path)
{
	char *slash = path + sizeof(ROOT);

	while (slash) {
		slash = strchr(slash, '/');
		if (slash)
			*slash = '\0';
		if (mkdir(path, 0755) && errno != EEXIST)
			return -1;
		if (slash)
			*slash++ = '/';
	}
	return 0;
}

/* A controller that the parent keeps to itself cannot limit: the write of the limit says so. */
static void enable_controllers(const char *path)
{
	static const char *const controllers[] = {"+cpu", "+memory", "+io", "+pids"};
	char parent[PATH_MAX];
	char *slash = parent + sizeof(ROOT) - 1;
	size_t i;

	snprintf(parent, sizeof(parent), "%s", path);
	while (slash) {
		*slash = '\0';
		for (i = 0; i < sizeof(controllers) / sizeof(controllers[0]); i++)
			put(parent, "cgroup.subtree_control", "%s", controllers[i]);
		*slash = '/';
		slash = strchr(slash + 1, '/');
	}
}

/* io.max counts whole disks: of a partition, the disk it is on (sysfs, dev/block). */
static int whole_disk(dev_t dev, unsigned int *disk_major, unsigned int *disk_minor)
{
	char path[64], text[32];
	ssize_t n;
	int fd;

	*disk_major = major(dev);
	*disk_minor = minor(dev);
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/partition", *disk_major, *disk_minor);
	if (access(path, F_OK))
		return 0;
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/../dev", *disk_major, *disk_minor);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return -1;
	text[n] = '\0';
	return sscanf(text, "%u:%u", disk_major, disk_minor) == 2 ? 0 : -1;
}

static int limit_disk(const char *group, const struct limits *l, const char *image)
{
	unsigned int disk_major, disk_minor;
	char bytes[32] = "max", ops[32] = "max";
	struct stat st;

	if (stat(image, &st))
		return 0; /* whoever opens it says so */
	if (whole_disk(S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev, &disk_major, &disk_minor))
		return -1;
	if (!disk_major)
		return 0; /* a file system without a disk, such as tmpfs */
	if (l->io_bytes)
		snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)l->io_bytes);
	if (l->io_ops)
		snprintf(ops, sizeof(ops), "%llu", (unsigned long long)l->io_ops);
	return put(group, "io.max", "%u:%u rbps=%s wbps=%s riops=%s wiops=%s", disk_major,
		   disk_minor, bytes, bytes, ops, ops);
}

static int set_limits(const char *group, const struct vm_config *cfg, struct error *e)
{
	const struct limits *l = &cfg->limits;
	const char *what = NULL;
	unsigned int i;

	if (l->cpu_percent && put(group, "cpu.max", "%llu %llu",
				  (unsigned long long)l->cpu_percent * PERIOD / 100, PERIOD))
		what = "cpu";
	if (l->memory && (put(group, "memory.max", "%llu", (unsigned long long)l->memory) ||
			  put(group, "memory.oom.group", "1")))
		what = "memory";
	for (i = 0; (l->io_bytes || l->io_ops) && i < cfg->ndisks; i++)
		if (limit_disk(group, l, cfg->disks[i].path))
			what = "io";
	if (!what)
		return 0;
	return error_set(e, ERROR_MACHINE,
			 "%s: cannot limit %s: %s (is the controller in its parent's "
			 "cgroup.subtree_control?)",
			 group, what, strerror(errno));
}

int cgroup_enter(const struct vm_config *cfg, struct error *e)
{
	char path[PATH_MAX];

	if (!cfg->limits.cgroup)
		return 0;
	path_of(cfg, path);
	if (access(ROOT "/cgroup.controllers", F_OK))
		return error_set(e, ERROR_MACHINE, "--cgroup: no cgroup v2 is mounted at " ROOT);
	if (make(path))
		return error_set(e, ERROR_MACHINE, "%s: %s", path, strerror(errno));
	enable_controllers(path);
	if (set_limits(path, cfg, e))
		return -1;
	if (put(path, "cgroup.procs", "0"))
		return error_set(e, ERROR_MACHINE, "%s: cannot be entered: %s", path,
				 strerror(errno));
	return 0;
}

char *cgroup_path(const struct vm_config *cfg)
{
	char path[PATH_MAX];

	if (!cfg->limits.cgroup)
		return NULL;
	path_of(cfg, path);
	return strdup(path);
}
