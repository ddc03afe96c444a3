// SPDX-License-Identifier: Apache-2.0
/* The table of all options; --help is printed from it. */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "options/family.h"
#include "options/table.h"
#include "snapshot/checkpoint.h"
#include "snapshot/snapshot.h"

#define FIELD(name) offsetof(struct vm_config, name)

const struct row option_rows[] = {
	{HEADING, "Guest", 0, 0, 0, 0},
	{TEXT, "kernel", "FILE",
	 "vmlinux (ELF64, with a PVH note or not), bzImage or\n"
	 "multiboot 1 image",
	 FIELD(kernel), 0},
	{TEXT, "initrd", "FILE", "initial RAM disk (default: none)", FIELD(initrd), 0},
	{TEXT, "cmdline", "TEXT",
	 "kernel command line (default: empty); the console is\n"
	 "hvc0, the first disk /dev/vda",
	 FIELD(cmdline), 0},
	{PARSED, "boot", "METHOD",
	 "how to enter the kernel: auto (default), pvh, linux64 or\n"
	 "multiboot",
	 0, option_boot},

	{HEADING, "Machine", 0, 0, 0, 0},
	{PARSED, "cpus", "N[,sockets=S][,cores=C][,threads=T]",
	 "vCPUs, 1 to 64 (default 1); S sockets of C cores of T\n"
	 "threads each (default: one socket, one thread a core)",
	 0, option_cpus},
	{PARSED, "cpu-model", "MODEL",
	 "host (default): all that KVM supports; baseline or\n"
	 "baseline-v3: the same x86-64-v2 or -v3 on every machine",
	 0, option_cpu_model},
	{PARSED, "cpu-affinity", "LIST",
	 "host CPUs for vCPU 0, 1, ... (2,3,6-7), or vCPU=CPUS\n"
	 "for single ones (0=2,1=4-7: vCPU 1 on any of 4 to 7)",
	 0, option_cpu_affinity},
	{PARSED, "acpi", "on|off",
	 "off: an MP table alone, virtio devices on the kernel's\n"
	 "command line; such a guest cannot power off",
	 0, option_acpi},
	{PARSED, "memory",
	 "SIZE[,hugepages=off|thp|2M|1G][,prefault][,mergeable]\n"
	 "                  [,shared][,node=N]",
	 "guest RAM, 16M to 1024G; suffix K, M or G, bare = MiB\n"
	 "(default 512M). hugepages: of the host, transparent (thp,\n"
	 "default) or of its reserved pool; prefault: all of it at\n"
	 "the start; mergeable: KSM may share equal pages;\n"
	 "shared: a memfd, for back ends outside; node: NUMA",
	 0, option_memory},
	{ON, "no-hugepages", NULL,
	 "the same as hugepages=off: a slower guest, but a few MiB\n"
	 "less of the host's RAM",
	 FIELD(memory.small_pages), 0},
	{ON, "serial", NULL, "an 8250 at 0x3f8 even when --cmdline names no ttyS0", FIELD(serial),
	 0},

	{PARSED, "balloon", "[=target=SIZE][,deflate-on-oom=off][,reporting=off]",
	 "memory balloon: the guest gives free pages back to the\n"
	 "host by itself, and more when QMP's balloon asks",
	 0, option_balloon},

	{HEADING, "Snapshots", 0, 0, 0, 0},
	{PARSED, "restore", "DIR[,verify=on|off]",
	 "go on from the snapshot in DIR, with its CPUs, RAM and\n"
	 "--cmdline; disks and networks are given again. RAM is\n"
	 "compared with its checksum first unless the file is as it\n"
	 "was written; verify=on: in any case, off: never",
	 0, option_restore},
	{PARSED, "save", "DIR[,base=DIR][,track]",
	 "save the running VM of --run-dir or --control to the new\n"
	 "folder DIR. track: note changes from here on; base: only\n"
	 "what changed since that snapshot with track, or base",
	 0, option_save},

	{PARSED, "checkpoint", "SECONDS[,full]",
	 "of a unikernel: save it every SECONDS, in the folder\n"
	 "checkpoint, from which its next run here goes on; full:\n"
	 "all of it each time, not what has changed",
	 0, option_checkpoint},

	{HEADING, "Disks, networks and shares", 0, 0, 0, 0},
	{PARSED, "disk", "PATH[,KEY=VALUE]...",
	 "raw image or block device as vda; repeat for vdb... (up to\n"
	 "12); a ',' in PATH is written ',,'. One VM may write an\n"
	 "image, or any number may read it. Keys: readonly;\n"
	 "snapshot, writes are lost at the end; overlay=FILE, they\n"
	 "go to FILE, which a later run continues; direct, past the\n"
	 "host's page cache; serial=TEXT (up to 20 bytes); queues=N\n"
	 "(1 to 16); limits in bytes or requests a second:\n"
	 "bps=RATE[:BURST] and iops=RATE[:BURST]",
	 0, option_disk},
	{PARSED, "net",
	 "tap=NAME[,bridge=BR][,queues=N][,vhost=auto|on|off]\n"
	 "  --net passt[,tcp=PORTS][,udp=PORTS]\n"
	 "  --net socket=PATH",
	 "virtio-net; repeat (up to 4). On tap NAME, made unless it\n"
	 "exists, put on bridge BR, with N pairs of queues, served\n"
	 "by the kernel's vhost-net if it can be had; on passt(1),\n"
	 "which needs no privilege and forwards PORTS of the host,\n"
	 "HOST:GUEST for instance; or on a stream socket with\n"
	 "frames as passt's. All take ,mac=MAC (default: follows\n"
	 "from --name, or NAME), ,mtu=N, ,capture=FILE (packets for\n"
	 "tcpdump, up to 256 MiB), and limits in bytes or packets\n"
	 "a second: ,[rx-|tx-]bps=RATE[:BURST] and pps=, rx is what\n"
	 "the guest receives",
	 0, option_net},
	{ON, "packed-rings", NULL, "offer virtio's packed virtqueues beside split ones",
	 FIELD(packed_rings), 0},

	{PARSED, "vsock", "cid=N[,socket=PATH]",
	 "virtio socket, the guest's CID being N (3 or more), served\n"
	 "by the host's kernel; or by Unix sockets: connect to PATH\n"
	 "and send 'CONNECT port', or listen at PATH_PORT",
	 0, option_vsock},
	{PARSED, "share", "TAG=DIR[,readonly]",
	 "host folder for the guest (mount -t virtiofs TAG /mnt),\n"
	 "served by virtiofsd; repeat (up to 4). TAG=socket:PATH:\n"
	 "by one that runs already",
	 0, option_share},
	{TEXT, "virtiofsd", "FILE",
	 "the virtiofsd to start (default: the first in $PATH,\n"
	 "/usr/libexec, /usr/lib, /usr/lib/qemu)",
	 FIELD(virtiofsd), 0},

	{HEADING, "Unikernels", 0, 0, 0, 0},
	{PARSED, "file-mapping", "HOST:GUEST[:ro]",
	 "a file or folder of the host that the unikernel sees as\n"
	 "GUEST; repeat (up to 16)",
	 0, option_file_mapping},
	{PARSED, "file-isolation", "MODE",
	 "none: every path of the host; normal (default): what is\n"
	 "mapped; strict: and no symbolic links in it",
	 0, option_file_isolation},
	{TEXT, "tempdir", "DIR",
	 "where files outside of all mappings are kept while it runs\n"
	 "(default: there are none)",
	 FIELD(hermit.files.scratch), 0},
	{PARSED, "env", "KEY[=VALUE]",
	 "a variable for the unikernel; KEY alone takes the value\n"
	 "here, `host` takes all",
	 0, option_env},
	{PARSED, "ip", "ADDRESS[/BITS][,gateway=ADDRESS]",
	 "the unikernel's IPv4 address in a network of BITS bits\n"
	 "(default 24) with that gateway (default: its first\n"
	 "address); the network itself is --net's",
	 0, option_ip},
	{OFF, "no-aslr", NULL, "a position-independent unikernel lies where it always does",
	 FIELD(hermit.aslr), 0},
	{ON, "verbose", NULL, "show the log of a C HermitCore kernel too", FIELD(hermit.verbose),
	 0},
	{TEXT, "output", "FILE", "its output goes there; none: nowhere", FIELD(hermit.output), 0},
	{ON, "stats", NULL, "say in the end, on stderr, what it made the VMM do",
	 FIELD(hermit.stats), 0},
	{PARSED, "hermit-image-mode", "MODE",
	 "of an image archive: external (default), its files are\n"
	 "served read-only; internal, its kernel gets it as initrd",
	 0, option_image_mode},
	{PARSED, "affinity", "LIST", "as --cpu-affinity; 0-1,2 or '0 1 2'", 0, option_affinity},
	{OFF, "thp", NULL, "transparent huge pages, which are the default",
	 FIELD(memory.small_pages), 0},
	{ON, "ksm", NULL, "the same as mergeable in --memory", FIELD(memory.mergeable), 0},
	{ON, "pit", NULL, "an 8254 timer, which unikernels do without", FIELD(pit), 0},
	{PARSED, "gdb-port", "[=PORT]", "as --gdb PORT --gdb-wait (default port 6677)", 0,
	 option_gdb_port},
	{TEXT, "config", "FILE",
	 "uhyve.toml (default: the one here, or uhyve/uhyve.toml in\n"
	 "$XDG_CONFIG_HOME, when a unikernel is named)",
	 FIELD(hermit.config), 0},

	{HEADING, "Isles", 0, 0, 0, 0},
	{PARSED, "isle", "N[,net=off]",
	 "isle N: the VM has the host CPUs of --cpu-affinity, one a\n"
	 "vCPU, for itself; HLT, MWAIT and PAUSE do not leave it.\n"
	 "Its address on the bridge `isles` is 192.168.28.(N+2);\n"
	 "net=off, or another --net: it is not on it. Needs root",
	 0, option_isle},
	{ON, "sweep-isles", NULL,
	 "no VM: give the CPUs of isles whose processes were killed\n"
	 "back to the host",
	 FIELD(isle.sweep), 0},

	{HEADING, "Sockets and files", 0, 0, 0, 0},
	{TEXT, "run-dir", "DIR",
	 "all of the following in DIR, which must exist:\n"
	 "control.sock, console.sock, console.log, vmm.log; and\n"
	 "exit.json, which says why it ended",
	 FIELD(run_dir), 0},
	{TEXT, "control", "SOCK", "QMP commands and events (default: none)", FIELD(control), 0},
	{TEXT, "console", "SOCK",
	 "console stream, 64 KiB of backlog first (default: this\n"
	 "terminal; CTRL+] then x ends the VM)",
	 FIELD(console), 0},
	{TEXT, "console-log", "FILE", "copy of the console's output; past 1 MiB it becomes FILE.1",
	 FIELD(console_log), 0},
	{TEXT, "log", "FILE", "the VMM's own messages (default: stderr)", FIELD(log), 0},
	{PARSED, "log-level", "LEVEL",
	 "error, warning, info (default) or debug; QMP's\n"
	 "x-hypergen-log-level changes it",
	 0, option_log_level},

	{HEADING, "Debugging", 0, 0, 0, 0},
	{PARSED, "gdb", "PORT|SOCK|auto",
	 "for gdb's `target remote`: a TCP port of 127.0.0.1, a\n"
	 "Unix socket, or gdb.sock in --run-dir",
	 0, option_gdb},
	{ON, "gdb-wait", NULL, "the guest starts when a debugger lets it; needs --gdb",
	 FIELD(gdb_wait), 0},

	{HEADING, "Process", 0, 0, 0, 0},
	{ON, "daemonize", NULL, "return once the VM runs; needs --run-dir or --console",
	 FIELD(daemonize), 0},
	{TEXT, "name", "TEXT", "shown by query-name (default: empty)", FIELD(name), 0},
	{PARSED, "limit", "KEY=VALUE[,...]",
	 "what the host gives at most: cpu=N (CPUs, as 1.5),\n"
	 "memory=SIZE (guest RAM and all else), io=SIZE and iops=N\n"
	 "(a second, of each disk, each direction)",
	 0, option_limit},
	{TEXT, "cgroup", "PATH",
	 "the VM's control group, below /sys/fs/cgroup; made and\n"
	 "removed with the VM (default with --limit: hg-vmm/PID)",
	 FIELD(limits.cgroup), 0},
	{PARSED, "user", "UID[:GID]",
	 "whom the VMM becomes when root starts it (default: a\n"
	 "number that no other VM has)",
	 0, option_user},
	{OFF, "no-sandbox", NULL,
	 "no namespaces, no user of its own, no seccomp filter: for\n"
	 "debugging",
	 FIELD(sandbox), 0},
	{ON, "version", NULL, "print the version", 0, 0},
	{ON, "help", NULL, "print this", 0, 0},
};

