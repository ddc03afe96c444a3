// SPDX-License-Identifier: Apache-2.0
/* Unit tests of image archives: unpacked, indexed, refused; their files as a guest sees them. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#include "hermit/files.h"
#include "hermit/gzip.h"
#include "hermit/hermit.h"
#include "hermit_image.h"
#include "tar_image.h"
#include "units.h"

static struct tar tar;
static struct archive archive;

static void add(const char *name, char type, const char *text)
{
	tar_add(&tar, name, type, text, strlen(text));
}

static int take_index(void)
{
	memset(&archive, 0, sizeof(archive));
	archive.data = tar.data;
	archive.size = tar.size;
	return archive_index(&archive, "x.hermit", &err);
}

static const char *text_of(const char *path)
{
	const struct archive_entry *entry = archive_find(&archive, path);
	static char text[64];

	CHECK(entry && !entry->folder && entry->size < sizeof(text));
	memcpy(text, archive.data + entry->offset, entry->size);
	text[entry->size] = '\0';
	return text;
}

static void an_index_has_every_file_and_folder(void)
{
	static const char pax[] = "22 mtime=1700000000.5\n19 path=from/a/pax\n",
			  size[] = "9 size=3\n";
	char longest[200];

	memset(longest, 'n', 199);
	longest[199] = '\0';
	add("./", '5', "");
	add("./a", '0', "one");
	add("dir/sub//./file", '\0', "two");
	add("dir-b", '7', "three");
	add("global", 'g', pax);
	add("next", 'x', pax);
	add("ignored-name", '0', "four");
	add("", 'x', size);
	tar_add(&tar, "sized", '0', "fivesix", 7);
	memcpy(tar.data + tar.size - 1024 + 124, "00000000000", 11);
	tar_sum(tar.data + tar.size - 1024);
	add("././@LongLink", 'L', longest);
	add("short", '0', "seven");
	add("link", '2', "");
	add("a", '0', "later");
	memcpy(tar_add(&tar, "end", '0', "x", 1) + 345, "pre/fix", 7);
	tar_sum(tar.data + tar.size - 1024);
	tar_end(&tar);
	CHECK(take_index() == 0);
	CHECK(!strcmp(text_of("a"), "later") && !strcmp(text_of("dir/sub/file"), "two"));
	CHECK(!strcmp(text_of("from/a/pax"), "four") && !strcmp(text_of("sized"), "fiv"));
	CHECK(!strcmp(text_of(longest), "seven") && !strcmp(text_of("pre/fix/end"), "x"));
	CHECK(archive_find(&archive, "dir/sub")->folder && archive_find(&archive, "from")->folder);
	CHECK(!archive_find(&archive, "link") && !archive_find(&archive, "ignored-name"));
	CHECK(archive_find(&archive, "")->folder);
}

static void children(const char *folder, const char *expected)
{
	const struct archive_entry *parent = archive_find(&archive, folder), *entry;
	char names[256] = "";
	uint64_t index = 0;

	CHECK(parent);
	while ((entry = archive_next(&archive, parent, &index)))
		strcat(strcat(names, entry->path), " ");
	if (strcmp(names, expected)) {
		fprintf(stderr, "'%s'\n", names);
		abort();
	}
}

static void a_folder_lists_what_is_directly_in_it(void)
{
	add("d/x", '0', "1");
	add("d-e", '0', "2");
	add("d/y/z", '0', "3");
	add("d/y/zz", '0', "4");
	add("c", '5', "");
	CHECK(take_index() == 0);
	children("", "c d d-e ");
	children("d", "d/x d/y ");
	children("d/y", "d/y/z d/y/zz ");
	children("c", "");
}

static void refused(const char *says)
{
	CHECK(take_index() == -1 && err.code == ERROR_USER);
	if (!strstr(err.text, says)) {
		fprintf(stderr, "%s\n", err.text);
		abort();
	}
	tar.size = 0;
}

static void what_is_wrong_with_a_tar_is_said(void)
{
	char longest[ARCHIVE_MAX_PATH + 1];

	add("a", '0', "1");
	tar.data[0] = 'b';
	refused("there is no tar in it");
	add("a", '0', "1");
	add("b", '0', "2");
	tar.data[1024] = 'c';
	refused("its tar is damaged");
	add("a", '0', "some text");
	tar.size -= 512;
	refused("cut off");
	add("../a", '0', "1");
	refused("'../a' has no place");
	add("a/../../b", '0', "1");
	refused("has no place");
	add("a", '0', "1");
	add("a/b", '0', "2");
	refused("of a file and of a folder");
	memset(longest, 'n', sizeof(longest));
	tar_add(&tar, "x", 'L', longest, sizeof(longest));
	refused("too long");
	add("x", 'x', "99 path=a\n");
	refused("pax header");
	add("x", 'x', "0 path=a\n");
	refused("pax header");
	add("x", 'x', "7 path\n");
	refused("pax header");
	add("x", 'x', "13 size=12x4\n");
	refused("a size");
	memset(tar_add(&tar, "x", '0', "", 0) + 124, 0xff, 12); /* a binary number */
	tar_sum(tar.data + tar.size - 512);
	refused("cut off");
}

