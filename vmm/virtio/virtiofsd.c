// SPDX-License-Identifier: Apache-2.0
#include "virtio/virtiofsd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAME "virtiofsd"

static const char *const folders[] = {"/usr/libexec", "/usr/lib", "/usr/lib/qemu"};

/* Writes the program's path to `to`.  0, or -1 and *e. */
static int find_program(const char *given, char to[PATH_MAX], struct error *e)
{
	const char *path = getenv("PATH"), *end;
	size_t i;

	if (given) {
		if (strlen(given) >= PATH_MAX || access(given, X_OK))
			return error_set(e, ERROR_USER, "--virtiofsd %s: %s", given,
					 strerror(errno));
		strcpy(to, given);
		return 0;
	}
	for (; path && *path; path = *end ? end + 1 : end) {
		end = strchrnul(path, ':');
		snprintf(to, PATH_MAX, "%.*s/" NAME, (int)(end - path), path);
		if (*path == '/' && !access(to, X_OK))
			return 0;
	}
	for (i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		snprintf(to, PATH_MAX, "%s/" NAME, folders[i]);
		if (!access(to, X_OK))
			return 0;
	}
	return error_set(e, ERROR_MACHINE,
			 "--share needs " NAME ": it is not in $PATH, /usr/libexec, /usr/lib or "
			 "/usr/lib/qemu (install it, or give --virtiofsd FILE)");
}

/*
 * A mount namespace of the daemon's own, whose root is a mount that can be left with
 * pivot_root(2) even when ours is the initial RAM file system; that is how it locks itself into
 * its folder.  A read-only share is one for the daemon, too: submounts, and whatever it supports.
 */
static int prepare_mounts(const struct share_config *share, const char *dir)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
	int root;

	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL))
		return -1;
	root = (int)syscall(SYS_open_tree, AT_FDCWD, "/",
			    OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	if (root < 0 || syscall(SYS_move_mount, root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) ||
	    fchdir(root) || chroot("."))
		return -1;
	if (!share->read_only)
		return 0;
	if (mount(dir, dir, NULL, MS_BIND | MS_REC, NULL))
		return -1;
	return (int)syscall(SYS_mount_setattr, AT_FDCWD, dir, AT_RECURSIVE, &attr, sizeof(attr));
}

/* In a new process; its messages go to `out`.  Does not return. */
static void become(const char *const argv[], int out, int keep)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setsid(); /* CTRL+C at our terminal is not meant for it */
	dup2(open("/dev/null", O_RDONLY | O_CLOEXEC), STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	if (keep >= 0)
		fcntl(keep, F_SETFD, 0);
	execv(argv[0], (char *const *)argv);
	dprintf(STDERR_FILENO, "%s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

/* QEMU's daemon takes other options than its successor does. */
static bool is_the_one_in_c(const char *program)
{
	const char *const argv[] = {program, "--version", NULL};
	char text[256] = "";
	int ends[2], status;
	ssize_t n;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC))
		return false;
	pid = fork();
	if (pid == 0)
		become(argv, ends[1], -1);
	close(ends[1]);
	n = pid < 0 ? 0 : read(ends[0], text, sizeof(text) - 1);
	close(ends[0]);
	if (pid > 0)
		waitpid(pid, &status, 0);
	return n > 0 && strstr(text, "virtiofsd version ");
}

/* "-o source=": a comma would end it. */
static char *source_option(const char *dir)
{
	char *text = malloc(2 * strlen(dir) + sizeof("source=")), *to;

	if (!text)
		return NULL;
	to = stpcpy(text, "source=");
	for (; *dir; dir++) {
		if (*dir == ',' || *dir == '\\')
			*to++ = '\\';
		*to++ = *dir;
	}
	*to = '\0';
	return text;
}

/* Orphaned at once, so that init collects it and nobody here waits for it. */
static int launch(const struct share_config *share, const char *program, const char *dir,
		  int listener, int out)
{
	bool old = is_the_one_in_c(program), root = geteuid() == 0;
	const char *argv[10] = {program};
	unsigned int n = 1;
	char fd[32];
	pid_t pid;

	snprintf(fd, sizeof(fd), "--fd=%d", listener);
	argv[n++] = fd;
	argv[n++] = old ? "-o" : "--shared-dir";
	argv[n++] = old ? source_option(dir) : dir;
	argv[n++] = old ? "-o" : "--log-level";
	argv[n++] = old ? "log_level=warn" : "warn";
	if (!old && share->read_only && !root)
		argv[n++] = "--readonly"; /* since 1.9; root does it for every version */
	pid = fork();
	if (pid < 0)
		return -1;
	if (pid > 0)
		return waitpid(pid, NULL, 0) == pid ? 0 : -1;
	if (fork())
		_exit(0);
	if ((root || (old && share->read_only)) && prepare_mounts(share, dir)) {
		dprintf(out, "mounts of its own: %s\n", strerror(errno));
		_exit(1);
	}
	become(argv, out, listener);
	_exit(127);
}

/*
 * A listening socket with our connection to it already waiting, and no name any more: nobody
 * else can come first.  Returns our end; *listener is the daemon's.
 */
static int connected_pair(const char *folder, int *listener, struct error *e)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char made[] = "/tmp/hg-vmm-XXXXXX";
	const char *in = folder ? folder : mkdtemp(made);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), r, saved;

	*listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (!in || (size_t)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/" NAME ".%d.sock", in,
				    getpid()) >= sizeof(addr.sun_path)) {
		r = -1;
		errno = in ? ENAMETOOLONG : errno;
	} else {
		unlink(addr.sun_path);
		r = bind(*listener, (struct sockaddr *)&addr, sizeof(addr)) ||
		    listen(*listener, 1) || connect(fd, (struct sockaddr *)&addr, sizeof(addr));
		saved = errno;
		unlink(addr.sun_path);
		errno = saved;
	}
	if (!folder && in)
		rmdir(in);
	if (!r)
		return fd;
	error_set(e, ERROR_MACHINE, "a socket for " NAME " in %s: %s", in ? in : "/tmp",
		  strerror(errno));
	close(fd);
	close(*listener);
	return -1;
}

int virtiofsd_start(const struct share_config *share, const char *program, const char *folder,
		    int *log_fd, struct error *e)
{
	char path[PATH_MAX], dir[PATH_MAX];
	int fd, listener, ends[2], r;
	struct stat st;

	if (!realpath(share->path, dir) || stat(dir, &st))
		return error_set(e, ERROR_USER, "--share %s: %s: %s", share->tag, share->path,
				 strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return error_set(e, ERROR_USER, "--share %s: %s: not a folder", share->tag,
				 share->path);
	if (find_program(program, path, e))
		return -1;
	fd = connected_pair(folder, &listener, e);
	if (fd < 0)
		return -1;
	if (pipe2(ends, O_CLOEXEC)) {
		close(fd);
		close(listener);
		return error_set(e, ERROR_MACHINE, "pipe: %s", strerror(errno));
	}
	r = launch(share, path, dir, listener, ends[1]);
	close(listener);
	close(ends[1]);
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	*log_fd = ends[0];
	if (!r)
		return fd;
	close(fd);
	close(ends[0]);
	return error_set(e, ERROR_MACHINE, "%s: %s", path, strerror(errno));
}