#define rows  option_rows
#define NROWS (sizeof(option_rows) / sizeof(option_rows[0]))

const size_t option_nrows = NROWS;

static bool is_given[NROWS];

static const struct row *find_row(const char *name)
{
	const struct row *row;

	for (row = rows; row < rows + NROWS; row++)
		if (row->kind != HEADING && !strcmp(row->name, name))
			return row;
	return NULL;
}

bool options_given(const char *name)
{
	const struct row *row = find_row(name);

	return row && is_given[row - rows];
}

void options_note(const char *name)
{
	const struct row *row = find_row(name);

	if (row)
		is_given[row - rows] = true;
}

static int take(const struct row *row, char *value, struct vm_config *cfg, struct error *e)
{
	void *field = (char *)cfg + row->field;

	switch (row->kind) {
	case TEXT:
		*(const char **)field = value;
		return 0;
	case ON:
	case OFF:
		*(bool *)field = row->kind == ON;
		return 0;
	case PARSED:
		return row->parse(value, cfg, e);
	case HEADING:
		break;
	}
	return error_set(e, ERROR_USER, "--%s: not an option", row->name);
}

/* As take(), and noted if a snapshot has to know: before the value is cut up. */
static int take_and_note(const struct row *row, char *value, struct vm_config *cfg, struct error *e)
{
	struct travelling_option *t = &cfg->travels[cfg->ntravels];

	is_given[row - rows] = true;
	if (option_travels(row->name)) {
		if (cfg->ntravels == MAX_TRAVELS)
			return error_set(e, ERROR_USER, "--%s: given too often", row->name);
		t->name = row->name;
		t->value = value ? strdup(value) : "";
		if (!t->value)
			return error_set(e, ERROR_MACHINE, "out of memory");
		cfg->ntravels++; /* kept until the process ends */
	}
	return take(row, value, cfg, e);
}

