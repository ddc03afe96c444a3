/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line of hg-vmm, turned into one struct vm_config that nothing changes
 * afterwards.  Every string is owned by the config or by argv and lives until exit.
 */
#ifndef HG_OPTIONS_H
#define HG_OPTIONS_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "error.h"
#include "hermit/config.h"
#include "isle/config.h"
#include "memory.h"
#include "ratelimit.h"
#include "topology.h"

#define MAX_DISKS     12
#define MAX_NETS      4
#define MAX_SHARES    4
#define MIN_MEMORY    (16ull << 20)
#define MAX_MEMORY    (1ull << 40)
#define DEFAULT_BYTES (512ull << 20)

struct snapshot;

/* How a kernel is entered; BOOT_AUTO takes what the file offers (see boot/boot.h). */
enum boot_method { BOOT_AUTO, BOOT_PVH, BOOT_LINUX64, BOOT_MULTIBOOT };

/* The name of a method, as it is given. */
const char *boot_method_name(enum boot_method method);

/* What CPUID shows: all of the host, or the same on every machine (cpumodel.c). */
enum cpu_model { CPU_HOST, CPU_BASELINE, CPU_BASELINE_V3 };
#define CPU_MODEL_ADDRESS_BITS 39 /* of a desktop Intel, the least of all that virtualise */

/* CPUs of the host; count 0: any. */
struct cpu_range {
	uint16_t first, count;
};

#define MAX_DISK_QUEUES 16

struct disk_config {
	const char *path;
	bool read_only;
	bool direct;	     /* O_DIRECT: past the host's page cache */
	bool snapshot;	     /* writes go to a temporary overlay */
	const char *overlay; /* ... or to this file; NULL: none */
	const char *serial;  /* NULL: made from the disk's number */
	uint64_t queues;     /* 1 to MAX_DISK_QUEUES; 0 is 1 */
	struct rate_config rate;
};

#define NET_MAX_PAIRS 8

enum net_kind { NET_TAP, NET_PASST, NET_SOCKET };

struct net_config {
	enum net_kind kind;
	char tap[IFNAMSIZ];
	char bridge[IFNAMSIZ]; /* empty: the tap joins no bridge */
	const char *socket;    /* of NET_SOCKET: a listening stream socket */
	const char *tcp, *udp; /* of NET_PASST: ports to forward, as passt's -t and -u; or NULL */
	const char *address, *mask, *gateway; /* the guest's, told to passt; all or none */
	uint8_t mac[6];		   /* all zero: follows from the VM's name, or the tap's */
	uint64_t pairs;		   /* of queues, 1 to NET_MAX_PAIRS */
	uint64_t mtu;		   /* bytes; 0: the bridge's */
	const char *capture;	   /* file for its packets (pcap); NULL: none */
	bool no_vhost;		   /* the kernel's vhost-net is not used */
	bool need_vhost;	   /* ... or must be there */
	struct rate_config rx, tx; /* limits, as the guest sees them */
};

struct balloon_config {
	bool wanted;
	bool deflate_on_oom; /* the guest takes pages back before it kills processes */
	bool reporting;	     /* free pages are given back as they become free */
	uint64_t target;     /* bytes of RAM the guest begins with; 0: all */
};

/* What the VM's process may use of the host; 0: all there is. */
struct limits {
	const char *cgroup;	  /* its control group below /sys/fs/cgroup, NULL: none */
	unsigned int cpu_percent; /* of one CPU's time */
	uint64_t memory;	  /* bytes, guest RAM and all else */
	uint64_t io_bytes;	  /* a second, of each disk, each direction */
	uint64_t io_ops;	  /* the same, in requests */
};

struct vm_user {
	uint32_t uid, gid; /* uid 0: one of its own, see jail/jail.c */
};

struct vsock_config {
	uint64_t cid;	    /* the guest's; 0: no vsock */
	const char *socket; /* NULL: the host's kernel serves it (vhost_vsock) */
};

struct share_config {
	const char *tag;
	const char *path; /* a folder; or the socket of a virtiofsd that runs already */
	bool path_is_socket;
	bool read_only;
};

/* An option that the guest depends on: it goes into a snapshot and comes out of it. */
struct travelling_option {
	const char *name, *value; /* value "" when it takes none */
};
#define MAX_TRAVELS 16

/* When a snapshot's RAM is compared with its checksum first. */
enum verify {
	VERIFY_CHANGED, /* unless it is the very file that was written, and unchanged */
	VERIFY_ALWAYS,
	VERIFY_NEVER,
};

/* `hg-vmm --save`: a client of a running VM. */
struct save_config {
	const char *dir;  /* NULL: this is not what is wanted */
	const char *base; /* the folder of the snapshot below an increment; NULL: a full one */
	bool track;
};

/* A unikernel that is saved every now and then, and goes on from there (snapshot/checkpoint.c). */
struct checkpoint_config {
	unsigned int seconds; /* between two; 0: none are made */
	bool full;	      /* each by itself, not what has changed since the last one */
};

struct vm_config {
	const char *kernel;
	const char *initrd; /* NULL: none */
	const char *cmdline;
	const char *name;
	bool cpus_given, memory_given;
	unsigned int cpus; /* 1 to MAX_CPUS, the product of topology */
	struct cpu_topology topology;
	enum cpu_model cpu_model;
	bool pinned;			     /* some affinity is given */
	struct cpu_range affinity[MAX_CPUS]; /* of each vCPU's thread */
	struct memory_config memory;
	enum boot_method boot;
	bool pit;     /* an 8254, whose channel 0 is GSI 0 */
	bool no_acpi; /* the MP table alone, and virtio devices on the kernel's command line */
	struct disk_config disks[MAX_DISKS];
	unsigned int ndisks;
	struct net_config nets[MAX_NETS];
	unsigned int nnets;
	struct balloon_config balloon;
	struct vsock_config vsock;
	struct share_config shares[MAX_SHARES];
	unsigned int nshares;
	const char *virtiofsd;	 /* NULL: the first one that is found */
	const char *run_dir;	 /* NULL: none */
	const char *control;	 /* socket paths, NULL: none */
	const char *console;	 /* NULL: the console is this terminal */
	const char *console_log; /* NULL: none */
	const char *log;	 /* NULL: stderr */
	const char *gdb;	 /* TCP port of 127.0.0.1 or socket path, NULL: none */
	bool gdb_wait;		 /* the guest's first instruction is the debugger's to order */
	struct hermit_config hermit;
	struct isle_config isle;
	bool daemonize;
	bool sandbox;
	struct limits limits;
	struct vm_user user;
	bool serial;		 /* an 8250 at 0x3f8, though the command line does not name one */
	const char *restore_dir; /* NULL: the VM boots a kernel */
	enum verify verify;
	struct snapshot *restore; /* the opened one */
	struct travelling_option travels[MAX_TRAVELS];
	unsigned int ntravels;
	struct save_config save;
	struct checkpoint_config checkpoint;
	bool packed_rings; /* offer packed virtqueues beside split ones */
};

enum options_result { OPTIONS_RUN, OPTIONS_EXIT, OPTIONS_ERROR };

/*
 * Reads argv into *cfg.  OPTIONS_EXIT: --help or --version was served on stdout, exit 0.
 * OPTIONS_ERROR: *e says what is wrong and which option it was.
 */
enum options_result options_parse(int argc, char **argv, struct vm_config *cfg, struct error *e);

#endif
