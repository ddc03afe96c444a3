// SPDX-License-Identifier: Apache-2.0
/* Unit tests of files over hypercalls: a hostile guest's paths, descriptors and lengths. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hermit/files.h"
#include "units.h"

static char top[] = "/tmp/hg-units-XXXXXX";

static const char *host(const char *name)
{
	static char paths[8][PATH_MAX];
	static unsigned int turn;
	char *path = paths[turn++ % 8];

	snprintf(path, PATH_MAX, "%s/%s", top, name);
	return path;
}

static void put(const char *name, const char *text)
{
	int fd = open(host(name), O_WRONLY | O_CREAT | O_TRUNC, 0644);

	CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

/* /data is writable, /ro is not, /one is a single file; secret and outside are not mapped. */
static struct files *open_all(enum files_isolation isolation)
{
	struct files_config cfg = {.nmappings = 3, .isolation = isolation, .scratch = NULL};
	struct files *f;

	CHECK(mkdtemp(top));
	CHECK(!mkdir(host("data"), 0755) && !mkdir(host("ro"), 0755) &&
	      !mkdir(host("data/in"), 0755));
	put("secret", "secret");
	put("data/file", "0123456789");
	put("ro/file", "read only");
	put("single", "single");
	CHECK(!symlink("file", host("data/inside")) && !symlink("../secret", host("data/up")));
	CHECK(!symlink("/etc/passwd", host("data/absolute")));
	CHECK(!symlink("/proc/self/root", host("data/magic")));
	CHECK(!mkfifo(host("data/fifo"), 0644));
	cfg.mappings[0] = (struct files_mapping){host("data"), "/data", false};
	cfg.mappings[1] = (struct files_mapping){host("ro"), "/ro/", true};
	cfg.mappings[2] = (struct files_mapping){host("single"), "/one", false};
	f = files_create(&cfg, &err);
	CHECK(f);
	return f;
}

static void files_are_read_and_written(void)
{
	struct files *f = open_all(FILES_NORMAL);
	char text[16] = {0};
	struct stat st;
	int fd;

	fd = files_open(f, "/data/file", O_RDWR, 0);
	CHECK(fd == 3);
	CHECK(files_read(f, fd, text, 4) == 4 && !memcmp(text, "0123", 4));
	CHECK(files_seek(f, fd, -2, SEEK_END) == 8 && files_write(f, fd, "ab", 2) == 2);
	CHECK(!files_fstat(f, fd, &st) && st.st_size == 10);
	CHECK(files_close(f, fd) == 0 && files_close(f, fd) == -EBADF);
	fd = files_open(f, "/data/new", O_WRONLY | O_CREAT | O_EXCL, 0600);
	CHECK(fd == 3 && files_open(f, "/data/new", O_WRONLY | O_CREAT | O_EXCL, 0600) == -EEXIST);
	CHECK(!files_unlink(f, "/data/new") && files_unlink(f, "/data/new") == -ENOENT);
	CHECK(!files_mkdir(f, "/data/sub", 0755) && files_unlink(f, "/data/sub") == -EISDIR);
	CHECK(files_open(f, "/one", O_RDONLY, 0) >= 0 && files_open(f, "/one/x", O_RDONLY, 0) < 0);
	CHECK(files_open(f, "/data//in/../file", O_RDONLY, 0) >= 0);
	files_destroy(f);
}

static void nothing_outside_of_the_mappings_exists(void)
{
	static const char *const out[] = {
		"/secret",
		"/data/../secret",
		"/data/../../etc/passwd",
		"/etc/passwd",
		"/data/up",
		"/data/absolute",
		"/data/magic/etc/passwd",
		"/proc/self/mem",
		"/data/in/../../secret",
		"../secret",
		"/datax",
		"/dat",
		"",
		"/",
		"//",
		"/data/file/",
		"/data/fifo",
		"/ro/../data/../secret",
		"/dev/kvm",
		"/one/../secret",
	};
	struct files *f = open_all(FILES_NORMAL);
	struct stat st;
	unsigned int i;

	for (i = 0; i < sizeof(out) / sizeof(out[0]); i++) {
		if (files_open(f, out[i], O_RDONLY, 0) >= 0) {
			fprintf(stderr, "opened %s\n", out[i]);
			abort();
		}
		CHECK(files_unlink(f, out[i]) < 0 || !strcmp(out[i], "/data/up") ||
		      !strcmp(out[i], "/data/absolute") || !strcmp(out[i], "/data/fifo"));
	}
	CHECK(!stat(host("secret"), &st) && st.st_size == 6);
	CHECK(files_open(f, "/data/made/../../x", O_WRONLY | O_CREAT, 0644) < 0);
	CHECK(files_mkdir(f, "/data/../x", 0755) < 0 && files_mkdir(f, "/data/..", 0755) < 0);
	CHECK(files_mkdir(f, "/data", 0755) < 0 && files_unlink(f, "/data") < 0);
	CHECK(files_stat(f, "/data/up", true, &st) < 0 &&
	      !files_stat(f, "/data/inside", true, &st));
}

static void strict_follows_no_links(void)
{
	struct files *f = open_all(FILES_STRICT);
	struct stat st;

	CHECK(files_open(f, "/data/inside", O_RDONLY, 0) == -EACCES);
	CHECK(!files_stat(f, "/data/inside", false, &st) && S_ISLNK(st.st_mode));
	CHECK(files_open(f, "/data/file", O_RDONLY, 0) >= 0);
	CHECK(files_open(f, "/data/../data/file", O_RDONLY, 0) == -EACCES);
}