int options_take(const char *name, char *value, struct vm_config *cfg, struct error *e)
{
	const struct row *row = find_row(name);

	return row ? take_and_note(row, value, cfg, e)
		   : error_set(e, ERROR_USER, "--%s: not an option", name);
}

/* The options of a snapshot, as if they stood on the command line. */
static int take_travelled(struct vm_config *cfg, struct error *e)
{
	const char *name, *value;
	unsigned int i;
	const struct row *row;
	char *copy;

	for (i = 0; snapshot_option(cfg->restore, i, &name, &value); i++) {
		row = find_row(name);
		if (!row || !option_travels(name))
			return error_set(
				e, ERROR_USER,
				"snapshot %.150s was made with an option --%.32s that this "
				"hg-vmm does not know",
				cfg->restore_dir, name);
		copy = *value || row->kind == TEXT ? strdup(value) : NULL;
		if (take_and_note(row, copy, cfg, e))
			return -1;
	}
	return 0;
}

static const char *in_dir(const char *dir, const char *given, const char *name)
{
	char *path;

	if (given || !dir)
		return given;
	if (asprintf(&path, "%s/%s", dir, name) < 0)
		abort();
	return path;
}

static int complete(struct vm_config *cfg, struct error *e)
{
	if (cfg->isle.sweep)
		return 0;
	if (!cfg->kernel && !cfg->restore_dir && !cfg->save.dir)
		return error_set(e, ERROR_USER, "--kernel FILE is missing (see --help)");
	if (uhyve_config(cfg, e))
		return -1;
	if (snapshot_complete(cfg, e) || (cfg->restore && take_travelled(cfg, e)))
		return -1;
	if (!cfg->memory.size)
		cfg->memory.size = DEFAULT_BYTES;
	if (cfg->run_dir && access(cfg->run_dir, W_OK | X_OK))
		return error_set(e, ERROR_USER, "--run-dir %s: %s", cfg->run_dir, strerror(errno));
	/* Whoever serves a share reads and writes guest RAM itself. */
	if (cfg->nshares)
		cfg->memory.shared = true;
	cfg->control = in_dir(cfg->run_dir, cfg->control, "control.sock");
	if (cfg->checkpoint.seconds && !cfg->control)
		cfg->control = CHECKPOINT_CONTROL;
	cfg->console = in_dir(cfg->run_dir, cfg->console, "console.sock");
	cfg->console_log = in_dir(cfg->run_dir, cfg->console_log, "console.log");
	cfg->log = in_dir(cfg->run_dir, cfg->log, "vmm.log");
	if (isle_complete(cfg, e))
		return -1;
	net_complete(cfg);
	if (unikernel_complete(cfg, e) || machine_complete(cfg, e) || complete_gdb(cfg, e) ||
	    jail_complete(cfg, e))
		return -1;
	if (cfg->daemonize && !cfg->console)
		return error_set(e, ERROR_USER,
				 "--daemonize needs --run-dir or --console: no terminal is left");
	return 0;
}

