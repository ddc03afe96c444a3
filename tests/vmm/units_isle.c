// SPDX-License-Identifier: Apache-2.0
/* Unit tests of isles: sets of CPUs as text, and what an option may say. */
#include <stdlib.h>
#include <unistd.h>

#include "isle/isle.h"
#include "isle/parts.h"
#include "units.h"

static const char *list(const char *given)
{
	static char text[CPUS_TEXT];
	cpu_set_t set;

	if (cpus_parse(given, &set))
		return "none";
	cpus_print(&set, text);
	return text;
}

static const char *mask(const char *given)
{
	static char text[CPUS_TEXT];
	cpu_set_t set;

	if (cpus_parse_mask(given, &set))
		return "none";
	cpus_print_mask(&set, text);
	return text;
}

static void lists(void)
{
	CHECK(!strcmp(list("0"), "0"));
	CHECK(!strcmp(list("3,0-1,2"), "0-3"));
	CHECK(!strcmp(list("1,3-4,1023"), "1,3-4,1023"));
	CHECK(!strcmp(list("1024"), "none"));
	CHECK(!strcmp(list("0-99999999999999999999"), "none"));
	CHECK(!strcmp(list("3-1"), "none"));
	CHECK(!strcmp(list(""), "none"));
	CHECK(!strcmp(list("1,"), "none"));
	CHECK(!strcmp(list("1-"), "none"));
	CHECK(!strcmp(list("-1"), "none"));
	CHECK(!strcmp(list("1 2"), "none"));
}

static void a_list_of_every_other_cpu_fits(void)
{
	static char text[CPUS_TEXT];
	cpu_set_t set, back;
	int cpu;

	CPU_ZERO(&set);
	for (cpu = 0; cpu < CPU_SETSIZE; cpu += 2)
		CPU_SET(cpu, &set);
	cpus_print(&set, text);
	CHECK(!cpus_parse(text, &back) && CPU_EQUAL(&set, &back));
	cpus_print_mask(&set, text);
	CHECK(!cpus_parse_mask(text, &back) && CPU_EQUAL(&set, &back));
}

static void masks(void)
{
	CHECK(!strcmp(mask("f"), "f"));
	CHECK(!strcmp(mask("00000000,0000000f"), "f"));
	CHECK(!strcmp(mask("1,00000000"), "1,00000000"));
	CHECK(!strcmp(mask("A,0000000b"), "a,0000000b"));
	CHECK(!strcmp(mask("0"), "0"));
	CHECK(!strcmp(mask(""), "none"));
	CHECK(!strcmp(mask("g"), "none"));
}

static const char *said(char *const *words)
{
	static struct vm_config cfg;
	static struct error e;
	int n = 0;

	while (words[n])
		n++;
	e.text[0] = '\0';
	return options_parse(n, (char **)words, &cfg, &e) == OPTIONS_RUN ? "" : e.text;
}

#define SAID(...) said((char *const[]){"hg-vmm", "--kernel", "k", __VA_ARGS__, NULL})

/* Arguments are cut up: none of them may be a constant. */
static char *text(const char *constant)
{
	return strdup(constant);
}

static void options(void)
{
	CHECK(!*SAID(text("--isle"), text("1"), text("--cpu-affinity"), text("2-3")));
	CHECK(!*SAID(text("--isle"), text("1,net=off"), text("--cpu-affinity"), text("70")));
	CHECK(strstr(SAID(text("--isle"), text("x")), "0 to 251"));
	CHECK(strstr(SAID(text("--isle"), text("1,net=maybe")), "on or off"));
	CHECK(strstr(SAID(text("--isle"), text("1")), "needs CPUs"));
	CHECK(strstr(SAID(text("--isle"), text("1"), text("--cpu-affinity"), text("2,2")),
		     "a plain list"));
	CHECK(strstr(SAID(text("--isle"), text("1"), text("--cpu-affinity"), text("1=2")),
		     "needs CPUs"));
}

static const struct unit_test tests[] = {
	TEST(lists), TEST(a_list_of_every_other_cpu_fits), TEST(masks), TEST(options), {NULL, NULL},
};

int main(int argc, char **argv)
{
	return run_units(argc, argv, tests);
}
