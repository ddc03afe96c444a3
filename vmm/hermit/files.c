// SPDX-License-Identifier: Apache-2.0
#include "hermit/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "jail/jail.h"

#define FIRST_FD 3
#define MAX_MODE 0777
/* What a guest may ask of open(); O_CREAT with O_DIRECTORY has no meaning. */
#define OPEN_FLAGS (O_ACCMODE | O_CREAT | O_EXCL | O_TRUNC | O_APPEND | O_DIRECTORY)

struct mapping {
	char *guest; /* no slash at its end; "" is the root */
	int folder;  /* O_PATH; of a single file, the folder it lies in */
	char *name;  /* of a single file, else NULL */
	bool read_only;
};

struct files {
	enum files_isolation isolation;
	struct mapping mappings[FILES_MAX_MAPPINGS + 1]; /* one more: scratch, or "/" itself */
	unsigned int nmappings;
	char *scratch;	    /* NULL: none */
	int scratch_parent; /* the folder that it lies in */
	pthread_mutex_t lock;
	int open[FILES_MAX_OPEN]; /* the host's descriptors, or -1 */
};

static int add_mapping(struct files *f, const struct files_mapping *given, struct error *e)
{
	struct mapping *m = &f->mappings[f->nmappings];
	char *parent = strdup(given->host), *slash;
	size_t len = strlen(given->guest);
	struct stat st;

	if (!parent)
		return error_set(e, ERROR_MACHINE, "out of memory");
	*m = (struct mapping){.folder = -1, .read_only = given->read_only};
	while (len && given->guest[len - 1] == '/')
		len--;
	m->guest = strndup(given->guest, len);
	if (stat(given->host, &st))
		goto fail;
	if (S_ISDIR(st.st_mode)) {
		m->folder = open(given->host, O_PATH | O_DIRECTORY | O_CLOEXEC);
	} else {
		slash = strrchr(parent, '/');
		m->name = strdup(slash ? slash + 1 : parent);
		if (slash)
			slash[slash == parent] = '\0';
		m->folder = open(slash ? parent : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	}
	if (m->folder < 0 || !m->guest)
		goto fail;
	free(parent);
	f->nmappings++;
	return 0;
fail:
	free(parent);
	return error_set(e, ERROR_USER, "cannot map %s: %s", given->host, strerror(errno));
}

static int add_scratch(struct files *f, const char *parent, struct error *e)
{
	struct files_mapping root = {.guest = ""};

	f->scratch_parent = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (f->scratch_parent < 0 || asprintf(&f->scratch, "%s/hg-vmm-XXXXXX", parent) < 0) {
		f->scratch = NULL;
		return error_set(e, ERROR_USER, "%s: %s", parent, strerror(errno));
	}
	root.host = mkdtemp(f->scratch);
	if (root.host && !add_mapping(f, &root, e))
		return 0;
	if (!root.host)
		error_set(e, ERROR_USER, "cannot make a folder in %s: %s", parent, strerror(errno));
	free(f->scratch);
	f->scratch = NULL;
	close(f->scratch_parent);
	return -1;
}

struct files *files_create(const struct files_config *cfg, struct error *e)
{
	static const struct files_mapping everything = {.host = "/", .guest = ""};
	struct files *f = calloc(1, sizeof(*f));
	unsigned int i;
	int r = 0;

	if (!f) {
		error_set(e, ERROR_MACHINE, "out of memory");
		return NULL;
	}
	f->isolation = cfg->isolation;
	pthread_mutex_init(&f->lock, NULL);
	for (i = 0; i < FILES_MAX_OPEN; i++)
		f->open[i] = -1;
	for (i = 0; i < cfg->nmappings && !r; i++)
		r = add_mapping(f, &cfg->mappings[i], e);
	if (!r && cfg->isolation == FILES_NONE)
		r = add_mapping(f, &everything, e);
	else if (!r && cfg->scratch)
		r = add_scratch(f, cfg->scratch, e);
	if (!r)
		return f;
	files_destroy(f);
	return NULL;
}

unsigned int files_places(const struct files *f, struct jail_folder *folders)
{
	unsigned int i;

	for (i = 0; i < f->nmappings; i++)
		folders[i] = (struct jail_folder){f->mappings[i].folder, f->mappings[i].read_only};
	if (f->scratch) /* which is removed in the end */
		folders[i++] = (struct jail_folder){f->scratch_parent, false};
	return i;
}

size_t files_folders(const struct files *f, char *list, size_t room)
{
	size_t used = 0, len;
	unsigned int i;

	for (i = 0; i < f->nmappings; i++) {
		len = strlen(f->mappings[i].guest) + 1;
		if (len == 1 || f->mappings[i].name || len > room - used)
			continue;
		memcpy(list + used, f->mappings[i].guest, len);
		used += len;
	}
	return used;
}

/* Where a path of the guest leads. */
struct place {
	const struct mapping *m;
	const char *rest; /* below m->folder, never empty */
	char path[FILES_MAX_PATH + 1];
};

static bool leads_to(const struct mapping *m, const char *path, size_t *len)
{
	*len = strlen(m->guest);
	if (strncmp(path, m->guest, *len) || (path[*len] && path[*len] != '/'))
		return false;
	return !m->name || !path[*len]; /* nothing lies below a single file */
}

/*
 * Finds the mapping with the longest name that the path begins with.  A path that is not
 * absolute counts from the guest's root.  0 or -errno.
 */
static int locate(const struct files *f, const char *path, struct place *p)
{
	const struct mapping *m;
	size_t len, best = 0;

	if (!*path)
		return -ENOENT;
	if (snprintf(p->path, sizeof(p->path), "%s%s", *path == '/' ? "" : "/", path) >=
	    (int)sizeof(p->path))
		return -ENAMETOOLONG;
	p->m = NULL;
	for (m = f->mappings; m < f->mappings + f->nmappings; m++) {
		if (leads_to(m, p->path, &len) && (!p->m || len > best)) {
			p->m = m;
			best = len;
		}
	}
	if (!p->m)
		return -ENOENT;
	p->rest = p->path + best;
	while (*p->rest == '/')
		p->rest++;
	if (p->m->name)
		p->rest = p->m->name;
	else if (!*p->rest)
		p->rest = ".";
	return 0;
}

static uint64_t resolve_flags(const struct files *f, const struct mapping *m)
{
	switch (f->isolation) {
	case FILES_STRICT:
		return RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
	case FILES_NORMAL:
		return RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS |
		       (m->name ? RESOLVE_NO_SYMLINKS : 0);
	case FILES_NONE:
		break;
	}
	return 0;
}

/* The host's descriptor, or -errno.  What leads out of a mapping is just not allowed. */
static int open_beneath(const struct files *f, const struct place *p, const char *rest, int flags,
			unsigned int mode)
{
	struct open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC),
			       .mode = flags & O_CREAT ? mode & MAX_MODE : 0,
			       .resolve = resolve_flags(f, p->m)};
	int fd;

	if (!(flags & O_PATH))
		how.flags |= O_NOCTTY | O_NONBLOCK;
	fd = syscall(SYS_openat2, p->m->folder, rest, &how, sizeof(how));
	if (fd >= 0)
		return fd;
	return errno == EXDEV || errno == ELOOP ? -EACCES : -errno;
}