/* The tar as a gzip file; level 9 of so much is small. */
static struct boot_file packed(const void *data, size_t size)
{
	struct boot_file f = {.fd = memfd_create("gz", 0), .path = "x.hermit"};
	gzFile gz = gzdopen(dup(f.fd), "wb9");
	off_t end;

	CHECK(f.fd >= 0 && gz && gzwrite(gz, data, (unsigned int)size) == (int)size);
	CHECK(gzclose(gz) == Z_OK);
	end = lseek(f.fd, 0, SEEK_END);
	f.size = (uint64_t)end;
	return f;
}

static void a_bomb_and_damage_are_refused_with_one_line(void)
{
	static uint8_t zeros[1 << 20];
	struct boot_file f = packed(zeros, sizeof(zeros));
	int to = memfd_create("to", 0);
	uint64_t size;

	CHECK(gzip_is(&f) && gzip_unpack(&f, to, sizeof(zeros), &size, &err) == 0);
	CHECK(size == sizeof(zeros) && lseek(to, 0, SEEK_END) == (off_t)size);
	CHECK(gzip_unpack(&f, to, sizeof(zeros) - 1, &size, &err) == -1);
	CHECK(strstr(err.text, "more than 0 MiB: refused") && !strchr(err.text, '\n'));
	CHECK(ftruncate(f.fd, (off_t)f.size / 2) == 0);
	CHECK(gzip_unpack(&f, to, sizeof(zeros), &size, &err) == -1);
	CHECK(strstr(err.text, "cut off"));
	CHECK(pwrite(f.fd, "\xff\xff\xff\xff", 4, 20) == 4);
	CHECK(gzip_unpack(&f, to, sizeof(zeros), &size, &err) == -1);
	CHECK(strstr(err.text, "damaged"));
}

static const char toml[] = "version = \"1\"\nkernel = \"/boot/kernel\"\n"
			   "[input]\nkernel_args = [\"-k\"]\napp_args = [\"one\", \"two words\"]\n"
			   "env_vars = [\"A=image\", \"B=image\", \"host\"]\n"
			   "[requirements]\nmemory = \"32 MiB\"\ncpus = 2\n";

static int open_package(struct hermit *h, const char *manifest, uint64_t memory, unsigned int cpus)
{
	static const struct recipe rust = {.type = ET_DYN, .entry_version = 4, .version_minor = 11};
	static uint8_t kernel[16384];
	struct boot_file image = make_image(&rust), f;

	CHECK(pread(image.fd, kernel, image.size, 0) == (ssize_t)image.size);
	tar.size = 0;
	add("hermit.toml", '0', manifest);
	tar_add(&tar, "./boot/kernel", '0', kernel, image.size);
	add("etc/motd", '0', "welcome");
	tar_end(&tar);
	f = packed(tar.data, tar.size);
	if (package_open(h, &f, memory, cpus, &err))
		return -1;
	return hermit_identify(&f, &h->image, &err) || h->image.abi != HERMIT_V1 ? -2 : 0;
}

