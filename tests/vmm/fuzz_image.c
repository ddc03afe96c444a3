// SPDX-License-Identifier: Apache-2.0
/*
 * Fuzzes what reads unikernels' image archives and their configuration: the table of contents of
 * a tar that is nearly right, the files of it by a guest's calls, and TOML.
 */
#include <fcntl.h>

#include "fuzz.h"
#include "hermit/archive.h"
#include "hermit/files.h"
#include "log.h"
#include "tar_image.h"
#include "toml.h"

static struct files *files;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const struct files_config cfg;
	struct error e;

	(void)argc, (void)argv;
	log_open("/dev/null");
	files = files_create(&cfg, &e);
	CHECK(files);
	return 0;
}

static void take_text(struct script *s, char *to, size_t room)
{
	static const char *const parts[] = {
		"a",	    "b",       "/",   "..",   ".",	 "//", "dir/", "0",
		"12 path=", "9 size=", "=",   "\n",   "\\u00e9", "\"", "'",    "[",
		"]",	    ",",       " = ", "true", "-1",	 "#",  "\r\n", "kernel"};
	size_t used = 0, len, count = take(s, 1) % 24;
	const char *part;

	for (to[0] = '\0'; count--;) {
		part = parts[take(s, 1) % (sizeof(parts) / sizeof(parts[0]))];
		len = strlen(part);
		if (used + len + 1 > room)
			return;
		memcpy(to + used, part, len + 1);
		used += len;
	}
}

static void make_tar(struct script *s, struct tar *t)
{
	static const char types[] = "00005xgL27";
	unsigned int count = take(s, 1) % 12, flips = take(s, 1) % 4;
	char name[101], content[600];
	uint8_t *header;
	size_t at;

	t->size = 0;
	while (count--) {
		take_text(s, name, sizeof(name));
		take_text(s, content, sizeof(content));
		header = tar_add(t, name, types[take(s, 1) % (sizeof(types) - 1)], content,
				 strlen(content));
		for (at = take(s, 1) % 3; at; at--) /* a wrong field, under a right sum */
			header[take(s, 1) * 2 % 512] = (uint8_t)take(s, 1);
		if (take(s, 1) % 8)
			tar_sum(header);
	}
	if (take(s, 1) % 2)
		tar_end(t);
	while (flips-- && t->size)
		t->data[take(s, 3) % t->size] ^= (uint8_t)take(s, 1);
	if (take(s, 1) % 4 == 0)
		t->size = take(s, 3) % (t->size + 1);
}

static void use_files(struct script *s, struct archive *a)
{
	char path[300], buffer[300];
	struct stat st;
	int i, fd;

	files_add_archive(files, a);
	files_folders(files, buffer, take(s, 1));
	for (i = 0; i < 8; i++) {
		take_text(s, path, sizeof(path));
		fd = files_open(files, path, (int)take(s, 3), 0600);
		files_stat(files, path, true, &st);
		files_unlink(files, path);
		if (fd < 0)
			fd = (int)take(s, 1);
		files_seek(files, fd, (int64_t)take(s, 8), (int)(take(s, 1) % 4));
		files_read(files, fd, buffer, take(s, 1));
		files_list(files, fd, buffer, take(s, 1));
		files_fstat(files, fd, &st);
		if (take(s, 1) % 2)
			files_close(files, fd);
	}
	for (fd = 0; fd < 3 + FILES_MAX_OPEN; fd++)
		files_close(files, fd);
	files_add_archive(files, NULL);
}

static int note(void *arg, const struct toml_value *v, struct error *e)
{
	size_t *all = arg;
	unsigned int i;

	(void)e;
	*all += strlen(v->key) + strlen(v->table) + v->line;
	for (i = 0; i < v->count; i++)
		*all += v->items[i].kind == TOML_STRING ? strlen(v->items[i].text) : 1;
	return 0;
}

static void read_toml(struct script *s)
{
	char *text = calloc(1, 2048);
	size_t all = 0, used;
	struct error e;
	int i;

	CHECK(text);
	for (i = 0, used = 0; i < 12; i++, used = strlen(text))
		take_text(s, text + used, 2048 - used > 160 ? 160 : 1);
	while (s->at < s->len && used < 2040)
		if (!(text[used++] = (char)take(s, 1)))
			break;
	toml_parse("fuzz", text, note, &all, &e);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script s = {.data = data, .len = size};
	static struct tar t;
	struct archive a = {.fd = -1};
	struct error e;

	if (take(&s, 1) % 3 == 0) {
		read_toml(&s);
		return 0;
	}
	make_tar(&s, &t);
	a.data = malloc(t.size ? t.size : 1); /* so that the sanitizer sees a read past its end */
	CHECK(a.data);
	memcpy((void *)a.data, t.data, t.size);
	a.size = t.size;
	if (archive_index(&a, "fuzz", &e) == 0)
		use_files(&s, &a);
	free((void *)a.data);
	a.data = NULL;
	archive_close(&a);
	return 0;
}
