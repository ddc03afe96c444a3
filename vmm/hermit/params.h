/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parameters of hypercalls as they lie in guest RAM: of C HermitCore and interface 1
 * packed, of interfaces 2 and 3 naturally aligned.  `buf` is a virtual address in write_v1 and
 * read_v1; every other address is a GPA.
 */
#ifndef HG_HERMIT_PARAMS_H
#define HG_HERMIT_PARAMS_H

#include <stdint.h>

#define PACKED	      __attribute__((packed))
#define CALL_MAX_ARGS 128

struct write_v1 {
	int32_t fd;
	uint64_t buf, len;
} PACKED;

struct read_v1 {
	int32_t fd;
	uint64_t buf, len;
	int64_t ret;
} PACKED;

struct open_v1 {
	uint64_t name;
	int32_t flags, mode, ret;
} PACKED;

struct close_v1 {
	int32_t fd, ret;
} PACKED;

struct lseek_v1 {
	int32_t fd;
	int64_t offset; /* in and out */
	int32_t whence;
} PACKED;

struct unlink_v1 {
	uint64_t name;
	int32_t ret;
} PACKED;

struct exit_v1 {
	int32_t code;
} PACKED;

struct netinfo_c {
	char mac[18]; /* text, with the NUL */
} PACKED;

struct packet_c {	    /* netread and netwrite */
	uint64_t data, len; /* of netread: the room, and then the packet's bytes */
	int32_t ret;
} PACKED;

struct netstat_c {
	int32_t status;
} PACKED;

struct serial_v1 {
	uint64_t buf, len;
} PACKED;

struct cmdsize {
	int32_t argc, argsz[CALL_MAX_ARGS], envc, envsz[CALL_MAX_ARGS];
} PACKED;

struct cmdval {
	uint64_t argv, envp; /* arrays of GPAs */
} PACKED;

struct transfer_v2 { /* read and write */
	uint64_t len;
	int64_t ret;
	uint64_t buf;
	int32_t fd;
};

struct lseek_v2 {
	int64_t offset; /* in and out */
	uint32_t whence;
	int32_t fd;
};

struct serial_write_v2 {
	uint64_t len, buf;
};

struct serial_read_v2 {
	uint64_t maxlen, len, buf;
};

struct serial_byte_v2 {
	int32_t byte;
};

enum { GETDENTS_NONE, GETDENTS_SUCCESS, GETDENTS_END, GETDENTS_ERROR };

struct getdents_v2 {
	int32_t fd;
	uint64_t buf, len;
	uint32_t tag;	/* GETDENTS_* */
	uint64_t bytes; /* the payload, aligned as the u64 in it; of an error, its low half */
};

enum { CALL_NONE, CALL_SUCCESS, CALL_ERROR };

struct tagged_result { /* Rust: repr(C) enum {None, Success, Error(i32)} */
	uint32_t tag;
	int32_t error;
};

struct mkdir_v2 {
	uint64_t path, len;
	struct tagged_result ret;
};

struct stat_v2 {
	uint64_t name;
	uint32_t kind; /* 0 stat, 1 lstat */
	uint64_t attr;
	struct tagged_result ret;
};

struct fstat_v2 {
	int32_t fd;
	uint64_t attr;
	struct tagged_result ret;
};

struct guest_time {
	int64_t sec;
	int32_t nsec, pad;
};

struct file_attr { /* Hermit's FileAttr */
	uint64_t dev, ino, nlink;
	uint32_t mode, uid, gid, pad;
	uint64_t rdev;
	int64_t size, blksize, blocks;
	struct guest_time atim, mtim, ctim;
};

/* Unilib-FS: unilib.h says what they mean. */
struct unilib_call {
	uint64_t mode, x[3];
	int64_t result;
};

union call_params {
	struct write_v1 write_v1;
	struct read_v1 read_v1;
	struct open_v1 open_v1;
	struct close_v1 close_v1;
	struct lseek_v1 lseek_v1;
	struct unlink_v1 unlink_v1;
	struct exit_v1 exit_v1;
	struct netinfo_c netinfo_c;
	struct packet_c packet_c;
	struct netstat_c netstat_c;
	struct serial_v1 serial_v1;
	struct cmdsize cmdsize;
	struct unilib_call unilib;
	struct cmdval cmdval;
	struct transfer_v2 transfer_v2;
	struct lseek_v2 lseek_v2;
	struct serial_write_v2 serial_write_v2;
	struct serial_read_v2 serial_read_v2;
	struct serial_byte_v2 serial_byte_v2;
	struct getdents_v2 getdents_v2;
	struct mkdir_v2 mkdir_v2;
	struct stat_v2 stat_v2;
	struct fstat_v2 fstat_v2;
};

#endif