static void a_package_says_how_it_wants_to_run(void)
{
	static char *const named[] = {"x.hermit"}, *const given[] = {"x.hermit", "mine"};
	struct hermit h = {.cfg = {.args = named, .nargs = 1, .env = {"A=user"}, .nenv = 1}};

	CHECK(open_package(&h, toml, MIB(32), 2) == 0);
	CHECK(h.cfg.nargs == 3 && !strcmp(h.cfg.args[2], "two words"));
	CHECK(h.cfg.nenv == 2 && !strcmp(h.cfg.env[0], "A=user") &&
	      !strcmp(h.cfg.env[1], "B=image"));
	CHECK(h.manifest.nkernel_args == 1 && !strcmp(h.manifest.kernel_args[0], "-k"));
	h = (struct hermit){.cfg = {.args = given, .nargs = 2}};
	CHECK(open_package(&h, toml, MIB(32), 2) == 0 && h.cfg.nargs == 2);
	CHECK(open_package(&h, toml, MIB(32) - 4096, 2) == -1 &&
	      strstr(err.text, "needs 32 MiB of memory: --memory 32M"));
	CHECK(open_package(&h, toml, MIB(64), 1) == -1 && strstr(err.text, "needs 2 CPUs"));
}

static void what_is_wrong_with_a_package_is_said(void)
{
	static const struct {
		const char *toml, *says;
	} cases[] = {
		{"version = \"2\"", "line 1: version \"2\"; this VMM knows \"1\""},
		{"version = 1", "version is not a string"},
		{"kernel = \"/k\"", "no version"},
		{"version = \"1\"\n[input]\nkernel_args = []\napp_args = []", "no kernel"},
		{"version = \"1\"\nkernel = \"/k\"\n[input]\nkernel_args = []", "no app_args"},
		{"version = \"1\"\nkernel = \"/k\"\n[input]\nkernel_args = []\napp_args = []",
		 "names the kernel '/k', which is not in it"},
		{"version = \"1\"\nkernel = \"/etc\"\n[input]\nkernel_args = []\napp_args = []",
		 "names the kernel '/etc'"},
		{"[input]\napp_args = [1]", "line 2: app_args is not an array of strings"},
		{"[input]\nenv_vars = 'A=1'", "env_vars is not an array"},
		{"[requirements]\nmemory = \"lots\"", "line 2: memory is not a size"},
		{"[requirements]\nmemory = -1", "memory is not a size"},
		{"[requirements]\ncpus = \"2\"", "cpus is not a number"},
	};
	struct hermit h = {0};
	uint64_t bytes;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		CHECK(open_package(&h, cases[i].toml, MIB(64), 1) == -1);
		if (!strstr(err.text, cases[i].says)) {
			fprintf(stderr, "%s\n", err.text);
			abort();
		}
	}
	CHECK(!parse_byte_unit("1 GB", &bytes) && bytes == 1000000000);
	CHECK(!parse_byte_unit("64mib", &bytes) && bytes == MIB(64));
	CHECK(parse_byte_unit("", &bytes) && parse_byte_unit("1 XB", &bytes));
	CHECK(parse_byte_unit("99999999999999999999", &bytes) &&
	      parse_byte_unit("18446744073709551615K", &bytes));
}

