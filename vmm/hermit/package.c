// SPDX-License-Identifier: Apache-2.0
/* A unikernel that comes in an archive, with its files and its hermit.toml. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hermit/gzip.h"
#include "hermit/hermit.h"

/* Its kernel as a file of its own, which every loader can read. */
static int take_kernel(struct hermit *h, struct boot_file *kernel, struct error *e)
{
	const struct archive_entry *entry = NULL;
	char clean[ARCHIVE_MAX_PATH], *path;
	uint64_t at;
	ssize_t n;
	int fd;

	if (!archive_clean(h->manifest.kernel, clean))
		entry = archive_find(&h->archive, clean);
	if (!entry || entry->folder)
		return error_set(e, ERROR_USER,
				 "%.150s: its hermit.toml names the kernel '%.100s', which is not "
				 "in it",
				 kernel->path, h->manifest.kernel);
	fd = memfd_create("hermit-kernel", MFD_CLOEXEC);
	for (at = 0; fd >= 0 && at < entry->size; at += (uint64_t)n) {
		n = write(fd, h->archive.data + entry->offset + at, entry->size - at);
		if (n < 0)
			return error_set(e, ERROR_MACHINE, "%.150s: %s", kernel->path,
					 strerror(errno));
	}
	if (fd < 0 || asprintf(&path, "%s:/%s", kernel->path, clean) < 0)
		return error_set(e, ERROR_MACHINE, "%.150s: %s", kernel->path, strerror(errno));
	close(kernel->fd);
	*kernel = (struct boot_file){.fd = fd, .size = entry->size, .path = path};
	return 0;
}

static int check_requirements(const struct manifest *m, const char *name, uint64_t memory,
			      unsigned int cpus, struct error *e)
{
	unsigned long long mib = (m->memory + (1u << 20) - 1) >> 20;

	if (memory < m->memory)
		return error_set(e, ERROR_USER, "%.150s: needs %llu MiB of memory: --memory %lluM",
				 name, mib, mib);
	if (cpus < m->cpus)
		return error_set(e, ERROR_USER, "%.150s: needs %llu CPUs: --cpus %llu", name,
				 (unsigned long long)m->cpus, (unsigned long long)m->cpus);
	return 0;
}

static bool has_variable(const struct hermit_config *cfg, const char *text, size_t name_len)
{
	unsigned int i;

	for (i = 0; i < cfg->nenv; i++)
		if (!strncmp(cfg->env[i], text, name_len))
			return true;
	return false;
}

/* What the user gave counts more; only KEY=VALUE is taken, nothing that means the host's. */
static int complete(struct hermit_config *cfg, const struct manifest *m, struct error *e)
{
	const char *equals;
	unsigned int i;
	char **args;

	for (i = 0; i < m->nenv && !cfg->env_host; i++) {
		equals = strchr(m->env[i], '=');
		if (equals && equals != m->env[i] && cfg->nenv < HERMIT_MAX_ENV &&
		    !has_variable(cfg, m->env[i], (size_t)(equals - m->env[i]) + 1))
			cfg->env[cfg->nenv++] = m->env[i];
	}
	if (cfg->nargs > 1 || !m->napp_args)
		return 0;
	args = calloc(1 + m->napp_args, sizeof(*args)); /* lives as long as the VM */
	if (!args)
		return error_set(e, ERROR_MACHINE, "out of memory");
	args[0] = cfg->args[0];
	memcpy(args + 1, m->app_args, m->napp_args * sizeof(*args));
	cfg->args = args;
	cfg->nargs = 1 + m->napp_args;
	return 0;
}

int package_open(struct hermit *h, struct boot_file *kernel, uint64_t memory, unsigned int cpus,
		 struct error *e)
{
	const char *name = kernel->path;

	if (archive_open(&h->archive, kernel, e) ||
	    manifest_read(&h->manifest, &h->archive, name, e) ||
	    check_requirements(&h->manifest, name, memory, cpus, e) ||
	    complete(&h->cfg, &h->manifest, e) || take_kernel(h, kernel, e))
		return -1;
	if (h->cfg.image_internal)
		h->initrd = (struct boot_file){
			.fd = h->archive.fd, .size = h->archive.size, .path = name};
	return 0;
}