#define FIRST_VALUE 256 /* getopt's value of rows[0]; characters are below */

static void fill_option(struct option *o, const char *name, const struct row *row)
{
	*o = (struct option){.name = name, .val = FIRST_VALUE + (int)(row - rows)};
	if (row->kind == TEXT || row->kind == PARSED)
		o->has_arg = row->argument[0] == '[' ? optional_argument : required_argument;
}

static void fill_getopt(struct option long_options[NROWS + OPTION_ALIASES + 1])
{
	struct option *o = long_options;
	size_t i;

	for (i = 0; i < NROWS; i++)
		if (rows[i].kind != HEADING)
			fill_option(o++, rows[i].name, &rows[i]);
	for (i = 0; i < OPTION_ALIASES; i++)
		if (option_aliases[i].name)
			fill_option(o++, option_aliases[i].name,
				    find_row(option_aliases[i].option));
	memset(o, 0, sizeof(*o));
}

/* What getopt found; NULL: no option. */
static const struct row *found_row(int opt)
{
	size_t i;

	if (opt >= FIRST_VALUE)
		return &rows[opt - FIRST_VALUE];
	for (i = 0; i < OPTION_ALIASES; i++)
		if (option_aliases[i].letter == opt)
			return find_row(option_aliases[i].option);
	return NULL;
}

