// SPDX-License-Identifier: Apache-2.0
#include "hermit/gzip.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#define CHUNK	  32768
#define GZIP_ONLY (15 + 16) /* inflateInit2: the largest window, a gzip header expected */

/* Not linked: who starts no archive pays nothing for it. */
struct library {
	int (*init)(z_streamp z, int bits, const char *version, int size);
	int (*inflate)(z_streamp z, int flush);
	int (*end)(z_streamp z);
};

bool gzip_is(const struct boot_file *f)
{
	uint8_t magic[3];

	return pread(f->fd, magic, sizeof(magic), 0) == sizeof(magic) &&
	       !memcmp(magic, "\x1f\x8b\x08", sizeof(magic));
}

static int load_library(const struct boot_file *f, struct library *l, struct error *e)
{
	void *z = dlopen("libz.so.1", RTLD_NOW | RTLD_LOCAL);

	if (z) {
		*(void **)&l->init = dlsym(z, "inflateInit2_");
		*(void **)&l->inflate = dlsym(z, "inflate");
		*(void **)&l->end = dlsym(z, "inflateEnd");
	}
	if (z && l->init && l->inflate && l->end)
		return 0;
	return error_set(e, ERROR_MACHINE, "%.150s: to unpack it takes zlib: %.200s", f->path,
			 dlerror());
}

static int write_all(int to, const uint8_t *from, size_t len)
{
	ssize_t n;

	while (len) {
		n = write(to, from, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		from += n;
		len -= (size_t)n;
	}
	return 0;
}

static int unpack(const struct library *l, z_stream *z, const struct boot_file *f, int to,
		  uint64_t max, uint64_t *size, struct error *e)
{
	static uint8_t in[CHUNK], out[CHUNK];
	uint64_t at = 0;
	ssize_t n;
	int r;

	for (*size = 0;;) {
		if (!z->avail_in) {
			n = pread(f->fd, in, sizeof(in), (off_t)at);
			if (n <= 0)
				return error_set(e, ERROR_USER, "%.150s: the archive is cut off",
						 f->path);
			at += (uint64_t)n;
			z->next_in = in;
			z->avail_in = (uInt)n;
		}
		z->next_out = out;
		z->avail_out = sizeof(out);
		r = l->inflate(z, Z_NO_FLUSH);
		if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR)
			return error_set(e, ERROR_USER, "%.150s: the archive is damaged: %.100s",
					 f->path, z->msg ? z->msg : "no gzip data");
		n = (ssize_t)(sizeof(out) - z->avail_out);
		*size += (uint64_t)n;
		if (*size > max)
			return error_set(e, ERROR_USER,
					 "%.150s: unpacked it has more than %llu MiB: refused",
					 f->path, (unsigned long long)(max >> 20));
		if (write_all(to, out, (size_t)n))
			return error_set(e, ERROR_MACHINE, "%.150s: unpacking: %s", f->path,
					 strerror(errno));
		if (r == Z_STREAM_END)
			return 0;
	}
}

int gzip_unpack(const struct boot_file *f, int to, uint64_t max, uint64_t *size, struct error *e)
{
	struct library l = {0};
	z_stream z = {0};
	int r;

	if (load_library(f, &l, e))
		return -1;
	if (l.init(&z, GZIP_ONLY, ZLIB_VERSION, sizeof(z)) != Z_OK)
		return error_set(e, ERROR_MACHINE, "zlib: %s", z.msg ? z.msg : "out of memory");
	r = unpack(&l, &z, f, to, max, size, e);
	l.end(&z);
	return r;
}
