/* SPDX-License-Identifier: Apache-2.0 */
/* A whole VM but for KVM: RAM, devices, console and control socket in a folder of its own. */
#ifndef TEST_VM_FIXTURE_H
#define TEST_VM_FIXTURE_H

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "control.h"
#include "driver.h"
#include "log.h"
#include "vm.h"

static struct vm vm;
static char folder[] = "/tmp/hg-vmm-test-XXXXXX";

static inline char *in_folder(const char *name)
{
	char *path;

	CHECK(asprintf(&path, "%s/%s", folder, name) > 0);
	return path;
}

static inline void open_vm(struct vm_config *cfg)
{
	struct error e;
	int fd;

	CHECK(mkdtemp(folder));
	log_open("/dev/null");
	cfg->kernel = in_folder("kernel");
	fd = open(cfg->kernel, O_WRONLY | O_CREAT, 0600);
	CHECK(fd >= 0 && write(fd, "no kernel", 9) == 9);
	close(fd);
	cfg->cpus = 2;
	if (!cfg->topology.threads)
		cfg->topology = (struct cpu_topology){.sockets = 1, .cores = 2, .threads = 1};
	cfg->memory.size = 16 << 20;
	cfg->cmdline = cfg->cmdline ? cfg->cmdline : "";
	cfg->name = cfg->name ? cfg->name : "";
	cfg->control = in_folder("control.sock");
	cfg->console = in_folder("console.sock");
	cfg->console_log = in_folder("console.log");
	if (vm_open(&vm, cfg, &e)) {
		fprintf(stderr, "%s\n", e.text);
		abort();
	}
}

static inline void remove_vm(void)
{
	static const char *const names[] = {
		"kernel",	 "control.sock",      "console.sock",	     "console.log",
		"console.log.1", "console.log.times", "console.log.1.times", NULL};
	unsigned int i;

	for (i = 0; names[i]; i++)
		unlink(in_folder(names[i]));
	rmdir(folder);
}

/* Runs the loop until it has nothing to do. */
static inline void settle(void)
{
	struct epoll_event event;

	while (epoll_wait(vm.loop.epoll_fd, &event, 1, 0) > 0)
		loop_once(&vm.loop, 0);
}

static inline int connect_to(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	strcpy(addr.sun_path, path);
	CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
	settle();
	return fd;
}

/* What came since the last call; *gone says whether the other side hung up. */
static inline size_t take_all(int fd, char *to, size_t room, bool *gone)
{
	size_t len = 0;
	ssize_t n = -1;

	while (len < room && (n = recv(fd, to + len, room - len, 0)) > 0)
		len += n;
	if (gone)
		*gone = len < room && n == 0;
	return len;
}

#endif