static enum options_result wrong(int opt, char **argv, struct error *e)
{
	if (opt == ':')
		error_set(e, ERROR_USER, "--%s needs a value", found_row(optopt)->name);
	else
		error_set(e, ERROR_USER, "unknown option '%s' (see --help)",
			  argv[optind > 0 ? optind - 1 : 0]);
	return OPTIONS_ERROR;
}

enum options_result options_parse(int argc, char **argv, struct vm_config *cfg, struct error *e)
{
	struct option long_options[NROWS + OPTION_ALIASES + 1];
	const struct row *row;
	int opt;

	*cfg = (struct vm_config){.cmdline = "",
				  .name = "",
				  .cpus = 1,
				  .topology = {1, 1, 1},
				  .hermit.aslr = true,
				  .sandbox = true};
	memset(is_given, 0, sizeof(is_given));
	fill_getopt(long_options);
	optind = 0; /* glibc: start over, for callers that parse more than once */
	while ((opt = getopt_long(argc, argv, "+:m:c:a:e:o:s::n:", long_options, NULL)) != -1) {
		row = found_row(opt);
		if (!row)
			return wrong(opt, argv, e);
		if (!strcmp(row->name, "help"))
			return options_help();
		if (!strcmp(row->name, "version")) {
			puts("hg-vmm " HG_VERSION);
			return OPTIONS_EXIT;
		}
		if (take_and_note(row, optarg, cfg, e))
			return OPTIONS_ERROR;
	}
	if (optind < argc && cfg->kernel) {
		error_set(e, ERROR_USER, "unexpected argument '%s' (see --help)", argv[optind]);
		return OPTIONS_ERROR;
	}
	if (optind < argc && unikernel_named(argv + optind, argc - optind, cfg, e))
		return OPTIONS_ERROR;
	return complete(cfg, e) ? OPTIONS_ERROR : OPTIONS_RUN;
}
