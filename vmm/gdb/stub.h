/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of gdb/: the connection, its breakpoints and what each vCPU is to do. */
#ifndef HG_GDB_STUB_H
#define HG_GDB_STUB_H

#include "gdb/gdb.h"
#include "gdb/packets.h"
#include "gdb/target.h"
#include "vm.h"

#define MAX_BREAKPOINTS 256 /* of software */
#define OUT_MAX		(4 * RSP_FRAME_MAX)

#define SIGNAL_NONE  0 /* as GDB numbers them */
#define SIGNAL_INT   2
#define SIGNAL_TRAP  5
#define SIGNAL_ABORT 6

/* struct gdb_cpu's exception: vectors, and no vector */
#define EXCEPTION_DB  1u
#define EXCEPTION_BP  3u
#define EXCEPTION_OUT 256u

/*
 * The instruction that stands for a breakpoint.  It is int3 everywhere but on QEMU's TCG, whose SVM
 * intercepts neither int3 nor what DR7 arms (7.2 to 9.x): there it is an OUT to a port of our
 * own, which ends in an exit where the guest's kernel runs, and breakpoints in user space and
 * those of hardware are not offered.
 */
#define TRAP_MAX 2
struct trap {
	unsigned int len;
	uint8_t code[TRAP_MAX];
};
extern const struct trap trap_int3, trap_out;

/* The types of the Z packet, which are also those that DR7 knows but for BP_READ. */
enum break_type { BP_SOFTWARE, BP_HARDWARE, BP_WRITE, BP_READ, BP_ACCESS };

struct breakpoint { /* a trap in guest RAM */
	bool used;
	uint8_t original[TRAP_MAX]; /* what was there */
	uint64_t address, gpa;
};

struct debug_register {
	bool used;
	enum break_type type;
	uint64_t request; /* the address that the client named; a long watch takes several */
	uint64_t address;
	unsigned int len; /* 1, 2, 4, 8; address is a multiple of it */
};

enum hit { HIT_NONE, HIT_STEP, HIT_SOFTWARE, HIT_REGISTER };

enum action { ACTION_STAY, ACTION_STEP, ACTION_GO };

struct gdb_cpu {
	bool exited; /* and was not looked at yet: exception, and of #DB and #BP pc and dr6 */
	uint32_t exception;
	uint64_t pc, dr6;
	enum hit hit; /* not yet told */
	unsigned int reg;
	bool stepping;
};

struct gdb {
	struct vm *vm;
	const struct target_ops *ops;
	const struct trap *trap;
	struct loop_source listener, client; /* fd -1: none */

	/* Of the connection; zeroed with it. */
	struct rsp_decoder in;
	char out[OUT_MAX], last[RSP_FRAME_MAX];
	size_t out_len, last_len;
	struct rsp_reply reply;
	bool no_ack, no_ack_next;
	bool says_swbreak, says_hwbreak; /* in its stop replies, as the client understands them */
	bool end;			 /* after what is in `out` the connection is over */
	bool running;			 /* the client waits for a stop reply */
	bool silent;			 /* ... but not for this one */
	bool was_paused;		 /* before the client came, and not continued since */
	bool told;			 /* QMP clients know that the guest is stopped */
	unsigned int signal, cpu;	 /* of the last stop */
	enum hit why;
	unsigned int why_reg;
	unsigned int cpu_regs, cpu_run; /* Hg, Hc */

	struct breakpoint breakpoints[MAX_BREAKPOINTS];
	struct debug_register registers[DEBUG_REGISTERS];
	struct gdb_cpu cpus[MAX_CPUS];
};

/* breakpoints.c.  0, or -1: no room, not in RAM, a bad length; none of software there. */
int breakpoint_insert(struct gdb *g, enum break_type type, uint64_t address, uint64_t len);
int breakpoint_remove(struct gdb *g, enum break_type type, uint64_t address);
void breakpoint_remove_all(struct gdb *g);
void breakpoints_rewrite(struct gdb *g); /* RAM was loaded anew */
bool breakpoint_at(const struct gdb *g, uint64_t gpa);
/* The guest's bytes at addresses of a buffer that was, or will be, copied from or to RAM. */
void breakpoints_hide(struct gdb *g, uint64_t address, uint8_t *data, uint64_t len);
void breakpoints_keep(struct gdb *g, uint64_t address, uint8_t *data, uint64_t len);
/* Arms one vCPU, or all, for what is inserted and asked. */
int breakpoints_arm(struct gdb *g, unsigned int cpu, enum debug_inject inject, uint64_t dr6);
void breakpoints_arm_all(struct gdb *g);

/* stub.c: runs one packet, writes the answer; false: there is none (yet). */
bool stub_packet(struct gdb *g, struct rsp_reply *r);
void stub_stop_reply(struct gdb *g, struct rsp_reply *r);

/* run.c */
void run_interrupt(struct gdb *g, unsigned int signal);
/* Lets each vCPU do its action.  False: nothing may run, the answer is a stop reply now. */
bool run_resume(struct gdb *g, const enum action actions[MAX_CPUS]);
void run_release(struct gdb *g); /* the debugger goes: as if there had been none */

/* server.c */
void server_send(struct gdb *g, const struct rsp_reply *r);
void server_drop(struct gdb *g);

#endif
