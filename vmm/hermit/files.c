// SPDX-License-Identifier: Apache-2.0
#include "hermit/files_private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FIRST_FD 3
#define MAX_MODE 0777
/* What a guest may ask of open(); O_CREAT with O_DIRECTORY has no meaning. */
#define OPEN_FLAGS (O_ACCMODE | O_CREAT | O_EXCL | O_TRUNC | O_APPEND | O_DIRECTORY)

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

/* Gives o a descriptor, `want` or, with -1, any; -EMFILE.  What o holds is closed if there is none.
 */
static int keep(struct files *f, struct open_file o, const char *path, int want)
{
	int i = want < 0 ? 0 : want - FIRST_FD, end = want < 0 ? FILES_MAX_OPEN : i + 1;
	int fd = -EMFILE;

	o.path = strdup(path);
	pthread_mutex_lock(&f->lock);
	for (; o.path && fd < 0 && i >= 0 && i < end && i < FILES_MAX_OPEN; i++) {
		if (f->open[i].host >= 0 || f->open[i].inner)
			continue;
		f->open[i] = o;
		fd = i + FIRST_FD;
	}
	pthread_mutex_unlock(&f->lock);
	if (fd < 0) {
		free(o.path);
		if (o.host >= 0)
			close(o.host);
	}
	return fd;
}

/* What the image holds stands behind what was mapped by its name, and before all else. */
static const struct archive_entry *in_image(const struct files *f, const char *path,
					    const struct place *p, int located)
{
	return located && located != -ENOENT ? NULL
	       : located || p->m->implied    ? inner_find(f, path)
					     : NULL;
}

/* What a path of the guest's leads to, for it to be kept.  0 or -errno. */
static int open_path(struct files *f, const char *path, int flags, unsigned int mode,
		     struct open_file *o)
{
	struct place p;
	struct stat st;
	int r = locate(f, path, &p);

	*o = (struct open_file){.host = -1, .flags = flags & ~(O_CREAT | O_EXCL | O_TRUNC)};
	o->inner = in_image(f, path, &p, r);
	if (o->inner)
		return inner_check_open(o->inner, flags);
	if (r)
		return r;
	if (p.m->read_only && ((flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC))))
		return -EROFS;
	o->host = open_beneath(f, &p, p.rest, flags, mode);
	if (o->host < 0)
		return o->host;
	/* O_NONBLOCK got us past a FIFO; neither it nor a device is a file to a guest. */
	if (fstat(o->host, &st) ||
	    (f->isolation != FILES_NONE && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))) {
		close(o->host);
		return -EACCES;
	}
	return 0;
}

int files_open(struct files *f, const char *path, int flags, unsigned int mode)
{
	struct open_file o;
	int r;

	flags &= OPEN_FLAGS;
	if ((flags & O_CREAT) && (flags & O_DIRECTORY))
		return -EINVAL;
	r = open_path(f, path, flags, mode, &o);
	return r ? r : keep(f, o, path, -1);
}

bool files_open_nth(const struct files *f, unsigned int n, struct files_open_one *one)
{
	const struct open_file *o = &f->open[n];
	off_t at;

	if (o->host < 0 && !o->inner)
		return false;
	at = o->host >= 0 ? lseek(o->host, 0, SEEK_CUR) : (off_t)o->at;
	*one = (struct files_open_one){(int)n + FIRST_FD, o->flags, at < 0 ? 0 : (uint64_t)at,
				       o->path};
	return true;
}

int files_open_again(struct files *f, int fd, const char *path, int flags, uint64_t at)
{
	struct open_file o;
	int r;

	if (flags & ~OPEN_FLAGS || flags & (O_CREAT | O_EXCL | O_TRUNC) || fd < FIRST_FD)
		return -EINVAL;
	r = open_path(f, path, flags, 0, &o);
	if (r)
		return r;
	o.at = at;
	if (o.host >= 0 && lseek(o.host, (off_t)at, SEEK_SET) < 0)
		r = -errno;
	fd = keep(f, o, path, fd);
	return r ? r : fd < 0 ? fd : 0;
}

/* With the lock held; NULL: the guest has no such descriptor. */
static struct open_file *find_open(struct files *f, int fd)
{
	struct open_file *o;

	if (fd < FIRST_FD || fd >= FIRST_FD + FILES_MAX_OPEN)
		return NULL;
	o = &f->open[fd - FIRST_FD];
	return (o->host >= 0 || o->inner) && !o->closed ? o : NULL;
}

