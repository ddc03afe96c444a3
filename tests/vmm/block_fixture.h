/* SPDX-License-Identifier: Apache-2.0 */
/* An image, an overlay, and a model in memory of what a disk made of them should hold. */
#ifndef TEST_BLOCK_FIXTURE_H
#define TEST_BLOCK_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "disk_driver.h"
#include "log.h"
#include "units.h"

#define DISK_SIZE (3u << 20) /* not a multiple of what a map sector covers */

static char base[] = "/tmp/blk-base-XXXXXX", over[] = "/tmp/blk-over-XXXXXX";
static uint8_t model[DISK_SIZE];

static inline void prepare(uint64_t size)
{
	int fd = mkstemp(over);

	setup(MIB(16));
	log_open("/dev/null");
	make_image(base, size);
	CHECK(fd >= 0);
	close(fd);
	fd = open(base, O_RDONLY);
	memset(model, 0, sizeof(model));
	CHECK(read(fd, model, sizeof(model)) ==
	      (ssize_t)(size < sizeof(model) ? size : sizeof(model)));
	close(fd);
}

static inline void remove_files(void)
{
	unlink(base);
	unlink(over);
}

static inline bool same_as_model(struct virtio_dev *dev, uint64_t size)
{
	uint64_t at, n;

	for (at = 0; at < size; at += n) {
		n = size - at < SLOT_DATA ? size - at : SLOT_DATA;
		memset(slot_bytes(0), 0xee, n);
		if (one_request(dev, VIRTIO_BLK_T_IN, at / 512, n) != VIRTIO_BLK_S_OK ||
		    memcmp(slot_bytes(0), model + at, n))
			return false;
	}
	return true;
}

static uint32_t random_state = 1;

static inline uint32_t pick(uint32_t below)
{
	random_state = random_state * 1664525 + 1013904223;
	return (random_state >> 8) % below;
}

/* Requests that do not overlap, many at once, of all kinds; the model follows. */
static inline void one_round(struct virtio_dev *dev, uint64_t size)
{
	unsigned int i, n = 1 + pick(SLOTS), stripe = size / 512 / n;
	struct virtio_blk_discard_write_zeroes range = {0};
	uint64_t sector, len;
	uint32_t kind;

	for (i = 0; i < n; i++) {
		sector = i * stripe + pick(stripe);
		len = 1 + pick(stripe - (sector - i * stripe));
		len = len > 64 ? 64 : len;
		kind = pick(8);
		if (kind < 5) {
			memset(slot_bytes(i), (int)random_state, len * 512);
			memset(model + sector * 512, (int)random_state, len * 512);
			put_request(i, VIRTIO_BLK_T_OUT, sector, len * 512);
		} else if (kind == 5) {
			put_request(i, VIRTIO_BLK_T_FLUSH, 0, 0);
		} else {
			memset(model + sector * 512, 0, len * 512);
			range.sector = sector;
			range.num_sectors = len;
			range.flags = kind == 6 ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;
			memory_write(&mem, SLOT_GPA(i), &range, sizeof(range));
			put_request(i, VIRTIO_BLK_T_WRITE_ZEROES, 0, sizeof(range));
		}
	}
	kick_and_wait(dev, n);
	for (i = 0; i < n; i++)
		CHECK(slot_status(i) == VIRTIO_BLK_S_OK);
}

static inline void storm(const struct disk_config *cfg, uint64_t size, bool kept)
{
	struct virtio_dev *dev = open_disk(cfg);
	unsigned int round;

	for (round = 0; round < 60; round++) {
		one_round(dev, size);
		if (round % 20 == 19)
			CHECK(same_as_model(dev, size));
		if (kept && round % 20 == 10) {
			dev->ops->destroy(dev);
			dev = open_disk(cfg);
			CHECK(same_as_model(dev, size));
		}
		if (round == 30) { /* write-through */
			uint8_t off = 0;

			virtio_mmio_access(dev, VIRTIO_MMIO_CONFIG + 32, true, &off, 1);
		}
	}
	dev->ops->destroy(dev);
}

static inline bool base_is_untouched(uint64_t size)
{
	int fd = open(base, O_RDONLY);
	uint8_t byte = 0;
	uint64_t i;

	for (i = 0; i < size; i += 512)
		if (pread(fd, &byte, 1, i) != 1 || byte != (uint8_t)(i / 512 + 1))
			return false;
	close(fd);
	return true;
}

/* As on a host that has no io_uring or denies it. */
static inline void deny_io_uring(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0), /* the call's number */
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {.len = 4, .filter = code};

	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0);
}

#endif
