// SPDX-License-Identifier: Apache-2.0
/* hg-vmm: from the options to the exit status. */
#include <fcntl.h>
#include <jansson.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "footprint.h"
#include "jail/jail.h"
#include "hermit/hermit.h"
#include "hermit/machine.h"
#include "isle/isle.h"
#include "log.h"
#include "options.h"
#include "outcome.h"
#include "snapshot/checkpoint.h"
#include "snapshot/snapshot.h"
#include "vm.h"

static int complain(const struct error *e)
{
	fprintf(stderr, "hg-vmm: %s\n", e->text);
	return e->code;
}

/* Opened before the sandbox, used when the VM runs. */
static int null_fd = -1;

static void detach(int ready_fd)
{
	int fd;

	for (fd = 0; fd < 3; fd++)
		dup2(null_fd, fd);
	close(null_fd);
	if (write(ready_fd, "", 1) != 1)
		log_line("nobody waited for the start");
	close(ready_fd);
}

static int give_up(struct vm *vm, const struct error *e)
{
	if (vm->console)
		console_destroy(vm->console);
	return complain(e);
}

static int enter_jail(struct vm *vm, struct error *e)
{
	struct jail_folder folders[FILES_MAX_MAPPINGS + 2];

	if (!unikernel_files(vm))
		return jail_enter(vm->cfg, NULL, 0, e);
	return jail_enter(vm->cfg, folders, files_places(unikernel_files(vm), folders), e);
}

static int run(const struct vm_config *cfg, int ready_fd)
{
	static struct vm vm;
	struct error e;
	enum vm_request how;
	int exit_code;
	bool unikernel;
	int checkpoints;

	if (log_open(cfg->log)) {
		error_set(&e, ERROR_MACHINE, "%s: cannot be opened for writing", cfg->log);
		return complain(&e);
	}
	if (outcome_prepare(cfg->run_dir, &e))
		return complain(&e);
	if (checkpoint_start(cfg, &checkpoints, &e))
		return complain(&e);
	json_object_seed(0); /* reads /dev/urandom, which the sandbox will not allow later */
	if (vm_create(&vm, cfg, &e) || enter_jail(&vm, &e)) {
		outcome_discard();
		return give_up(&vm, &e);
	}
	outcome_folder_entered();
	/* The guest's files are read from inside: a kernel that is more than it seems is caged. */
	if (vm_start(&vm, &e)) {
		outcome_discard();
		return give_up(&vm, &e);
	}
	sched_yield(); /* the guest first, where there is but one CPU */
	jail_report();
	log_line("running: %s %s, %u vCPU, %llu MiB", cfg->restore ? "snapshot" : "kernel",
		 cfg->restore ? cfg->restore_dir : cfg->kernel, cfg->cpus,
		 (unsigned long long)(cfg->memory.size >> 20));
	if (ready_fd >= 0)
		detach(ready_fd);
	footprint_forget_start();
	how = vm_run(&vm);
	exit_code = vm.exit_code;
	unikernel = unikernel_files(&vm);
	unikernel_report(&vm);
	vm_destroy(&vm);
	checkpoint_end(checkpoints, how == REQUEST_EXIT && !exit_code);
	if (how == REQUEST_ERROR) {
		log_error("ended: %s", vm.fault.text);
		outcome_write("error", vm.fault.text);
		return ERROR_MACHINE;
	}
	if (how == REQUEST_EXIT) {
		outcome_write("guest-exit", NULL);
		return exit_code & 0xff;
	}
	log_line("ended: %s", how == REQUEST_POWEROFF ? "guest powered off" : vm.quit_reason);
	outcome_write(how == REQUEST_POWEROFF ? "guest-shutdown" : "quit", NULL);
	/* As a shell tells of a program that a signal ended. */
	return unikernel && vm.quit_signal ? 128 + vm.quit_signal : 0;
}

/*
 * Where a standard stream is closed, what is opened next must not become it: a guest may read and
 * write them.  They are opened the wrong way round, so that it is told EBADF.
 */
static void fill_standard_streams(void)
{
	int fd;

	for (fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			open("/dev/null", fd ? O_RDONLY : O_WRONLY);
}

int main(int argc, char **argv)
{
	static struct vm_config cfg; /* what it points to lives as long */
	struct error e;
	int ready_fd = -1;

	fill_standard_streams();
	close_range(3, ~0u, 0); /* whatever the caller forgot is no business of a VM */
	switch (options_parse(argc, argv, &cfg, &e)) {
	case OPTIONS_EXIT:
		return 0;
	case OPTIONS_ERROR:
		return complain(&e);
	case OPTIONS_RUN:
		break;
	}
	if (cfg.isle.sweep)
		return isle_sweep(&e) ? complain(&e) : 0;
	if (cfg.save.dir)
		return snapshot_client(&cfg, &e) ? complain(&e) : 0;
	if (jail_start(&cfg, argv, &ready_fd, &e))
		return complain(&e);
	if (cfg.daemonize)
		null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	return run(&cfg, ready_fd);
}