static void what_an_image_holds_can_be_read_only(void)
{
	struct files_config cfg = {.isolation = FILES_NORMAL};
	struct files *f;
	char buffer[512], list[64];
	struct stat st;
	int fd;

	add("etc/motd", '0', "welcome");
	add("etc/sub/x", '0', "x");
	add("top", '0', "t");
	CHECK(take_index() == 0);
	f = files_create(&cfg, &err);
	CHECK(f && files_open(f, "/etc/motd", O_RDONLY, 0) == -ENOENT);
	files_add_archive(f, &archive);
	CHECK(files_folders(f, list, sizeof(list)) == 14);
	CHECK(!strcmp(list, "/etc") && !strcmp(list + 5, "/etc/sub"));
	fd = files_open(f, "etc/./sub/../motd", O_RDONLY, 0);
	CHECK(fd == 3 && files_read(f, fd, buffer, 4) == 4 && !memcmp(buffer, "welc", 4));
	CHECK(files_read(f, fd, buffer, 100) == 3 && files_read(f, fd, buffer, 100) == 0);
	CHECK(files_seek(f, fd, -4, SEEK_END) == 3 && files_read(f, fd, buffer, 1) == 1);
	CHECK(buffer[0] == 'c' && files_seek(f, fd, 1, SEEK_CUR) == 5);
	CHECK(files_seek(f, fd, -6, SEEK_CUR) == -EINVAL && files_seek(f, fd, 0, 7) == -EINVAL);
	CHECK(files_seek(f, fd, INT64_MAX, SEEK_CUR) == -EINVAL);
	CHECK(files_seek(f, fd, INT64_MAX, SEEK_SET) == INT64_MAX &&
	      files_read(f, fd, buffer, 1) == 0);
	CHECK(files_write(f, fd, "x", 1) == -EBADF && files_list(f, fd, buffer, 512) == -ENOTDIR);
	CHECK(files_fstat(f, fd, &st) == 0 && st.st_size == 7 && S_ISREG(st.st_mode));
	CHECK(files_close(f, fd) == 0 && files_read(f, fd, buffer, 1) == -EBADF);
	CHECK(files_open(f, "/etc/motd", O_RDWR, 0) == -EROFS);
	CHECK(files_open(f, "/etc/motd", O_RDONLY | O_TRUNC, 0) == -EROFS);
	CHECK(files_open(f, "/etc/motd", O_CREAT | O_EXCL, 0644) == -EEXIST);
	CHECK(files_open(f, "/etc/motd", O_DIRECTORY, 0) == -ENOTDIR);
	CHECK(files_open(f, "/etc", O_WRONLY, 0) == -EISDIR);
	CHECK(files_open(f, "/etc/new", O_CREAT | O_WRONLY, 0644) == -ENOENT);
	CHECK(files_unlink(f, "/etc/motd") == -EROFS &&
	      files_mkdir(f, "/etc/sub", 0755) == -EEXIST);
	CHECK(files_stat(f, "/../top", true, &st) == -ENOENT);
	fd = files_open(f, "/etc", O_RDONLY | O_DIRECTORY, 0);
	CHECK(fd >= 0 && files_read(f, fd, buffer, 1) == -EISDIR);
	CHECK(files_list(f, fd, buffer, 16) == -EINVAL);
	CHECK(files_list(f, fd, buffer, 40) == 24 && !strcmp(buffer + 19, "motd"));
	CHECK(files_list(f, fd, buffer, 512) == 24 && !strcmp(buffer + 19, "sub"));
	CHECK(buffer[18] == 4 && files_list(f, fd, buffer, 512) == 0);
	files_destroy(f);
}

static void what_is_mapped_by_its_name_comes_before_the_image(void)
{
	char folder[] = "/tmp/units-archive-XXXXXX", path[64], buffer[16];
	struct files_config cfg = {.isolation = FILES_NORMAL, .scratch = "/tmp"};
	struct files *f;
	int fd;

	CHECK(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/motd", folder);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	CHECK(write(fd, "mine", 4) == 4 && close(fd) == 0);
	cfg.mappings[cfg.nmappings++] = (struct files_mapping){folder, "/etc", false};
	add("etc/motd", '0', "welcome");
	add("top", '0', "t");
	CHECK(take_index() == 0);
	f = files_create(&cfg, &err);
	CHECK(f);
	files_add_archive(f, &archive);
	fd = files_open(f, "/etc/motd", O_RDONLY, 0);
	CHECK(files_read(f, fd, buffer, 16) == 4 && !memcmp(buffer, "mine", 4));
	fd = files_open(f, "/top", O_RDONLY, 0); /* the scratch folder is nobody's wish */
	CHECK(files_read(f, fd, buffer, 16) == 1 && buffer[0] == 't');
	CHECK(files_open(f, "/new", O_CREAT | O_RDWR, 0600) >= 0);
	files_destroy(f);
	CHECK(unlink(path) == 0 && rmdir(folder) == 0);
}

int main(int argc, char **argv)
{
	static const struct unit_test tests[] = {
		TEST(an_index_has_every_file_and_folder),
		TEST(a_folder_lists_what_is_directly_in_it),
		TEST(what_is_wrong_with_a_tar_is_said),
		TEST(a_bomb_and_damage_are_refused_with_one_line),
		TEST(a_package_says_how_it_wants_to_run),
		TEST(what_is_wrong_with_a_package_is_said),
		TEST(what_an_image_holds_can_be_read_only),
		TEST(what_is_mapped_by_its_name_comes_before_the_image),
		{NULL, NULL},
	};

	return run_units(argc, argv, tests);
}