/* NULL: no such descriptor.  With o->host set put_back() has to follow; else the lock is held. */
static struct open_file *take(struct files *f, int fd)
{
	struct open_file *o;

	pthread_mutex_lock(&f->lock);
	o = find_open(f, fd);
	if (o && o->inner)
		return o;
	if (o)
		o->users++;
	pthread_mutex_unlock(&f->lock);
	return o;
}

/* With the lock held: nobody uses it any more. */
static int end_use(struct open_file *o)
{
	int r = o->host >= 0 ? close(o->host) : 0;

	free(o->path);
	*o = (struct open_file){.host = -1};
	return r ? -errno : 0;
}

static int64_t put_back(struct files *f, struct open_file *o, int64_t result)
{
	if (!o->inner) {
		pthread_mutex_lock(&f->lock);
		if (!--o->users && o->closed)
			end_use(o);
	}
	pthread_mutex_unlock(&f->lock);
	return result;
}

int files_close(struct files *f, int fd)
{
	struct open_file *o;
	int r = -EBADF;

	pthread_mutex_lock(&f->lock);
	o = find_open(f, fd);
	if (o) {
		o->closed = true;
		r = o->users ? 0 : end_use(o);
	}
	pthread_mutex_unlock(&f->lock);
	return r;
}

int64_t files_read(struct files *f, int fd, void *to, uint64_t len)
{
	struct open_file *o = take(f, fd);
	ssize_t n;

	if (!o)
		return -EBADF;
	if (o->inner)
		return put_back(f, o, inner_read(f, o, to, len));
	do {
		n = read(o->host, to, len);
	} while (n < 0 && errno == EINTR);
	return put_back(f, o, n < 0 ? -errno : n);
}

int64_t files_write(struct files *f, int fd, const void *from, uint64_t len)
{
	struct open_file *o = take(f, fd);
	ssize_t n;

	if (!o)
		return -EBADF;
	if (o->inner)
		return put_back(f, o, -EBADF); /* it was opened for reading */
	do {
		n = write(o->host, from, len);
	} while (n < 0 && errno == EINTR);
	return put_back(f, o, n < 0 ? -errno : n);
}

int64_t files_seek(struct files *f, int fd, int64_t offset, int whence)
{
	struct open_file *o = take(f, fd);
	off_t at;

	if (!o)
		return -EBADF;
	if (whence != SEEK_SET && whence != SEEK_CUR && whence != SEEK_END)
		return put_back(f, o, -EINVAL);
	if (o->inner)
		return put_back(f, o, inner_seek(o, offset, whence));
	at = lseek(o->host, offset, whence);
	return put_back(f, o, at < 0 ? -errno : at);
}

int files_unlink(struct files *f, const char *path)
{
	struct place p;
	size_t len = strlen(path);
	const char *name;
	int folder, r;

	if (len && path[len - 1] == '/')
		return -EISDIR; /* only a folder is called so, and that is not unlinked */
	if (in_image(f, path, &p, locate(f, path, &p)))
		return -EROFS;
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
	int folder, r;

	if (in_image(f, path, &p, locate(f, path, &p)))
		return -EEXIST;
	folder = open_parent(f, path, &p, &name);
	if (folder < 0)
		return folder;
	r = mkdirat(folder, name, mode & MAX_MODE) ? -errno : 0;
	close(folder);
	return r;
}

int files_stat(struct files *f, const char *path, bool follow, struct stat *st)
{
	const struct archive_entry *inner;
	struct place p;
	int fd = locate(f, path, &p), r;

	inner = in_image(f, path, &p, fd);
	if (inner) {
		inner_stat(f, inner, st);
		return 0;
	}
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
	struct open_file *o = take(f, fd);

	if (!o)
		return -EBADF;
	if (!o->inner)
		return (int)put_back(f, o, fstat(o->host, st) ? -errno : 0);
	inner_stat(f, o->inner, st);
	return (int)put_back(f, o, 0);
}

int64_t files_list(struct files *f, int fd, void *to, uint64_t len)
{
	struct open_file *o = take(f, fd);
	long n;

	if (!o)
		return -EBADF;
	len = len > 1u << 20 ? 1u << 20 : len;
	if (o->inner)
		return put_back(f, o, inner_list(f, o, to, len));
	n = syscall(SYS_getdents64, o->host, to, len);
	return put_back(f, o, n < 0 ? -errno : n);
}
