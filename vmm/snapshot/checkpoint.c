// SPDX-License-Identifier: Apache-2.0
#include "snapshot/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log.h"
#include "options.h"
#include "options/params.h"
#include "snapshot/snapshot.h"

#define MAX_INCREMENTS 32 /* on one full snapshot: each is read at a restart */
#define MAX_NUMBER     999999999u
#define FINISHED       'f'

static char *path_of(unsigned int number)
{
	char *path;

	if (asprintf(&path, CHECKPOINT_FOLDER "/%u", number) < 0)
		abort();
	return path;
}

/* Calls fn for every folder of a checkpoint, whole or not.  How many there are. */
static unsigned int for_each(void (*fn)(unsigned int number, void *arg), void *arg)
{
	DIR *dir = opendir(CHECKPOINT_FOLDER);
	unsigned int count = 0;
	struct dirent *d;
	uint64_t number;

	while (dir && (d = readdir(dir))) {
		if (parse_number(d->d_name, 0, MAX_NUMBER, &number))
			continue;
		count++;
		fn((unsigned int)number, arg);
	}
	if (dir)
		closedir(dir);
	return count;
}

struct search {
	unsigned int below, found; /* the highest number below `below` */
	bool any;
};

static void look(unsigned int number, void *arg)
{
	struct search *s = arg;

	if (number >= s->below || (s->any && number < s->found))
		return;
	s->found = number;
	s->any = true;
}

/* The highest number below `below`; -1: there is none. */
static int64_t highest(unsigned int below)
{
	struct search s = {.below = below};

	for_each(look, &s);
	return s.any ? (int64_t)s.found : -1;
}

int checkpoint_complete(struct vm_config *cfg, struct error *e)
{
	int64_t number = MAX_NUMBER + 1ll;
	char *dir;

	if (cfg->checkpoint.seconds && !cfg->hermit.named)
		return error_set(e, ERROR_USER,
				 "--checkpoint is for unikernels that are named without --kernel");
	if (!cfg->hermit.named || cfg->restore_dir || access(CHECKPOINT_FOLDER, F_OK))
		return 0;
	/* One that was cut off has no name yet; a damaged one leaves those before it. */
	while ((number = highest((unsigned int)number)) >= 0) {
		dir = path_of((unsigned int)number);
		if (snapshot_open(dir, cfg->verify, e))
			break;
		log_line("%s", e->text);
	}
	if (number < 0)
		return 0;
	/* CPUs and memory are the checkpoint's, whatever is said now. */
	cfg->restore_dir = dir;
	cfg->ntravels = 0;
	cfg->memory.size = 0;
	return 0;
}

static void remove_folder(const char *path)
{
	static const char *const names[] = {"state", "memory", "base", "checked"};
	unsigned int i;
	char *name;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (asprintf(&name, "%s/%s", path, names[i]) < 0)
			abort();
		unlink(name);
		free(name);
	}
	rmdir(path);
}

static void remove_one(unsigned int number, void *arg)
{
	const unsigned int *below = arg;
	char *path = path_of(number);

	if (number < *below)
		remove_folder(path);
	free(path);
}

/* What a save left that was cut off; snapshot_client() leaves that to its caller. */
static void remove_part(unsigned int number)
{
	char *path;

	if (asprintf(&path, CHECKPOINT_FOLDER "/%u.part", number) < 0)
		abort();
	remove_folder(path);
	free(path);
}

struct series {
	struct vm_config cfg;
	unsigned int next;
	unsigned int increments; /* since the last full one */
	char *last;		 /* NULL: none by this process */
};

/* By a child, whose end gives back what the client leaves to that of its process.  0 or -1. */
static int save(const struct vm_config *cfg, int vm_fd)
{
	struct pollfd end = {.fd = vm_fd, .events = POLLIN};
	struct error e;
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		/* A VM that ends answers no more, and needs no checkpoint. */
		if (snapshot_client(cfg, &e) == 0)
			_exit(0);
		if (poll(&end, 1, 0) == 0)
			fprintf(stderr, "hg-vmm: checkpoint: %s\n", e.text);
		_exit(1);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && !status ? 0 : -1;
}

static void make_one(struct series *s, int vm_fd)
{
	bool full = s->cfg.checkpoint.full || !s->last || s->increments == MAX_INCREMENTS;
	char *dir = path_of(s->next);

	remove_part(s->next);
	s->cfg.save = (struct save_config){
		.dir = dir, .base = full ? NULL : s->last, .track = !s->cfg.checkpoint.full};
	if (save(&s->cfg, vm_fd)) {
		/* Perhaps the VM has noted it, and an increment has nothing to go on top of. */
		free(s->last);
		free(dir);
		s->last = NULL;
		return;
	}
	if (full)
		for_each(remove_one, &s->next); /* nothing builds on what is older */
	s->increments = full ? 0 : s->increments + 1;
	free(s->last);
	s->last = dir;
	s->next++;
}

/* Until the VM's process says something or ends.  Its last word; 0: none. */
static char make_them(struct series *s, int vm_fd)
{
	struct pollfd end = {.fd = vm_fd, .events = POLLIN};
	int wait = s->cfg.checkpoint.seconds ? (int)s->cfg.checkpoint.seconds * 1000 : -1;
	char word = 0;

	while (poll(&end, 1, wait) == 0)
		make_one(s, vm_fd);
	return read(vm_fd, &word, 1) == 1 ? word : 0;
}

static _Noreturn void checkpointer(const struct vm_config *cfg, int fd)
{
	unsigned int all = MAX_NUMBER + 1u;
	struct series s = {.cfg = *cfg};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "hg-vmm-check");
	signal(SIGINT, SIG_IGN); /* the VM's end is ours, whatever a terminal sends */
	signal(SIGQUIT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	for (i = 0; null >= 0 && i < 2; i++) /* who reads its output waits for the VM alone */
		dup2(null, i);
	dup2(fd, 3);
	close_range(4, ~0u, 0);
	s.next = (unsigned int)(highest(all) + 1);
	if (make_them(&s, 3) == FINISHED)
		for_each(remove_one, &all);
	remove_part(s.next);
	unlink(CHECKPOINT_CONTROL);
	rmdir(CHECKPOINT_FOLDER); /* fails when something is in it */
	_exit(0);
}

int checkpoint_start(const struct vm_config *cfg, int *fd, struct error *e)
{
	bool restart = cfg->restore_dir &&
		       !strncmp(cfg->restore_dir, CHECKPOINT_FOLDER "/", sizeof(CHECKPOINT_FOLDER));
	int ends[2];
	pid_t pid;

	*fd = -1;
	if (!cfg->checkpoint.seconds && !(restart && cfg->hermit.named))
		return 0;
	if (mkdir(CHECKPOINT_FOLDER, 0700) && errno != EEXIST)
		return error_set(e, ERROR_USER, CHECKPOINT_FOLDER ": %s", strerror(errno));
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return error_set(e, ERROR_MACHINE, "socketpair: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		return error_set(e, ERROR_MACHINE, "fork: %s", strerror(errno));
	if (pid == 0) {
		close(ends[0]);
		checkpointer(cfg, ends[1]);
	}
	close(ends[1]);
	*fd = ends[0];
	return 0;
}

void checkpoint_end(int fd, bool finished)
{
	char word = finished ? FINISHED : '-';

	if (fd >= 0 && write(fd, &word, 1) == 1)
		while (read(fd, &word, 1) < 0 && errno == EINTR)
			; /* until its end is closed with it */
}
