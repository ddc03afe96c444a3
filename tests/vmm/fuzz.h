/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fuzzers share.  Each has the interface of libFuzzer, and a main() of its own:
 *
 *	fuzz-NAME [-s SEED] [-t SECONDS]   random scripts, the same for the same seed
 *	fuzz-NAME FILE...                  replays scripts; of NAME.hex, what its text means:
 *	                                   hexadecimal digits, comments from a '#' on
 *
 * With -DFUZZ_ENGINE there is no main(): link with clang -fsanitize=fuzzer.
 * It fails by a sanitizer's report, a crash, or a round that takes longer than ROUND_LIMIT.
 */
#ifndef TEST_FUZZ_H
#define TEST_FUZZ_H

#include <ctype.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "driver.h"

#define SCRIPT_MAX  4096
#define ROUND_LIMIT 20 /* seconds */

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct script {
	const uint8_t *data;
	size_t len, at;
};

static uint64_t take(struct script *s, unsigned int bytes)
{
	uint64_t v = 0;

	while (bytes--)
		v = v << 8 | (s->at < s->len ? s->data[s->at++] : 0);
	return v;
}

#ifndef FUZZ_ENGINE
static uint64_t next_random(uint64_t *state) /* xorshift64* */
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 2685821657736338717ull;
}

/* Text to bytes, in place. */
static size_t from_hex(char *text, size_t len)
{
	size_t i, n = 0;
	bool comment = false, half = false;
	unsigned int digit, byte = 0;

	for (i = 0; i < len; i++) {
		comment = text[i] == '#' || (comment && text[i] != '\n');
		if (comment || !isxdigit((unsigned char)text[i]))
			continue;
		digit = isdigit((unsigned char)text[i]) ? text[i] - '0' : (text[i] | 32) - 'a' + 10;
		byte = byte << 4 | digit;
		if (half)
			text[n++] = (char)byte;
		half = !half;
	}
	return n;
}

static void replay(const char *path)
{
	static char data[16 * SCRIPT_MAX];
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, data, sizeof(data));
	uint8_t *exact;

	CHECK(n >= 0);
	close(fd);
	if (strlen(path) > 4 && !strcmp(path + strlen(path) - 4, ".hex"))
		n = from_hex(data, n);
	exact = malloc(n ? n : 1); /* so that the sanitizer sees a read past its end */
	memcpy(exact, data, n);
	alarm(ROUND_LIMIT);
	LLVMFuzzerTestOneInput(exact, n);
	alarm(0);
	free(exact);
}

int main(int argc, char **argv)
{
	uint64_t seed = 1, state, round;
	unsigned int seconds = 10;
	uint8_t data[SCRIPT_MAX];
	time_t end;
	size_t i, n;
	int opt;

	signal(SIGPIPE, SIG_IGN); /* as vm.c does */
	while ((opt = getopt(argc, argv, "s:t:")) != -1) {
		if (opt == 's')
			seed = strtoull(optarg, NULL, 10);
		else if (opt == 't')
			seconds = strtoul(optarg, NULL, 10);
		else
			return 2;
	}
	LLVMFuzzerInitialize(&argc, &argv);
	if (optind < argc) {
		for (; optind < argc; optind++)
			replay(argv[optind]);
		return 0;
	}
	end = time(NULL) + seconds;
	for (round = 0; time(NULL) < end; round++) {
		state = (seed << 32) + round + 88172645463325252ull;
		n = next_random(&state) % 600 + 20;
		for (i = 0; i < n; i++)
			data[i] = next_random(&state) >> 32;
		alarm(ROUND_LIMIT); /* SIGALRM ends us: a script made the VMM spin */
		LLVMFuzzerTestOneInput(data, n);
	}
	fprintf(stderr, "%llu scripts, seed %llu\n", (unsigned long long)round,
		(unsigned long long)seed);
	return 0;
}
#endif

#endif
