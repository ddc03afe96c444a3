// SPDX-License-Identifier: Apache-2.0
/* Which places of the host a guest's file calls lead to, and under which names. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hermit/files_private.h"
#include "jail/jail.h"

int files_add_mapping(struct files *f, const struct files_mapping *given, bool implied,
		      struct error *e)
{
	struct mapping *m = &f->mappings[f->nmappings];
	char *parent = strdup(given->host), *slash;
	size_t len = strlen(given->guest);
	struct stat st;

	if (!parent)
		return error_set(e, ERROR_MACHINE, "out of memory");
	*m = (struct mapping){.folder = -1, .read_only = given->read_only, .implied = implied};
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
		f->open[i].host = -1;
	for (i = 0; i < cfg->nmappings && !r; i++)
		r = files_add_mapping(f, &cfg->mappings[i], false, e);
	if (!r && cfg->isolation == FILES_NONE)
		r = files_add_mapping(f, &everything, true, e);
	else if (!r && cfg->scratch)
		r = scratch_create(f, cfg->scratch, e);
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

void files_add_archive(struct files *f, const struct archive *a)
{
	f->archive = a;
}

struct name_list {
	char *to;
	size_t used, room;
};

/* The first `len` bytes of a path, once; the root is never mounted. */
static void add_name(struct name_list *l, const char *path, size_t len)
{
	const char *own;

	if (len <= 1 || len >= l->room - l->used)
		return;
	for (own = l->to; own < l->to + l->used; own += strlen(own) + 1)
		if (!strncmp(own, path, len) && !own[len])
			return;
	memcpy(l->to + l->used, path, len);
	l->used += len;
	l->to[l->used++] = '\0';
}

/* Folders as they are, of a file the folder that it lies in (uhyve's get_all_guest_dirs()). */
size_t files_folders(const struct files *f, char *list, size_t room)
{
	struct name_list l = {list, 0, room};
	char path[ARCHIVE_MAX_PATH + 1];
	const struct mapping *m;
	const char *slash;
	unsigned int i;

	for (m = f->mappings; m < f->mappings + f->nmappings; m++) {
		slash = m->name ? strrchr(m->guest, '/') : NULL;
		add_name(&l, m->guest, slash ? (size_t)(slash - m->guest) : strlen(m->guest));
	}
	for (i = 0; f->archive && i < f->archive->count; i++) {
		if (f->archive->entries[i].folder)
			continue;
		snprintf(path, sizeof(path), "/%s", f->archive->entries[i].path);
		add_name(&l, path, (size_t)(strrchr(path, '/') - path));
	}
	return l.used;
}

void files_destroy(struct files *f)
{
	unsigned int i;

	if (!f)
		return;
	for (i = 0; i < FILES_MAX_OPEN; i++) {
		free(f->open[i].path);
		if (f->open[i].host >= 0)
			close(f->open[i].host);
	}
	if (f->scratch)
		scratch_remove(f);
	for (i = 0; i < f->nmappings; i++) {
		close(f->mappings[i].folder);
		free(f->mappings[i].name);
		free(f->mappings[i].guest);
	}
	pthread_mutex_destroy(&f->lock);
	free(f);
}
