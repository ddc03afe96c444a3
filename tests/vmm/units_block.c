// SPDX-License-Identifier: Apache-2.0
/* Unit tests of what stands behind a disk: rate limits, overlays. */
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
#include "ratelimit.h"
#include "units.h"

#define MS 1000000ull

/* --- token buckets --- */

static void a_bucket_keeps_its_rate(void)
{
	struct token_bucket b;
	uint64_t now = 5 * MS, done = 0, end = now + 10000 * MS;

	bucket_init(&b, 1000, 50, now);
	while (now < end) {
		while (bucket_allows(&b, now)) {
			bucket_charge(&b, 1);
			done++;
		}
		CHECK(bucket_wait(&b, now) > 0 && bucket_wait(&b, now) <= MS);
		now += bucket_wait(&b, now);
	}
	CHECK(done >= 10000 + 49 && done <= 10000 + 51); /* ten seconds and one burst */
}

static void a_bucket_goes_into_debt(void)
{
	struct token_bucket b;

	bucket_init(&b, 1 << 20, 4096, 0);
	CHECK(bucket_allows(&b, 0));
	bucket_charge(&b, 1 << 20); /* more than the burst passes ... */
	CHECK(!bucket_allows(&b, 1));
	CHECK(bucket_wait(&b, 1) > 990 * MS && bucket_wait(&b, 1) < 1000 * MS);
	CHECK(!bucket_allows(&b, 900 * MS)); /* ... and is paid for */
	CHECK(bucket_allows(&b, 1001 * MS));
}

static void a_bucket_survives_extremes(void)
{
	struct token_bucket b;
	unsigned int i;

	bucket_init(&b, RATE_MAX, RATE_MAX, 0);
	CHECK(bucket_allows(&b, UINT64_MAX / 2));
	for (i = 0; i < 100; i++)
		bucket_charge(&b, UINT64_MAX);
	CHECK(!bucket_allows(&b, UINT64_MAX / 2) && bucket_wait(&b, UINT64_MAX / 2) > 0);
	bucket_init(&b, 1, 0, 0);
	bucket_charge(&b, UINT64_MAX);
	CHECK(!bucket_allows(&b, UINT64_MAX) || true);
	bucket_init(&b, 0, 0, 0); /* no limit */
	bucket_charge(&b, UINT64_MAX);
	CHECK(bucket_allows(&b, 0));
	bucket_init(&b, 3, 0, 0); /* a rate whose tenth is nothing still lets one through */
	CHECK(b.burst == 1 && bucket_allows(&b, 0));
	/* Many looks in between must not round time away. */
	bucket_charge(&b, 1);
	for (i = 1; i < 333; i++)
		CHECK(!bucket_allows(&b, i * MS));
	CHECK(bucket_allows(&b, 334 * MS));
}

static unsigned int resumed;

static void on_resume(void *arg)
{
	(void)arg;
	resumed++;
}

static void a_limit_calls_back(void)
{
	struct rate_config cfg = {.ops = 100, .ops_burst = 2};
	struct ratelimit r;

	setup(MIB(16));
	CHECK(ratelimit_init(&r, &loop, &cfg, on_resume, NULL) == 0);
	while (ratelimit_allows(&r))
		ratelimit_charge(&r, 1, 1 << 30);
	CHECK(r.waiting && r.waits == 1 && !ratelimit_allows(&r) && r.waits == 1);
	while (!resumed)
		loop_once(&loop, 1000);
	CHECK(resumed == 1 && ratelimit_allows(&r));
	ratelimit_close(&r);
	ratelimit_close(&r);
	cfg = (struct rate_config){0};
	CHECK(ratelimit_init(&r, &loop, &cfg, on_resume, NULL) == 0 && ratelimit_allows(&r));
	ratelimit_charge(&r, 1, 1);
	ratelimit_close(&r);
}

/* --- disks --- */

#define DISK_SIZE (3u << 20) /* not a multiple of what a map sector covers */

static char base[] = "/tmp/blk-base-XXXXXX", over[] = "/tmp/blk-over-XXXXXX";
static uint8_t model[DISK_SIZE];

static void prepare(uint64_t size)
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

static void remove_files(void)
{
	unlink(base);
	unlink(over);
}

static bool same_as_model(struct virtio_dev *dev, uint64_t size)
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

static uint32_t pick(uint32_t below)
{
	random_state = random_state * 1664525 + 1013904223;
	return (random_state >> 8) % below;
}

/* Requests that do not overlap, many at once, of all kinds; the model follows. */
static void one_round(struct virtio_dev *dev, uint64_t size)
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

