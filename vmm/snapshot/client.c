// SPDX-License-Identifier: Apache-2.0
/*
 * `hg-vmm --save DIR`: makes DIR.part with empty files, has the VM fill them over its control
 * socket, and gives the folder its name when all of it is on the disk.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "options.h"
#include "snapshot/ram.h"
#include "snapshot/snapshot.h"

struct client {
	int fd;		/* the control socket */
	char in[65536]; /* what came and is not a whole line yet */
	size_t len;
};

static int failed(struct error *e, const char *what)
{
	return error_set(e, ERROR_MACHINE, "--save: %.300s: %s", what, strerror(errno));
}

static int dial(const char *path, struct error *e)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(addr.sun_path)) {
		errno = ENAMETOOLONG;
	} else {
		strcpy(addr.sun_path, path);
		if (fd >= 0 && !connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
			return fd;
	}
	if (fd < 0 || (errno != ENOENT && errno != ECONNREFUSED))
		return failed(e, path);
	return error_set(e, ERROR_USER, "--save: %.300s: no VM runs there", path);
}

/* Reads up to the next answer; events and the greeting are passed over. */
static json_t *read_answer(struct client *c, struct error *e)
{
	json_t *message;
	char *end;
	ssize_t n;

	for (;;) {
		end = memchr(c->in, '\n', c->len);
		if (end) {
			message = json_loadb(c->in, end - c->in, 0, NULL);
			c->len -= end + 1 - c->in;
			memmove(c->in, end + 1, c->len);
			if (json_object_get(message, "return") || json_object_get(message, "error"))
				return message;
			json_decref(message);
			continue;
		}
		n = read(c->fd, c->in + c->len, sizeof(c->in) - c->len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			error_set(e, ERROR_MACHINE, "--save: the VM ended before it answered");
			return NULL;
		}
		c->len += n;
	}
}

/* Sends a request, with a descriptor beside it unless that is -1; takes the reference to it. */
static json_t *call(struct client *c, json_t *request, int passed, struct error *e)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {0};
	char *text = json_dumps(request, JSON_COMPACT);
	struct iovec iov = {.iov_base = text, .iov_len = text ? strlen(text) : 0};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	json_t *answer = NULL, *wrong;

	json_decref(request);
	if (passed >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		control.head = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)),
						.cmsg_level = SOL_SOCKET,
						.cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.head), &passed, sizeof(passed));
	}
	if (!text || sendmsg(c->fd, &msg, MSG_NOSIGNAL) != (ssize_t)iov.iov_len)
		failed(e, "the control socket");
	else
		answer = read_answer(c, e);
	free(text);
	wrong = json_object_get(answer, "error");
	if (!wrong)
		return answer;
	error_set(e, ERROR_MACHINE, "--save: %.400s",
		  json_string_value(json_object_get(wrong, "desc")));
	json_decref(answer);
	return NULL;
}

static int do_call(struct client *c, json_t *request, int passed, struct error *e)
{
	json_t *answer = call(c, request, passed, e);

	json_decref(answer);
	return answer ? 0 : -1;
}

