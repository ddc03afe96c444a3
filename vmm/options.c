// SPDX-License-Identifier: Apache-2.0
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	OPT_KERNEL = 256,
	OPT_INITRD,
	OPT_CMDLINE,
	OPT_CPUS,
	OPT_MEMORY,
	OPT_DISK,
	OPT_NET,
	OPT_RUN_DIR,
	OPT_CONTROL,
	OPT_CONSOLE,
	OPT_CONSOLE_LOG,
	OPT_LOG,
	OPT_DAEMONIZE,
	OPT_NAME,
	OPT_NO_SANDBOX,
	OPT_BOOT,
	OPT_SERIAL,
	OPT_NO_HUGEPAGES,
	OPT_VERSION,
	OPT_HELP,
};

static const struct option long_options[] = {
	{"kernel", required_argument, NULL, OPT_KERNEL},
	{"initrd", required_argument, NULL, OPT_INITRD},
	{"cmdline", required_argument, NULL, OPT_CMDLINE},
	{"cpus", required_argument, NULL, OPT_CPUS},
	{"memory", required_argument, NULL, OPT_MEMORY},
	{"disk", required_argument, NULL, OPT_DISK},
	{"net", required_argument, NULL, OPT_NET},
	{"run-dir", required_argument, NULL, OPT_RUN_DIR},
	{"control", required_argument, NULL, OPT_CONTROL},
	{"console", required_argument, NULL, OPT_CONSOLE},
	{"console-log", required_argument, NULL, OPT_CONSOLE_LOG},
	{"log", required_argument, NULL, OPT_LOG},
	{"daemonize", no_argument, NULL, OPT_DAEMONIZE},
	{"name", required_argument, NULL, OPT_NAME},
	{"no-sandbox", no_argument, NULL, OPT_NO_SANDBOX},
	{"boot", required_argument, NULL, OPT_BOOT},
	{"serial", no_argument, NULL, OPT_SERIAL},
	{"no-hugepages", no_argument, NULL, OPT_NO_HUGEPAGES},
	{"version", no_argument, NULL, OPT_VERSION},
	{"help", no_argument, NULL, OPT_HELP},
	{NULL, 0, NULL, 0},
};

static const char help_text[] =
	"Usage: hg-vmm --kernel FILE [option]...\n"
	"Runs one virtual machine on KVM until its guest powers off.\n"
	"\n"
	"Guest:\n"
	"  --kernel FILE       vmlinux (ELF64, with a PVH note or not) or bzImage\n"
	"  --initrd FILE       initial RAM disk (default: none)\n"
	"  --cmdline TEXT      kernel command line, handed over as it is (default:\n"
	"                      empty); the console is hvc0, the first disk /dev/vda\n"
	"  --boot METHOD       how to enter the kernel: auto (default), pvh or linux64\n"
	"\n"
	"Machine:\n"
	"  --cpus N            vCPUs, 1 to 16 (default 1)\n"
	"  --memory SIZE       guest RAM, 16M to 1024G; suffix K, M or G, bare = MiB\n"
	"                      (default 512M)\n"
	"  --no-hugepages      no transparent huge pages behind guest RAM: a slower\n"
	"                      guest, but a few MiB less of the host's RAM\n"
	"  --serial            an 8250 at 0x3f8 even when --cmdline names no ttyS0\n"
	"\n"
	"Disks and networks:\n"
	"  --disk PATH[,readonly]\n"
	"                      raw image or block device as vda; repeat for vdb... (up to\n"
	"                      12); a ',' in PATH is written ',,'. One VM may write an\n"
	"                      image, or any number may read it\n"
	"  --net tap=NAME[,bridge=BR][,mac=MAC]\n"
	"                      virtio-net on a new tap, put on bridge BR; repeat (up to\n"
	"                      4); the default MAC follows from NAME\n"
	"\n"
	"Sockets and files:\n"
	"  --run-dir DIR       all of the following in DIR, which must exist:\n"
	"                      control.sock, console.sock, console.log, vmm.log; and\n"
	"                      exit.json, which says why it ended\n"
	"  --control SOCK      QMP commands and events (default: none)\n"
	"  --console SOCK      console stream, 64 KiB of backlog first (default: this\n"
	"                      terminal; CTRL+] then x ends the VM)\n"
	"  --console-log FILE  copy of the console's output; past 1 MiB it becomes FILE.1\n"
	"  --log FILE          the VMM's own messages (default: stderr)\n"
	"\n"
	"Process:\n"
	"  --daemonize         return once the VM runs; needs --run-dir or --console\n"
	"  --name TEXT         shown by query-name (default: empty)\n"
	"  --no-sandbox        no seccomp filter, no chroot, capabilities kept: for\n"
	"                      debugging\n"
	"  --version           print the version\n"
	"  --help              print this\n"
	"\n"
	"Examples:\n"
	"  hg-vmm --kernel vmlinux --disk vm.img \\\n"
	"         --cmdline 'console=hvc0 root=/dev/vda rw'\n"
	"  hg-vmm --kernel bzImage --initrd rd.img --cpus 4 --memory 2G \\\n"
	"         --cmdline console=hvc0 --net tap=vm1,bridge=br0 --run-dir /run/vm1 \\\n"
	"         --daemonize\n"
	"\n"
	"Exit status: 0 the guest powered off or was told to quit; 1 failure;\n"
	"2 wrong usage.\n";