static void storm(const struct disk_config *cfg, uint64_t size, bool kept)
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

static void a_disk_is_what_was_written(void)
{
	struct disk_config cfg = {.path = base};

	prepare(DISK_SIZE);
	storm(&cfg, DISK_SIZE, true);
	cfg.direct = true;
	storm(&cfg, DISK_SIZE, true);
	remove_files();
}

static bool base_is_untouched(uint64_t size)
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

static void an_overlay_is_what_was_written(void)
{
	const uint64_t odd = DISK_SIZE - 2560; /* the last block is short */
	struct disk_config cfg = {.path = base, .overlay = over};
	struct virtio_dev *dev;

	prepare(odd);
	storm(&cfg, odd, true);
	dev = open_disk(&cfg);
	CHECK(same_as_model(dev, odd));
	dev->ops->destroy(dev);
	cfg.direct = true;
	storm(&cfg, odd, true);
	CHECK(base_is_untouched(odd));
	remove_files();
}

/* As on a host that has no io_uring or denies it. */
static void deny_io_uring(void)
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

static void disks_do_without_io_uring(void)
{
	struct disk_config cfg = {.path = base};

	deny_io_uring();
	prepare(DISK_SIZE);
	storm(&cfg, DISK_SIZE, true);
	remove_files();
}

static void overlays_do_without_io_uring(void)
{
	struct disk_config cfg = {.path = base, .overlay = over};

	deny_io_uring();
	prepare(DISK_SIZE);
	storm(&cfg, DISK_SIZE, true);
	CHECK(base_is_untouched(DISK_SIZE));
	remove_files();
}

static void a_snapshot_is_forgotten(void)
{
	struct disk_config cfg = {.path = base, .snapshot = true}, plain = {.path = base};
	struct virtio_dev *dev;

	prepare(DISK_SIZE);
	storm(&cfg, DISK_SIZE, false);
	CHECK(base_is_untouched(DISK_SIZE));
	dev = open_disk(&cfg);
	CHECK(dev->ops->cannot_save(dev)); /* a VM's snapshot would need what is forgotten */
	dev->ops->destroy(dev);
	dev = open_disk(&plain);
	CHECK(!dev->ops->cannot_save(dev));
	CHECK(!same_as_model(dev, DISK_SIZE));
	remove_files();
}

/* What a killed VMM leaves: nothing is closed, and what was flushed is there. */
static void an_overlay_keeps_what_was_flushed(void)
{
	struct disk_config cfg = {.path = base, .overlay = over};
	struct virtio_dev *dev;
	int status;

	prepare(DISK_SIZE);
	if (fork() == 0) {
		dev = open_disk(&cfg);
		memset(slot_bytes(0), 0xaa, 8192);
		CHECK(one_request(dev, VIRTIO_BLK_T_OUT, 5, 8192) == VIRTIO_BLK_S_OK);
		CHECK(one_request(dev, VIRTIO_BLK_T_FLUSH, 0, 0) == VIRTIO_BLK_S_OK);
		memset(slot_bytes(0), 0xbb, 4096);
		CHECK(one_request(dev, VIRTIO_BLK_T_OUT, 800, 4096) == VIRTIO_BLK_S_OK);
		_exit(0);
	}
	CHECK(wait(&status) > 0 && status == 0);
	dev = open_disk(&cfg);
	memset(model + 5 * 512, 0xaa, 8192);
	CHECK(same_as_model(dev, 800 * 512));
	CHECK(one_request(dev, VIRTIO_BLK_T_IN, 800, 512) == VIRTIO_BLK_S_OK);
	CHECK(slot_bytes(0)[0] == 0xbb || slot_bytes(0)[0] == model[800 * 512]);
	remove_files();
}

static const char *refused(const struct disk_config *cfg)
{
	CHECK(!blk_create(&mem, &loop, cfg, 0, &err));
	CHECK(err.code == ERROR_USER);
	return err.text;
}

static void damage(const char *path, uint64_t at, uint8_t bits)
{
	int fd = open(path, O_RDWR);
	uint8_t byte;

	CHECK(pread(fd, &byte, 1, at) == 1);
	byte ^= bits;
	CHECK(pwrite(fd, &byte, 1, at) == 1);
	close(fd);
}