/*
 * The descriptor (to be closed) of the folder that the path's last name lies in, and that name
 * in p->path; or -errno.
 */
static int open_parent(const struct files *f, const char *path, struct place *p, const char **name)
{
	char *rest, *slash;
	int r = locate(f, path, p);

	if (r)
		return r;
	if (p->m->read_only)
		return -EROFS;
	if (p->m->name) {
		*name = p->m->name;
		return open_beneath(f, p, ".", O_PATH | O_DIRECTORY, 0);
	}
	if (!strcmp(p->rest, "."))
		return -EINVAL; /* the mapping's own folder */
	rest = p->path + (p->rest - p->path);
	while ((slash = strrchr(rest, '/')) && !slash[1])
		*slash = '\0'; /* "name/" */
	*name = slash ? slash + 1 : rest;
	if (!**name || !strcmp(*name, ".") || !strcmp(*name, ".."))
		return -EINVAL;
	if (slash)
		*slash = '\0';
	return open_beneath(f, p, slash ? rest : ".", O_PATH | O_DIRECTORY, 0);
}

static int keep(struct files *f, int host_fd)
{
	int i, fd = -EMFILE;

	pthread_mutex_lock(&f->lock);
	for (i = 0; i < FILES_MAX_OPEN; i++) {
		if (f->open[i] < 0) {
			f->open[i] = host_fd;
			fd = i + FIRST_FD;
			break;
		}
	}
	pthread_mutex_unlock(&f->lock);
	if (fd < 0)
		close(host_fd);
	return fd;
}

int files_open(struct files *f, const char *path, int flags, unsigned int mode)
{
	struct place p;
	struct stat st;
	int fd;

	flags &= OPEN_FLAGS;
	if ((flags & O_CREAT) && (flags & O_DIRECTORY))
		return -EINVAL;
	fd = locate(f, path, &p);
	if (fd)
		return fd;
	if (p.m->read_only && ((flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC))))
		return -EROFS;
	fd = open_beneath(f, &p, p.rest, flags, mode);
	if (fd < 0)
		return fd;
	/* O_NONBLOCK got us past a FIFO; neither it nor a device is a file to a guest. */
	if (fstat(fd, &st) ||
	    (f->isolation != FILES_NONE && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))) {
		close(fd);
		return -EACCES;
	}
	return keep(f, fd);
}

static int host_fd(struct files *f, int fd)
{
	int found = -1;

	if (fd >= FIRST_FD && fd < FIRST_FD + FILES_MAX_OPEN) {
		pthread_mutex_lock(&f->lock);
		found = f->open[fd - FIRST_FD];
		pthread_mutex_unlock(&f->lock);
	}
	return found;
}

