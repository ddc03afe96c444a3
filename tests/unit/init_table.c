// SPDX-License-Identifier: Apache-2.0
/*
 * The service table of PID 1, with a made-up command line, console list and clock. Includes init.c
 * itself for its static functions; everything that touches a machine is a fake here.
 */
#define main init_main
#include "../../initramfs/init.c"
#undef main

#include <assert.h>

static const char *fake_cmdline, *fake_consoles;
static long long fake_now;

long long now_ms(void)
{
	return fake_now;
}

bool read_line(const char *path, char *text, size_t size)
{
	snprintf(text, size, "%s", strcmp(path, "/proc/cmdline") ? fake_consoles : fake_cmdline);
	return true;
}

void say(const char *format, ...)
{
	(void)format;
}

bool write_file(const char *path, const char *text)
{
	return path && text;
}

int take_terminal(const char *path)
{
	return path ? -1 : 0;
}

void open_kernel_log(bool seen, bool quiet)
{
	(void)seen, (void)quiet;
}

void follow_kernel_log(void)
{
	abort();
}

void stop_machine(int command)
{
	(void)command;
	abort();
}

static bool plan(const char *cmdline, const char *consoles)
{
	memset(services, 0, sizeof(services));
	service_count = 0;
	fake_cmdline = cmdline;
	fake_consoles = consoles;
	return plan_services();
}

static void expect_shells(const char *expected)
{
	char found[256] = "";

	for (int i = 0; i < service_count; i++)
		if (services[i].kind == SHELL)
			snprintf(found + strlen(found), sizeof(found) - strlen(found), "%s ",
				 services[i].tty);
	if (strcmp(found, expected)) {
		fprintf(stderr, "expected shells on [%s], found [%s]\n", expected, found);
		exit(1);
	}
}

static void shells_follow_the_consoles(void)
{
	assert(plan("quiet root=x", "tty0"));
	expect_shells("tty3 ");
	assert(plan("", "tty0 ttyS0"));
	expect_shells("tty3 ttyS0 ");
	assert(!plan("", "ttyS1 hvc0"));
	expect_shells("tty3 ttyS1 hvc0 ");
	plan("a hypergen.shell=ttyS0,tty5 b", "tty0 ttyS1");
	expect_shells("ttyS0 tty5 ");
	plan("hypergen.shell=tty3,tty3,../mem,", "tty0");
	expect_shells("tty3 ");
	plan("hypergen.shell=", "tty0 ttyS0");
	expect_shells("");
}

static void consoles_have_one_service_each(void)
{
	int rescue = 0;

	plan("hypergen.shell=tty1,tty2", "tty0");
	for (int i = 0; i < service_count; i++)
		rescue += services[i].kind == RESCUE;
	expect_shells("tty2 "); /* tty1 is the kernel's; who asks for tty2 has no rescue shell */
	assert(rescue == 0);
}

static void words_of_the_command_line(void)
{
	char value[16];

	fake_cmdline = "quiet2 x.quiet=1 a=bc";
	assert(!cmdline_value("quiet", value, sizeof(value)));
	assert(cmdline_value("a=", value, sizeof(value)) && !strcmp(value, "bc"));
	fake_cmdline = "a quiet";
	assert(cmdline_value("quiet", value, sizeof(value)));
	fake_cmdline = "a=0123456789abcdefghi";
	assert(cmdline_value("a=", value, sizeof(value)) && strlen(value) == sizeof(value) - 1);
}

static void quick_deaths_are_delayed_more_and_more(void)
{
	struct service s = {.kind = SHELL, .tty = "tty3"};
	int last = 0;

	fake_now = 1000;
	for (int i = 0; i < 12; i++) {
		s.started = fake_now;
		fake_now += 10;
		ended(&s, 0);
		assert(s.pid == 0 && s.due == fake_now + s.delay);
		assert(s.delay >= DELAY_MIN_MS && s.delay >= last && s.delay <= DELAY_MAX_MS);
		last = s.delay;
	}
	assert(last == DELAY_MAX_MS);
	s.started = fake_now;
	fake_now += LIVED_MS;
	ended(&s, 9);
	assert(s.delay == 0 && s.due == fake_now && s.again);
}

static void rc_runs_once(void)
{
	struct service s = {.kind = RC, .once = true};

	ended(&s, 0);
	assert(s.due < 0);
}

int main(void)
{
	shells_follow_the_consoles();
	consoles_have_one_service_each();
	words_of_the_command_line();
	quick_deaths_are_delayed_more_and_more();
	rc_runs_once();
	return 0;
}
