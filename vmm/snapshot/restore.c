// SPDX-License-Identifier: Apache-2.0
/* Opening a folder with a snapshot, and making a machine out of it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hermit/saved.h"
#include "snapshot/ram.h"
#include "snapshot/snapshot.h"
#include "snapshot/state.h"
#include "vmgenid.h"

#define MAX_CHAIN 64 /* increments above each other */

struct snapshot {
	const char *dir;
	uint8_t *file; /* the state file, checked */
	size_t len;
	int memory_fd;
	enum verify verify;
	bool marked; /* the memory file is as it was written */
	struct ram_state ram;
	const struct ram_extent *extents;
	struct snapshot *base; /* of an increment */
};

/* What was wrong, with the file's name in front of it. */
static int in_file(struct error *e, const struct snapshot *s, const char *name)
{
	struct error inner = *e;

	return error_set(e, inner.code, "snapshot %.150s/%s %.300s", s->dir, name, inner.text);
}

static int read_state(struct snapshot *s, int fd, struct error *e)
{
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode))
		return error_set(e, ERROR_USER, "is not a file");
	if (st.st_size > (off_t)SNAP_MAX)
		return error_set(e, ERROR_USER, "is not the state of a snapshot by hg-vmm");
	s->len = st.st_size;
	s->file = malloc(s->len ? s->len : 1);
	if (!s->file)
		return error_set(e, ERROR_MACHINE, "does not fit into this host's memory");
	n = pread(fd, s->file, s->len, 0);
	if (n != (ssize_t)s->len)
		return error_set(e, ERROR_MACHINE, "cannot be read: %s",
				 n < 0 ? strerror(errno) : "it became shorter");
	return snap_check(s->file, s->len, e) || ram_parse(s->file, &s->ram, &s->extents, e) ? -1
											     : 0;
}

static int open_in(struct snapshot *s, const char *name, struct error *e)
{
	char path[4096];
	int fd;

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", s->dir, name) >= sizeof(path))
		return error_set(e, ERROR_USER, "snapshot %.150s: the path is too long", s->dir);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* of a FIFO: no waiting */
	if (fd < 0)
		error_set(e, ERROR_USER, "snapshot %.300s: %s", path, strerror(errno));
	return fd;
}

static int open_files(struct snapshot *s, struct error *e)
{
	struct error none; /* that mark is not there after a copy, and need not be */
	int fd = open_in(s, "state", e), r;

	if (fd < 0)
		return -1;
	r = read_state(s, fd, e);
	close(fd);
	if (r)
		return in_file(e, s, "state");
	s->memory_fd = open_in(s, "memory", e);
	if (s->memory_fd < 0)
		return -1;
	fd = open_in(s, "checked", &none);
	if (fd >= 0) {
		s->marked = ram_is_marked(fd, s->memory_fd);
		close(fd);
	}
	return ram_check_file(s->memory_fd, s->file, &s->ram, e) ? in_file(e, s, "memory") : 0;
}

static struct snapshot *open_chain(const char *dir, enum verify verify, unsigned int depth,
				   struct error *e);

static bool is_increment(const struct snapshot *s)
{
	static const uint8_t none[SNAP_ID];

	return memcmp(s->ram.base, none, SNAP_ID) != 0;
}

static int open_base(struct snapshot *s, unsigned int depth, struct error *e)
{
	char *path;

	if (depth == MAX_CHAIN)
		return error_set(e, ERROR_USER, "snapshot %.150s: more than %d increments", s->dir,
				 MAX_CHAIN);
	if (asprintf(&path, "%s/base", s->dir) < 0)
		return error_set(e, ERROR_MACHINE, "out of memory");
	s->base = open_chain(path, s->verify, depth + 1, e);
	if (!s->base)
		return -1;
	if (memcmp(snap_id(s->base->file), s->ram.base, SNAP_ID) ||
	    s->base->ram.size != s->ram.size)
		return error_set(
			e, ERROR_USER,
			"snapshot %.150s: its base is not the snapshot that it was made on",
			s->dir);
	return 0;
}

/* What it opened lives until the process ends, also when it fails: then that is soon. */
static struct snapshot *open_chain(const char *dir, enum verify verify, unsigned int depth,
				   struct error *e)
{
	struct snapshot *s = calloc(1, sizeof(*s));

	if (!s) {
		error_set(e, ERROR_MACHINE, "out of memory");
		return NULL;
	}
	s->dir = dir;
	s->verify = verify;
	s->memory_fd = -1;
	if (open_files(s, e) || (is_increment(s) && open_base(s, depth, e)))
		return NULL;
	return s;
}

struct snapshot *snapshot_open(const char *dir, enum verify verify, struct error *e)
{
	return open_chain(dir, verify, 0, e);
}

uint64_t snapshot_memory(const struct snapshot *s)
{
	return s->ram.size;
}

/* The section is a row of strings, name and value in turn. */
bool snapshot_option(const struct snapshot *s, unsigned int i, const char **name,
		     const char **value)
{
	const char **to[2] = {name, value};
	struct snap_in in;
	unsigned int n;
	size_t len;

	snap_find(s->file, SNAP_OPTIONS, 0, &in);
	for (n = 0; n < 2 * i + 2; n++) {
		len = in.data ? strnlen((const char *)in.data, in.len) : 0;
		if (len >= in.len)
			return false;
		*to[n % 2] = snap_take(&in, len + 1);
	}
	return true;
}

bool snapshot_section(const struct snapshot *s, enum snap_kind kind, struct snap_in *in)
{
	return snap_find(s->file, kind, 0, in);
}

int snapshot_map(const struct snapshot *s, struct guest_memory *m, struct error *e)
{
	bool verify;

	if (s->base && snapshot_map(s->base, m, e))
		return -1;
	verify = s->verify == VERIFY_ALWAYS || (s->verify == VERIFY_CHANGED && !s->marked);
	if (ram_load(m, s->memory_fd, &s->ram, s->extents, verify, e))
		return in_file(e, s, "memory");
	return 0;
}

int snapshot_set_cpuid(const struct snapshot *s, struct vcpu *v, const struct cpuid_table *host,
		       struct error *e)
{
	return state_load_cpuid(v, s->file, host, e) ? in_file(e, s, "state") : 0;
}

int snapshot_load(const struct snapshot *s, struct vm *vm, struct error *e)
{
	unsigned int i;

	if (state_load_machine(vm, s->file, e))
		return in_file(e, s, "state");
	for (i = 0; i < vm->cfg->cpus; i++)
		if (state_load_vcpu(&vm->vcpus[i], s->file, e))
			return in_file(e, s, "state");
	if (state_load_clock(vm, s->file, e) || state_load_devices(vm, s->file, e) ||
	    unikernel_load_saved(vm, s, e))
		return in_file(e, s, "state");
	if (vm->hermit)
		return 0; /* it has no generation ID: all of its RAM is its own */
	if (vmgenid_renew(&vm->mem))
		return error_set(e, ERROR_MACHINE, "no generation ID: %s", strerror(errno));
	vmgenid_notify(&vm->generation);
	return 0;
}