int files_close(struct files *f, int fd)
{
	int found = -1;

	if (fd >= FIRST_FD && fd < FIRST_FD + FILES_MAX_OPEN) {
		pthread_mutex_lock(&f->lock);
		found = f->open[fd - FIRST_FD];
		f->open[fd - FIRST_FD] = -1;
		pthread_mutex_unlock(&f->lock);
	}
	if (found < 0)
		return -EBADF;
	return close(found) ? -errno : 0;
}

int64_t files_read(struct files *f, int fd, void *to, uint64_t len)
{
	int host = host_fd(f, fd);
	ssize_t n;

	if (host < 0)
		return -EBADF;
	do {
		n = read(host, to, len);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

int64_t files_write(struct files *f, int fd, const void *from, uint64_t len)
{
	int host = host_fd(f, fd);
	ssize_t n;

	if (host < 0)
		return -EBADF;
	do {
		n = write(host, from, len);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

int64_t files_seek(struct files *f, int fd, int64_t offset, int whence)
{
	int host = host_fd(f, fd);
	off_t at;

	if (host < 0)
		return -EBADF;
	if (whence != SEEK_SET && whence != SEEK_CUR && whence != SEEK_END)
		return -EINVAL;
	at = lseek(host, offset, whence);
	return at < 0 ? -errno : at;
}

int files_unlink(struct files *f, const char *path)
{
	struct place p;
	size_t len = strlen(path);
	const char *name;
	int folder, r;

	if (len && path[len - 1] == '/')
		return -EISDIR; /* only a folder is called so, and that is not unlinked */
	folder = open_parent(f, path, &p, &name);
	if (folder < 0)
		return folder;
	r = unlinkat(folder, name, 0) ? -errno : 0;
	close(folder);
	return r;
}

int files_mkdir(struct files *f, const char *path, unsigned int mode)
{
	struct place p;
	const char *name;
	int folder = open_parent(f, path, &p, &name), r;

	if (folder < 0)
		return folder;
	r = mkdirat(folder, name, mode & MAX_MODE) ? -errno : 0;
	close(folder);
	return r;
}

int files_stat(struct files *f, const char *path, bool follow, struct stat *st)
{
	struct place p;
	int fd = locate(f, path, &p), r;

	if (fd)
		return fd;
	fd = open_beneath(f, &p, p.rest, O_PATH | (follow ? 0 : O_NOFOLLOW), 0);
	if (fd < 0)
		return fd;
	r = fstatat(fd, "", st, AT_EMPTY_PATH) ? -errno : 0;
	close(fd);
	return r;
}

int files_fstat(struct files *f, int fd, struct stat *st)
{
	int host = host_fd(f, fd);

	if (host < 0)
		return -EBADF;
	return fstat(host, st) ? -errno : 0;
}

int64_t files_list(struct files *f, int fd, void *to, uint64_t len)
{
	int host = host_fd(f, fd);
	long n;

	if (host < 0)
		return -EBADF;
	n = syscall(SYS_getdents64, host, to, len > 1u << 20 ? 1u << 20 : len);
	return n < 0 ? -errno : n;
}

/* A folder below another one, never a link. */
static int open_folder(int at, const char *name)
{
	struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
			       .resolve = RESOLVE_BENEATH};

	return syscall(SYS_openat2, at, name, &how, sizeof(how));
}

/* Whatever lies in the folder `fd`, which is closed; as deep as a guest's paths are long. */
static void empty_folder(int fd)
{
	DIR *dir = fdopendir(fd);
	struct dirent *d;
	int inner;

	if (!dir) {
		close(fd);
		return;
	}
	while ((d = readdir(dir))) {
		if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, ".."))
			continue;
		if (!unlinkat(dirfd(dir), d->d_name, 0))
			continue;
		inner = open_folder(dirfd(dir), d->d_name);
		if (inner >= 0)
			empty_folder(inner);
		unlinkat(dirfd(dir), d->d_name, AT_REMOVEDIR);
	}
	closedir(dir);
}

static void remove_scratch(struct files *f)
{
	const struct mapping *m = &f->mappings[f->nmappings - 1]; /* it was added last */
	int fd = open_folder(m->folder, ".");

	if (fd >= 0)
		empty_folder(fd);
	unlinkat(f->scratch_parent, strrchr(f->scratch, '/') + 1, AT_REMOVEDIR);
	close(f->scratch_parent);
	free(f->scratch);
}

void files_destroy(struct files *f)
{
	unsigned int i;

	if (!f)
		return;
	for (i = 0; i < FILES_MAX_OPEN; i++)
		if (f->open[i] >= 0)
			close(f->open[i]);
	if (f->scratch)
		remove_scratch(f);
	for (i = 0; i < f->nmappings; i++) {
		close(f->mappings[i].folder);
		free(f->mappings[i].name);
		free(f->mappings[i].guest);
	}
	pthread_mutex_destroy(&f->lock);
	free(f);
}
