/* SPDX-License-Identifier: Apache-2.0 */
/* A program of unit tests: `PROGRAM -l` lists them, `PROGRAM NAME` runs one. */
#ifndef TEST_UNITS_H
#define TEST_UNITS_H

#include <pthread.h>

#include "driver.h"
#include "loop.h"
#include "memory.h"

#define MIB(n) ((uint64_t)(n) << 20)

static struct guest_memory mem;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct loop loop;
static struct error err;

static inline void setup(uint64_t ram)
{
	CHECK(memory_create(&mem, &(struct memory_config){.size = ram}, &err) == 0);
	CHECK(loop_create(&loop, &lock) == 0);
}

struct unit_test {
	const char *name;
	void (*run)(void);
};

#define TEST(name) {#name, name}

/* The table ends with a NULL name. */
static inline int run_units(int argc, char **argv, const struct unit_test *t)
{
	bool list = argc == 2 && !strcmp(argv[1], "-l");

	for (; t->name; t++) {
		if (list) {
			puts(t->name);
		} else if (argc == 2 && !strcmp(argv[1], t->name)) {
			t->run();
			return 0;
		}
	}
	return list ? 0 : 2;
}

/* What a test makes lives as long as its process: nothing of it is a leak. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}

#endif