static int parse_cpus(const char *text, struct vm_config *cfg, struct error *e)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || n < 1 || n > MAX_CPUS)
		return error_set(e, ERROR_USER, "--cpus %s: give a number from 1 to %d", text,
				 MAX_CPUS);
	cfg->cpus = n;
	return 0;
}

static int parse_memory(const char *text, struct vm_config *cfg, struct error *e)
{
	unsigned int shift = 20;
	unsigned long long n;
	char *end;

	errno = 0;
	n = strtoull(text, &end, 10);
	switch (*end) {
	case 'K':
	case 'k':
		shift = 10;
		end++;
		break;
	case 'M':
	case 'm':
		end++;
		break;
	case 'G':
	case 'g':
		shift = 30;
		end++;
		break;
	}
	if (*text < '0' || *text > '9' || *end || errno)
		return error_set(e, ERROR_USER, "--memory %s: give a size such as 512M or 2G",
				 text);
	if (n > MAX_MEMORY >> shift || n << shift < MIN_MEMORY)
		return error_set(e, ERROR_USER, "--memory %s: out of range, 16M to 1024G", text);
	cfg->memory = (n << shift) & ~4095ull;
	return 0;
}

/*
 * Cuts the next part off *text at a single ',' and turns ',,' into ',', in place.
 * Returns the part; *text becomes NULL after the last one.
 */
static char *next_part(char **text)
{
	char *from = *text, *to = *text, *part = *text;

	*text = NULL;
	for (; *from; from++) {
		if (*from == ',') {
			if (from[1] != ',') {
				*text = from + 1;
				break;
			}
			from++;
		}
		*to++ = *from;
	}
	*to = '\0';
	return part;
}

static int parse_disk(char *text, struct vm_config *cfg, struct error *e)
{
	struct disk_config *disk = &cfg->disks[cfg->ndisks];
	char *part;

	if (cfg->ndisks == MAX_DISKS)
		return error_set(e, ERROR_USER, "--disk: at most %d disks", MAX_DISKS);
	disk->path = next_part(&text);
	if (!*disk->path)
		return error_set(e, ERROR_USER, "--disk: the path is empty");
	while (text) {
		part = next_part(&text);
		if (strcmp(part, "readonly"))
			return error_set(
				e, ERROR_USER,
				"--disk %s: unknown option '%s' (known: readonly; a ',' in "
				"a path is written ',,')",
				disk->path, part);
		disk->read_only = true;
	}
	cfg->ndisks++;
	return 0;
}

static int parse_mac(const char *text, uint8_t mac[6])
{
	unsigned int b[6], i;
	int used = 0;

	if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5],
		   &used) != 6 ||
	    text[used])
		return -1;
	for (i = 0; i < 6; i++)
		mac[i] = b[i];
	return mac[0] & 1 ? -1 : 0; /* the group bit: no station has such an address */
}

/* A stable address out of the tap's name: locally administered, FNV-1a below it. */
static void default_mac(const char *tap, uint8_t mac[6])
{
	uint32_t h = 2166136261u;

	for (; *tap; tap++)
		h = (h ^ (uint8_t)*tap) * 16777619u;
	memcpy(mac, (uint8_t[]){0x52, 0x48, h >> 24, h >> 16, h >> 8, h}, 6);
	mac[0] = (mac[0] & 0xfc) | 2;
}

static int copy_ifname(char *to, const char *from)
{
	if (!*from || strlen(from) >= IFNAMSIZ || strchr(from, '/') || strchr(from, '%'))
		return -1;
	strcpy(to, from);
	return 0;
}

static int parse_net(char *text, struct vm_config *cfg, struct error *e)
{
	struct net_config *net = &cfg->nets[cfg->nnets];
	bool have_mac = false;
	char *part, *value;
	int bad;

	if (cfg->nnets == MAX_NETS)
		return error_set(e, ERROR_USER, "--net: at most %d networks", MAX_NETS);
	while (text) {
		part = next_part(&text);
		value = strchr(part, '=');
		if (!value)
			return error_set(e, ERROR_USER, "--net: '%s' is not KEY=VALUE", part);
		*value++ = '\0';
		if (!strcmp(part, "tap")) {
			bad = copy_ifname(net->tap, value);
		} else if (!strcmp(part, "bridge")) {
			bad = copy_ifname(net->bridge, value);
		} else if (!strcmp(part, "mac")) {
			bad = parse_mac(value, net->mac);
			have_mac = true;
		} else {
			return error_set(e, ERROR_USER,
					 "--net: unknown key '%s' (tap, bridge, mac)", part);
		}
		if (bad)
			return error_set(e, ERROR_USER, "--net: bad value '%s' for %s", value,
					 part);
	}
	if (!net->tap[0])
		return error_set(e, ERROR_USER, "--net: tap=NAME is missing");
	if (!have_mac)
		default_mac(net->tap, net->mac);
	cfg->nnets++;
	return 0;
}