static void a_bad_overlay_is_refused_with_the_reason(void)
{
	struct disk_config cfg = {.path = base, .overlay = over};
	struct virtio_dev *dev;
	struct stat st;
	unsigned int i;

	prepare(DISK_SIZE);
	dev = open_disk(&cfg);
	CHECK(strstr(refused(&cfg), "in use by another VM"));
	CHECK(one_request(dev, VIRTIO_BLK_T_OUT, 16, 4096) == VIRTIO_BLK_S_OK);
	dev->ops->destroy(dev);
	for (i = 8; i < 512; i += 7) { /* any bit of the header but the magic's */
		damage(over, i, 1u << i % 8);
		CHECK(strstr(refused(&cfg), i < 12 ? "version" : "checksum"));
		damage(over, i, 1u << i % 8);
	}
	damage(over, 0, 1);
	CHECK(strstr(refused(&cfg), "not an overlay"));
	damage(over, 0, 1);
	for (i = 0; i < 512; i += 37) { /* of the map sector that is in use */
		damage(over, 4096 + i, 0x10);
		CHECK(strstr(refused(&cfg), "map sector 0"));
		damage(over, 4096 + i, 0x10);
	}
	damage(base, 2000, 1);
	CHECK(strstr(refused(&cfg), "another image"));
	damage(base, 2000, 1);
	CHECK(truncate(base, DISK_SIZE - 512) == 0);
	CHECK(strstr(refused(&cfg), "another image"));
	CHECK(truncate(base, DISK_SIZE) == 0);
	damage(base, DISK_SIZE - 1, 1); /* the last sector counts as well */
	CHECK(strstr(refused(&cfg), "another image"));
	CHECK(stat(over, &st) == 0 && truncate(over, st.st_size - 1) == 0);
	CHECK(strstr(refused(&cfg), "it was cut"));
	cfg.overlay = base;
	CHECK(strstr(refused(&cfg), "in use")); /* by this very disk */
	cfg.overlay = "/tmp";
	CHECK(strstr(refused(&cfg), "Is a directory"));
	remove_files();
}

static void discards_give_storage_back(void)
{
	struct disk_config cfg = {.path = base};
	struct virtio_dev *dev;
	struct stat before, after;

	prepare(DISK_SIZE);
	dev = open_disk(&cfg);
	CHECK(stat(base, &before) == 0);
	CHECK(one_range(dev, VIRTIO_BLK_T_DISCARD, 0, 2048, 0) == VIRTIO_BLK_S_OK);
	CHECK(stat(base, &after) == 0 && after.st_blocks <= before.st_blocks - 2048);
	CHECK(after.st_size == before.st_size);
	memset(model, 0, 2048 * 512);
	CHECK(same_as_model(dev, DISK_SIZE));
	/* 5.2.6.2: what a driver must not ask for. */
	CHECK(one_range(dev, VIRTIO_BLK_T_DISCARD, 0, 8, 1) == VIRTIO_BLK_S_UNSUPP);
	CHECK(one_range(dev, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 2) == VIRTIO_BLK_S_UNSUPP);
	CHECK(one_range(dev, VIRTIO_BLK_T_DISCARD, DISK_SIZE / 512 - 7, 8, 0) ==
	      VIRTIO_BLK_S_IOERR);
	CHECK(one_range(dev, VIRTIO_BLK_T_DISCARD, UINT64_MAX, 8, 0) == VIRTIO_BLK_S_IOERR);
	CHECK(one_range(dev, VIRTIO_BLK_T_DISCARD, 0, UINT32_MAX, 0) == VIRTIO_BLK_S_IOERR);
	CHECK(one_range(dev, VIRTIO_BLK_T_DISCARD, 0, 0, 0) == VIRTIO_BLK_S_IOERR);
	CHECK(one_request(dev, VIRTIO_BLK_T_DISCARD, 0, 15) == VIRTIO_BLK_S_IOERR);
	CHECK(one_request(dev, VIRTIO_BLK_T_DISCARD, 0, 16 * 33) == VIRTIO_BLK_S_IOERR);
	CHECK(blk_get_stats(dev)->invalid_operations == 8);
	CHECK(blk_get_stats(dev)->unmap_bytes == 2048 * 512);
	remove_files();
}

static uint64_t capacity(struct virtio_dev *dev)
{
	uint64_t sectors;

	virtio_mmio_access(dev, VIRTIO_MMIO_CONFIG, false, (uint8_t *)&sectors, 8);
	return sectors * 512;
}