/* The id of the snapshot that an increment goes on top of. */
static int read_id(const char *dir, char id[2 * SNAP_ID + 1], struct error *e)
{
	struct snap_header h;
	unsigned int i;
	char *path;
	int fd;

	if (asprintf(&path, "%s/state", dir) < 0)
		return failed(e, dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_set(e, ERROR_USER, "--save: base %.300s: %s", path, strerror(errno));
	if (read(fd, &h, sizeof(h)) != sizeof(h) || memcmp(h.magic, SNAP_MAGIC, sizeof(h.magic))) {
		close(fd);
		return error_set(e, ERROR_USER, "--save: base %.300s: not a snapshot", dir);
	}
	close(fd);
	for (i = 0; i < SNAP_ID; i++)
		snprintf(id + 2 * i, 3, "%02x", h.id[i]);
	return 0;
}

static int fill(const struct vm_config *cfg, int state, int memory, struct error *e)
{
	struct client *c = calloc(1, sizeof(*c));
	char id[2 * SNAP_ID + 1];
	json_t *args;

	if (!c)
		return failed(e, cfg->control);
	if (cfg->save.base && read_id(cfg->save.base, id, e))
		return -1;
	c->fd = dial(cfg->control, e);
	if (c->fd < 0)
		return -1;
	args = json_pack("{s:s,s:s,s:b}", "state", "state", "memory", "memory", "track",
			 cfg->save.track);
	if (cfg->save.base)
		json_object_set_new(args, "base", json_string(id));
	if (do_call(c, json_pack("{s:s}", "execute", "qmp_capabilities"), -1, e) ||
	    do_call(c,
		    json_pack("{s:s,s:{s:s}}", "execute", "getfd", "arguments", "fdname", "state"),
		    state, e) ||
	    do_call(c,
		    json_pack("{s:s,s:{s:s}}", "execute", "getfd", "arguments", "fdname", "memory"),
		    memory, e) ||
	    do_call(c,
		    json_pack("{s:s,s:o}", "execute", "x-hypergen-snapshot-save", "arguments",
			      args),
		    -1, e))
		return -1;
	close(c->fd);
	free(c);
	return 0;
}

/* An increment finds what is below it by a link that stays right when both are moved together. */
static int link_base(int folder, const struct save_config *save, struct error *e)
{
	char *base = realpath(save->base, NULL), *parent = NULL, *slash;
	const char *target = base;
	size_t n;

	slash = strrchr(save->dir, '/');
	parent = realpath(slash ? strndup(save->dir, slash - save->dir + 1) : ".", NULL);
	n = parent ? strlen(parent) : 0;
	if (base && parent && !strncmp(base, parent, n) && base[n] == '/' &&
	    asprintf((char **)&target, "../%s", base + n + 1) < 0)
		target = NULL;
	if (!target || !parent || symlinkat(target, folder, "base"))
		return failed(e, save->base);
	return 0;
}

static int make_file(int folder, const char *name)
{
	return openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
}

/* folder: of DIR.part, empty. */
static int save_into(const struct vm_config *cfg, int folder, struct error *e)
{
	int state = make_file(folder, "state"), memory = make_file(folder, "memory");

	if (state < 0 || memory < 0)
		return failed(e, cfg->save.dir);
	if (cfg->save.base && link_base(folder, &cfg->save, e))
		return -1;
	if (fill(cfg, state, memory, e))
		return -1;
	if (fsync(memory) || fsync(state) || ram_write_mark(folder, memory) || fsync(folder) ||
	    close(memory) || close(state))
		return failed(e, cfg->save.dir);
	return 0;
}

static void remove_part(int folder, const char *part)
{
	unlinkat(folder, "state", 0);
	unlinkat(folder, "memory", 0);
	unlinkat(folder, "base", 0);
	unlinkat(folder, "checked", 0);
	rmdir(part);
}

int snapshot_client(const struct vm_config *cfg, struct error *e)
{
	size_t len = strlen(cfg->save.dir);
	struct vm_config to = *cfg;
	char *dir, *part;
	int folder;

	dir = strdup(cfg->save.dir);
	while (dir && len > 1 && dir[len - 1] == '/')
		dir[--len] = '\0';
	if (!dir || asprintf(&part, "%s.part", dir) < 0)
		return failed(e, cfg->save.dir);
	to.save.dir = dir;
	if (!access(dir, F_OK))
		return error_set(e, ERROR_USER, "--save: %.300s exists already", dir);
	if (mkdir(part, 0700))
		return error_set(e, ERROR_USER, "--save: %.300s: %s%s", part, strerror(errno),
				 errno == EEXIST ? " (of a save that was cut off? remove it)" : "");
	folder = open(part, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0)
		return failed(e, part);
	if (save_into(&to, folder, e)) {
		remove_part(folder, part);
		return -1;
	}
	if (rename(part, dir)) {
		failed(e, dir);
		remove_part(folder, part);
		return -1;
	}
	return 0;
}