static int parse_boot(const char *text, struct vm_config *cfg, struct error *e)
{
	if (!strcmp(text, "auto"))
		cfg->boot = BOOT_AUTO;
	else if (!strcmp(text, "pvh"))
		cfg->boot = BOOT_PVH;
	else if (!strcmp(text, "linux64"))
		cfg->boot = BOOT_LINUX64;
	else
		return error_set(e, ERROR_USER, "--boot %s: give auto, pvh or linux64", text);
	return 0;
}

static int parse_one(int opt, struct vm_config *cfg, struct error *e)
{
	switch (opt) {
	case OPT_KERNEL:
		cfg->kernel = optarg;
		return 0;
	case OPT_INITRD:
		cfg->initrd = optarg;
		return 0;
	case OPT_CMDLINE:
		cfg->cmdline = optarg;
		return 0;
	case OPT_CPUS:
		return parse_cpus(optarg, cfg, e);
	case OPT_MEMORY:
		return parse_memory(optarg, cfg, e);
	case OPT_DISK:
		return parse_disk(optarg, cfg, e);
	case OPT_NET:
		return parse_net(optarg, cfg, e);
	case OPT_RUN_DIR:
		cfg->run_dir = optarg;
		return 0;
	case OPT_CONTROL:
		cfg->control = optarg;
		return 0;
	case OPT_CONSOLE:
		cfg->console = optarg;
		return 0;
	case OPT_CONSOLE_LOG:
		cfg->console_log = optarg;
		return 0;
	case OPT_LOG:
		cfg->log = optarg;
		return 0;
	case OPT_DAEMONIZE:
		cfg->daemonize = true;
		return 0;
	case OPT_NAME:
		cfg->name = optarg;
		return 0;
	case OPT_NO_SANDBOX:
		cfg->sandbox = false;
		return 0;
	case OPT_BOOT:
		return parse_boot(optarg, cfg, e);
	case OPT_SERIAL:
		cfg->serial = true;
		return 0;
	case OPT_NO_HUGEPAGES:
		cfg->hugepages = false;
		return 0;
	}
	return error_set(e, ERROR_USER, "option not handled");
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
	if (!cfg->kernel)
		return error_set(e, ERROR_USER, "--kernel FILE is missing (see --help)");
	if (cfg->run_dir && access(cfg->run_dir, W_OK | X_OK))
		return error_set(e, ERROR_USER, "--run-dir %s: %s", cfg->run_dir, strerror(errno));
	cfg->control = in_dir(cfg->run_dir, cfg->control, "control.sock");
	cfg->console = in_dir(cfg->run_dir, cfg->console, "console.sock");
	cfg->console_log = in_dir(cfg->run_dir, cfg->console_log, "console.log");
	cfg->log = in_dir(cfg->run_dir, cfg->log, "vmm.log");
	if (cfg->daemonize && !cfg->console)
		return error_set(e, ERROR_USER,
				 "--daemonize needs --run-dir or --console: no terminal is left");
	return 0;
}

static const char *option_name(int opt)
{
	const struct option *o;

	for (o = long_options; o->name; o++)
		if (o->val == opt)
			return o->name;
	return "?";
}

enum options_result options_parse(int argc, char **argv, struct vm_config *cfg, struct error *e)
{
	int opt;

	*cfg = (struct vm_config){.cmdline = "",
				  .name = "",
				  .cpus = 1,
				  .memory = DEFAULT_BYTES,
				  .sandbox = true,
				  .hugepages = true};
	optind = 0; /* glibc: start over, for callers that parse more than once */
	while ((opt = getopt_long(argc, argv, "+:", long_options, NULL)) != -1) {
		if (opt == OPT_HELP) {
			fputs(help_text, stdout);
			return OPTIONS_EXIT;
		}
		if (opt == OPT_VERSION) {
			puts("hg-vmm " HG_VERSION);
			return OPTIONS_EXIT;
		}
		if (opt == ':') {
			error_set(e, ERROR_USER, "--%s needs a value", option_name(optopt));
			return OPTIONS_ERROR;
		}
		if (opt == '?') {
			error_set(e, ERROR_USER, "unknown option '%s' (see --help)",
				  argv[optind > 0 ? optind - 1 : 0]);
			return OPTIONS_ERROR;
		}
		if (parse_one(opt, cfg, e))
			return OPTIONS_ERROR;
	}
	if (optind < argc) {
		error_set(e, ERROR_USER, "unexpected argument '%s' (see --help)", argv[optind]);
		return OPTIONS_ERROR;
	}
	return complete(cfg, e) ? OPTIONS_ERROR : OPTIONS_RUN;
}