static void a_disk_grows(void)
{
	struct disk_config cfg = {.path = base};
	struct virtio_dev *dev;
	uint32_t generation;
	char text[256];

	prepare(MIB(1));
	dev = open_disk(&cfg);
	generation = reg_read(dev, VIRTIO_MMIO_CONFIG_GENERATION);
	CHECK(blk_resize(dev, MIB(1) - 512, text, sizeof(text)) && strstr(text, "shrink"));
	CHECK(blk_resize(dev, MIB(2) + 1, text, sizeof(text)) && strstr(text, "multiple"));
	CHECK(!blk_resize(dev, MIB(2), text, sizeof(text)) && capacity(dev) == MIB(2));
	CHECK(reg_read(dev, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG);
	CHECK(reg_read(dev, VIRTIO_MMIO_CONFIG_GENERATION) != generation);
	CHECK(same_as_model(dev, MIB(2)));
	CHECK(one_request(dev, VIRTIO_BLK_T_OUT, MIB(2) / 512 - 8, 4096) == VIRTIO_BLK_S_OK);
	dev->ops->destroy(dev);
	remove_files();
}

static void an_overlay_grows(void)
{
	const uint64_t odd = MIB(1) - 1536;
	struct disk_config cfg = {.path = base, .overlay = over};
	struct virtio_dev *dev;
	char text[256];

	prepare(odd);
	dev = open_disk(&cfg);
	CHECK(!blk_resize(dev, DISK_SIZE, text, sizeof(text)));
	CHECK(same_as_model(dev, DISK_SIZE));
	memset(slot_bytes(0), 0x11, 512);
	memset(model + odd, 0x11, 512); /* in the base's last block, which is short */
	CHECK(one_request(dev, VIRTIO_BLK_T_OUT, odd / 512, 512) == VIRTIO_BLK_S_OK);
	CHECK(same_as_model(dev, DISK_SIZE));
	dev->ops->destroy(dev);
	dev = open_disk(&cfg);
	CHECK(capacity(dev) == DISK_SIZE && same_as_model(dev, DISK_SIZE));
	CHECK(blk_resize(dev, 1ull << 49, text, sizeof(text)) && strstr(text, "grow"));
	dev->ops->destroy(dev);
	CHECK(base_is_untouched(odd));
	remove_files();
}

static unsigned int errors, last_error;

static void on_error(void *arg, unsigned int index, bool write, int error)
{
	(void)arg, (void)index, (void)write;
	errors++;
	last_error = error;
}

static void a_cut_image_gives_errors(void)
{
	struct disk_config cfg = {.path = base};
	struct virtio_dev *dev;
	unsigned int i;

	prepare(MIB(1));
	dev = open_disk(&cfg);
	blk_on_error(dev, on_error, NULL);
	CHECK(truncate(base, 4096) == 0);
	for (i = 0; i < 50; i++)
		CHECK(one_request(dev, VIRTIO_BLK_T_IN, 1024 + i, 4096) == VIRTIO_BLK_S_IOERR);
	CHECK(one_request(dev, VIRTIO_BLK_T_IN, 0, 8192) == VIRTIO_BLK_S_IOERR);
	CHECK(one_request(dev, VIRTIO_BLK_T_IN, 0, 4096) == VIRTIO_BLK_S_OK);
	CHECK(errors >= 1 && errors <= 3 && last_error == EIO); /* one a second */
	CHECK(blk_get_stats(dev)->failed_rd_operations == 51);
	remove_files();
}

static void write_through_is_the_drivers_choice(void)
{
	struct disk_config cfg = {.path = base};
	struct virtio_dev *dev;
	uint8_t wce = 9, zero = 0;

	prepare(MIB(1));
	dev = open_disk(&cfg);
	virtio_mmio_access(dev, VIRTIO_MMIO_CONFIG + 32, false, &wce, 1);
	CHECK(wce == 1);
	virtio_mmio_access(dev, VIRTIO_MMIO_CONFIG + 32, true, &zero, 1);
	virtio_mmio_access(dev, VIRTIO_MMIO_CONFIG + 32, false, &wce, 1);
	CHECK(wce == 0);
	CHECK(one_request(dev, VIRTIO_BLK_T_OUT, 0, 512) == VIRTIO_BLK_S_OK);
	CHECK(one_range(dev, VIRTIO_BLK_T_WRITE_ZEROES, 8, 8, 0) == VIRTIO_BLK_S_OK);
	start_disk(dev, F(FLUSH)); /* a reset, and CONFIG_WCE is not negotiated */
	virtio_mmio_access(dev, VIRTIO_MMIO_CONFIG + 32, true, &zero, 1);
	virtio_mmio_access(dev, VIRTIO_MMIO_CONFIG + 32, false, &wce, 1);
	CHECK(wce == 1);
	remove_files();
}

static void a_disk_has_its_serial_and_queues(void)
{
	struct disk_config cfg = {.path = base, .serial = "0123456789abcdefghij", .queues = 4};
	struct virtio_dev *dev;
	uint8_t *got;

	prepare(MIB(1));
	dev = blk_create(&mem, &loop, &cfg, 3, &err);
	CHECK(dev && dev->nqueues == 4 && (dev->features & F(MQ)));
	start_disk(dev, DISK_FEATURES | F(MQ));
	got = slot_bytes(0);
	memset(got, 0xee, 64);
	CHECK(one_request(dev, VIRTIO_BLK_T_GET_ID, 0, 20) == VIRTIO_BLK_S_OK);
	CHECK(!memcmp(got, "0123456789abcdefghij", 20) && got[20] == 0xee);
	dev->ops->destroy(dev);
	remove_files();
}

static void limits_are_kept(void)
{
	struct disk_config cfg = {.path = base, .rate = {.ops = 200, .ops_burst = 10}};
	uint64_t start, took;
	struct virtio_dev *dev;
	unsigned int i;

	prepare(MIB(1));
	dev = open_disk(&cfg);
	start = ratelimit_now();
	for (i = 0; i < SLOTS; i++)
		put_request(i, VIRTIO_BLK_T_IN, i * 8, 4096);
	kick_and_wait(dev, SLOTS);
	took = ratelimit_now() - start;
	for (i = 0; i < SLOTS; i++)
		CHECK(slot_status(i) == VIRTIO_BLK_S_OK);
	CHECK(took >= (SLOTS - 11) * 5 * MS && blk_throttled(dev) >= 10);
	/* A reset while requests wait: they are the driver's again. */
	for (i = 0; i < SLOTS; i++)
		put_request(i, VIRTIO_BLK_T_IN, i * 8, 4096);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	start_disk(dev, DISK_FEATURES);
	for (i = 0; i < 5; i++)
		loop_once(&loop, 20);
	CHECK(used_index(&mem, 0) == 0 && one_request(dev, VIRTIO_BLK_T_IN, 0, 512) == 0);
	dev->ops->destroy(dev);
	remove_files();
}

static void an_overlay_ends_in_flight_before_a_reset(void)
{
	struct disk_config cfg = {.path = base, .overlay = over};
	struct virtio_dev *dev;
	unsigned int i, round;

	prepare(DISK_SIZE);
	dev = open_disk(&cfg);
	for (round = 0; round < 30; round++) {
		for (i = 0; i < SLOTS; i++) /* partial blocks, flushes and reads between */
			put_request(i,
				    i % 4 == 3	 ? VIRTIO_BLK_T_FLUSH
				    : i % 4 == 2 ? VIRTIO_BLK_T_IN
						 : VIRTIO_BLK_T_OUT,
				    (round * SLOTS + i) * 3, i % 4 == 3 ? 0 : 1536);
		reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
		reg_write(dev, VIRTIO_MMIO_STATUS, 0);
		/* From here on the memory is the driver's own. */
		for (i = 0; i < SLOTS; i++) {
			memset(slot_bytes(i), 0x3c, 1536);
			slot_status(i) = 0x3c;
		}
		for (i = 0; i < 3; i++)
			loop_once(&loop, 1);
		for (i = 0; i < SLOTS * 1536; i++)
			CHECK(slot_bytes(i / 1536)[i % 1536] == 0x3c);
		for (i = 0; i < SLOTS; i++)
			CHECK(slot_status(i) == 0x3c);
		start_disk(dev, DISK_FEATURES);
	}
	dev->ops->destroy(dev);
	remove_files();
}

static const struct unit_test tests[] = {
	TEST(a_bucket_keeps_its_rate),
	TEST(a_bucket_goes_into_debt),
	TEST(a_bucket_survives_extremes),
	TEST(a_limit_calls_back),
	TEST(a_disk_is_what_was_written),
	TEST(an_overlay_is_what_was_written),
	TEST(disks_do_without_io_uring),
	TEST(overlays_do_without_io_uring),
	TEST(a_snapshot_is_forgotten),
	TEST(an_overlay_keeps_what_was_flushed),
	TEST(a_bad_overlay_is_refused_with_the_reason),
	TEST(discards_give_storage_back),
	TEST(a_disk_grows),
	TEST(an_overlay_grows),
	TEST(a_cut_image_gives_errors),
	TEST(write_through_is_the_drivers_choice),
	TEST(a_disk_has_its_serial_and_queues),
	TEST(limits_are_kept),
	TEST(an_overlay_ends_in_flight_before_a_reset),
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return run_units(argc, argv, tests);
}