static void read_only_stays_as_it_is(void)
{
	struct files *f = open_all(FILES_NORMAL);
	int fd = files_open(f, "/ro/file", O_RDONLY, 0);

	CHECK(fd >= 0 && files_write(f, fd, "x", 1) == -EBADF);
	CHECK(files_open(f, "/ro/file", O_RDWR, 0) == -EROFS);
	CHECK(files_open(f, "/ro/file", O_RDONLY | O_TRUNC, 0) == -EROFS);
	CHECK(files_open(f, "/ro/new", O_RDONLY | O_CREAT, 0644) == -EROFS);
	CHECK(files_unlink(f, "/ro/file") == -EROFS && files_mkdir(f, "/ro/x", 0755) == -EROFS);
}

static void descriptors_are_the_guests_own(void)
{
	struct files *f = open_all(FILES_NORMAL);
	int fd, i, last = 0;
	char byte;

	for (fd = -3; fd < 300; fd += fd == 2 ? 200 : 1) {
		CHECK(files_read(f, fd, &byte, 1) == -EBADF && files_close(f, fd) == -EBADF);
		CHECK(files_write(f, fd, &byte, 1) == -EBADF);
		CHECK(files_seek(f, fd, 0, SEEK_SET) == -EBADF && files_list(f, fd, &byte, 1) < 0);
	}
	CHECK(files_read(f, INT32_MIN, &byte, 1) == -EBADF);
	CHECK(files_read(f, INT32_MAX, &byte, 1) == -EBADF);
	for (i = 0; i < FILES_MAX_OPEN + 5; i++)
		last = files_open(f, "/data/file", O_RDONLY, 0);
	CHECK(last == -EMFILE);
	CHECK(!files_close(f, 7) && files_open(f, "/data/file", O_RDONLY, 0) == 7);
	CHECK(files_seek(f, 7, 0, 99) == -EINVAL && files_seek(f, 7, -1, SEEK_SET) == -EINVAL);
	CHECK(files_seek(f, 7, INT64_MIN, SEEK_END) < 0);
}

static void long_paths_are_refused(void)
{
	static char path[8192];
	struct files *f = open_all(FILES_NORMAL);
	size_t len;

	for (len = 1000; len < sizeof(path) - 1; len += 123) {
		memset(path, 'a', len);
		memcpy(path, "/data/", 6);
		path[len] = '\0';
		CHECK(files_open(f, path, O_WRONLY | O_CREAT, 0644) < 0);
	}
}

static void folders_are_listed(void)
{
	struct files *f = open_all(FILES_NORMAL);
	int fd = files_open(f, "/data", O_RDONLY | O_DIRECTORY, 0);
	char list[4096], names[256];
	int64_t n;

	CHECK(fd >= 0);
	n = files_list(f, fd, list, sizeof(list));
	CHECK(n > 0 && memmem(list, (size_t)n, "inside", 7));
	CHECK(files_list(f, fd, list, sizeof(list)) == 0);
	CHECK(files_folders(f, names, sizeof(names)) == 10 && !memcmp(names, "/data\0/ro\0", 10));
	CHECK(files_open(f, "/data", O_RDONLY | O_DIRECTORY | O_CREAT, 0755) == -EINVAL);
	CHECK(files_open(f, "/data/file", O_RDONLY | O_DIRECTORY, 0) == -ENOTDIR);
}

static void the_scratch_folder_goes_with_the_vm(void)
{
	struct files_config cfg = {.scratch = top};
	struct files *f;
	struct dirent *d;
	int left = 0;
	DIR *dir;

	CHECK(mkdtemp(top));
	f = files_create(&cfg, &err);
	CHECK(f && !files_mkdir(f, "/a", 0755) && !files_mkdir(f, "a/b", 0755));
	CHECK(files_open(f, "a/b/c", O_WRONLY | O_CREAT, 0644) == 3);
	CHECK(files_open(f, "/etc/passwd", O_RDONLY, 0) == -ENOENT);
	files_destroy(f);
	for (dir = opendir(top); (d = readdir(dir));)
		left++;
	CHECK(left == 2);
}

static void a_place_that_is_not_there_is_named(void)
{
	struct files_config cfg = {.nmappings = 1};

	cfg.mappings[0] = (struct files_mapping){"/nowhere/at/all", "/x", false};
	CHECK(!files_create(&cfg, &err) && strstr(err.text, "cannot map /nowhere/at/all: No such"));
}

static const struct unit_test tests[] = {
	TEST(files_are_read_and_written),
	TEST(nothing_outside_of_the_mappings_exists),
	TEST(strict_follows_no_links),
	TEST(read_only_stays_as_it_is),
	TEST(descriptors_are_the_guests_own),
	TEST(long_paths_are_refused),
	TEST(folders_are_listed),
	TEST(the_scratch_folder_goes_with_the_vm),
	TEST(a_place_that_is_not_there_is_named),
	{NULL, NULL},
};

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	(void)st, (void)kind, (void)at;
	return remove(path);
}

int main(int argc, char **argv)
{
	int status = run_units(argc, argv, tests);

	if (strcmp(top + strlen(top) - 6, "XXXXXX"))
		nftw(top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return status;
}
