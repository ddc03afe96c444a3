// SPDX-License-Identifier: Apache-2.0
/*
 * Landlock (Documentation/userspace-api/landlock.rst): what the mount namespace hides is
 * refused once more, by another part of the kernel.  Descriptors that are open are not touched.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "jail/layers.h"

/* The ABI as the newest kernel has it; libc's headers may be older. */
struct ruleset {
	uint64_t fs, net, scoped;
};

struct __attribute__((packed)) path_rule {
	uint64_t allowed;
	int32_t parent_fd;
};

#define CREATE_VERSION	  1u
#define RULE_PATH_BENEATH 1

#define FS_READ (1ull << 2 | 1ull << 3) /* files, folders */
/* Write files; remove folders and files; make folders and files; truncate. */
#define FS_WRITE       (1ull << 1 | 1ull << 4 | 1ull << 5 | 1ull << 7 | 1ull << 8 | 1ull << 14)
#define FS_REMOVE_FILE (1ull << 5)
#define FS_MAKE_REG    (1ull << 8)

/* By ABI version, 1 first: how many rights there are for files, sockets and scopes. */
static const struct {
	uint8_t fs, net, scoped;
} abis[] = {{13, 0, 0}, {14, 0, 0}, {15, 0, 0}, {15, 2, 0}, {16, 2, 0}, {16, 2, 2}};

#define NABIS (int)(sizeof(abis) / sizeof(abis[0]))

/* Everything but to run programs and to make what is no file or folder. */
static int allow_guest(int ruleset, const struct jail_folder *folder, uint64_t known)
{
	struct path_rule rule = {.allowed = FS_READ, .parent_fd = folder->fd};

	if (!folder->read_only)
		rule.allowed |= FS_WRITE;
	rule.allowed &= known;
	return syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0);
}

static int allow_folder(int ruleset)
{
	/* A rename is the end of one name and the start of another. */
	struct path_rule rule = {.allowed = FS_REMOVE_FILE | FS_MAKE_REG};
	int r;

	rule.parent_fd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (rule.parent_fd < 0)
		return -1;
	r = syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0);
	close(rule.parent_fd);
	return r;
}

void landlock_enter(const struct jail_folder *folders, unsigned int count)
{
	int abi = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_VERSION), fd, r;
	struct ruleset all = {0};
	unsigned int i;

	if (abi < 1) {
		jail_lacks("Landlock");
		return;
	}
	abi = abi < NABIS ? abi : NABIS;
	all.fs = (1ull << abis[abi - 1].fs) - 1;
	all.net = (1ull << abis[abi - 1].net) - 1;
	all.scoped = (1ull << abis[abi - 1].scoped) - 1;
	/* Fields that the kernel does not know must be zero, and they are. */
	fd = syscall(SYS_landlock_create_ruleset, &all, sizeof(all), 0);
	for (i = 0, r = fd < 0; i < count && !r; i++)
		r = allow_guest(fd, &folders[i], all.fs);
	r = r || allow_folder(fd) || syscall(SYS_landlock_restrict_self, fd, 0);
	if (r)
		jail_lacks("Landlock");
	if (fd >= 0)
		close(fd);
}
