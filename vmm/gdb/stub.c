// SPDX-License-Identifier: Apache-2.0
/* The packets ("Debugging with GDB", appendix E.2 to E.4).  An empty answer: not supported. */
#include <string.h>

#include "gdb/stub.h"

#define E_FAULT "E0e" /* numbers of errno: what gdb shows is up to its version */
#define E_INVAL "E16"
#define E_BUSY	"E10"

#define HEX_BYTES (RSP_MAX / 2)

static struct vcpu *looked_at(struct gdb *g)
{
	return &g->vm->vcpus[g->cpu_regs];
}

void stub_stop_reply(struct gdb *g, struct rsp_reply *r)
{
	static const char *const watches[] = {
		[BP_WRITE] = "watch", [BP_READ] = "rwatch", [BP_ACCESS] = "awatch"};
	const struct debug_register *d = &g->registers[g->why_reg];

	r->len = 0;
	rsp_text(r, "T%02xthread:%x;", g->signal, g->cpu + 1);
	if (g->why == HIT_SOFTWARE && g->says_swbreak)
		rsp_text(r, "swbreak:;");
	else if (g->why == HIT_REGISTER && d->type != BP_HARDWARE)
		rsp_text(r, "%s:%llx;", watches[d->type], (unsigned long long)d->request);
	else if (g->why == HIT_REGISTER && g->says_hwbreak)
		rsp_text(r, "hwbreak:;");
}

/* A thread's id: 0 any, -1 all, else a vCPU's number + 1.  False: none of these. */
static bool take_thread(struct gdb *g, const char **p, unsigned int *cpu, bool *all)
{
	uint64_t id;

	*all = **p == '-' && (*p)[1] == '1';
	if (*all) {
		*p += 2;
		*cpu = g->cpu;
		return true;
	}
	if (!rsp_number(p, &id) || id > g->vm->cfg->cpus)
		return false;
	*cpu = id ? (unsigned int)id - 1 : g->cpu;
	return true;
}

/* --- registers --- */

static void read_registers(struct gdb *g, struct rsp_reply *r)
{
	struct gdb_registers regs;

	if (g->ops->get_registers(looked_at(g), &regs))
		rsp_text(r, E_FAULT);
	else
		rsp_hex(r, &regs, sizeof(regs));
}

static void write_registers(struct gdb *g, const char *p, struct rsp_reply *r)
{
	struct gdb_registers regs;

	/* A client may leave the last ones out. */
	if (g->ops->get_registers(looked_at(g), &regs) ||
	    rsp_bytes(&p, &regs, sizeof(regs)) <= offsetof(struct gdb_registers, rip) || *p ||
	    g->ops->set_registers(looked_at(g), &regs))
		rsp_text(r, E_INVAL);
	else
		rsp_text(r, "OK");
}

static void read_register(struct gdb *g, const char *p, struct rsp_reply *r)
{
	struct gdb_registers regs;
	size_t offset, len;
	uint64_t number;

	if (!rsp_number(&p, &number) || *p || number > 1000 ||
	    !(len = register_place((unsigned int)number, &offset)) ||
	    g->ops->get_registers(looked_at(g), &regs))
		rsp_text(r, E_INVAL);
	else
		rsp_hex(r, (const uint8_t *)&regs + offset, len);
}

static void write_register(struct gdb *g, const char *p, struct rsp_reply *r)
{
	struct gdb_registers regs;
	size_t offset, len;
	uint64_t number;

	if (!rsp_number(&p, &number) || number > 1000 || !rsp_char(&p, '=') ||
	    !(len = register_place((unsigned int)number, &offset)) ||
	    g->ops->get_registers(looked_at(g), &regs) ||
	    rsp_bytes(&p, (uint8_t *)&regs + offset, len) != len || *p ||
	    g->ops->set_registers(looked_at(g), &regs))
		rsp_text(r, E_INVAL);
	else
		rsp_text(r, "OK");
}

/* --- memory --- */

static bool take_range(const char **p, uint64_t *at, uint64_t *len)
{
	return rsp_number(p, at) && rsp_char(p, ',') && rsp_number(p, len);
}

static void read_memory(struct gdb *g, const char *p, struct rsp_reply *r)
{
	uint8_t data[HEX_BYTES];
	uint64_t at, len;

	if (!take_range(&p, &at, &len) || *p) {
		rsp_text(r, E_INVAL);
		return;
	}
	len = target_read(g->ops, looked_at(g), at, data, len < HEX_BYTES ? len : HEX_BYTES);
	breakpoints_hide(g, at, data, len);
	if (len)
		rsp_hex(r, data, len);
	else
		rsp_text(r, E_FAULT);
}

static void store(struct gdb *g, uint64_t at, uint8_t *data, uint64_t len, struct rsp_reply *r)
{
	breakpoints_keep(g, at, data, len);
	rsp_text(r, target_write(g->ops, looked_at(g), at, data, len) == len ? "OK" : E_FAULT);
}

static void write_memory(struct gdb *g, const char *p, struct rsp_reply *r)
{
	uint8_t data[HEX_BYTES];
	uint64_t at, len;

	if (!take_range(&p, &at, &len) || !rsp_char(&p, ':') || len > HEX_BYTES ||
	    rsp_bytes(&p, data, len) != len || *p)
		rsp_text(r, E_INVAL);
	else
		store(g, at, data, len, r);
}

static void write_binary(struct gdb *g, const char *p, struct rsp_reply *r)
{
	uint64_t at, len;

	if (!take_range(&p, &at, &len) || !rsp_char(&p, ':') ||
	    len != g->in.len - (size_t)(p - g->in.body))
		rsp_text(r, E_INVAL);
	else
		store(g, at, (uint8_t *)g->in.body + (p - g->in.body), len, r);
}

/* --- breakpoints --- */

static void change_breakpoint(struct gdb *g, const char *p, bool insert, struct rsp_reply *r)
{
	uint64_t type, at, len;
	int bad;

	if (!rsp_number(&p, &type) || !rsp_char(&p, ',') || !take_range(&p, &at, &len) ||
	    (*p && *p != ';')) {
		rsp_text(r, E_INVAL);
		return;
	}
	/* Conditions and commands are left to gdb, which can also watch by stepping. */
	if (type > BP_ACCESS || *p || (type != BP_SOFTWARE && g->trap != &trap_int3))
		return;
	bad = insert ? breakpoint_insert(g, (enum break_type)type, at, len)
		     : breakpoint_remove(g, (enum break_type)type, at);
	rsp_text(r, bad ? E_FAULT : "OK");
}

/* --- running --- */

static bool resume(struct gdb *g, const enum action actions[MAX_CPUS], struct rsp_reply *r)
{
	if (run_resume(g, actions))
		return false;
	stub_stop_reply(g, r);
	return true;
}

/* c, s [ADDRESS]; C, S SIGNAL[;ADDRESS]: signals mean nothing to a machine. */
static bool plain_resume(struct gdb *g, const char *p, bool step, bool has_signal,
			 struct rsp_reply *r)
{
	enum action actions[MAX_CPUS];
	struct gdb_registers regs;
	uint64_t address, signal;
	unsigned int i;

	if (has_signal && (!rsp_number(&p, &signal) || (*p && !rsp_char(&p, ';')))) {
		rsp_text(r, E_INVAL);
		return true;
	}
	if (*p) {
		if (!rsp_number(&p, &address) || *p ||
		    g->ops->get_registers(&g->vm->vcpus[g->cpu_run], &regs)) {
			rsp_text(r, E_INVAL);
			return true;
		}
		regs.rip = address;
		g->ops->set_registers(&g->vm->vcpus[g->cpu_run], &regs);
	}
	for (i = 0; i < MAX_CPUS; i++)
		actions[i] = ACTION_GO;
	if (step)
		actions[g->cpu_run] = ACTION_STEP;
	return resume(g, actions, r);
}

/* One ";ACTION[:THREAD]" of vCont; the leftmost that names a thread counts (E.2). */
static bool take_action(struct gdb *g, const char **p, enum action actions[MAX_CPUS])
{
	enum action action;
	unsigned int cpu, i;
	uint64_t signal;
	bool all = true;
	char c;

	if (!rsp_char(p, ';') || !(c = **p))
		return false;
	(*p)++;
	if (!strchr("cCsS", c) || ((c == 'C' || c == 'S') && !rsp_number(p, &signal)))
		return false;
	action = c == 'c' || c == 'C' ? ACTION_GO : ACTION_STEP;
	if (rsp_char(p, ':') && !take_thread(g, p, &cpu, &all))
		return false;
	for (i = 0; i < g->vm->cfg->cpus; i++)
		if ((all || i == cpu) && actions[i] == ACTION_STAY)
			actions[i] = action;
	return true;
}

static bool v_packet(struct gdb *g, const char *p, struct rsp_reply *r)
{
	enum action actions[MAX_CPUS] = {ACTION_STAY};

	if (!strcmp(p, "vCont?")) {
		rsp_text(r, "vCont;c;C;s;S");
		return true;
	}
	if (strncmp(p, "vCont;", 6) != 0)
		return true;
	for (p += 5; *p;) {
		if (!take_action(g, &p, actions)) {
			rsp_text(r, E_INVAL);
			return true;
		}
	}
	return resume(g, actions, r);
}

/* --- queries --- */

static void q_features(const char *p, struct rsp_reply *r)
{
	size_t whole;
	const char *xml = registers_describe(&whole);
	uint64_t at, len;

	if (!take_range(&p, &at, &len) || *p || at > whole) {
		rsp_text(r, E_INVAL);
		return;
	}
	if (len > HEX_BYTES) /* whatever has to be escaped: it fits */
		len = HEX_BYTES;
	if (len > whole - at)
		len = whole - at;
	rsp_text(r, at + len < whole ? "m" : "l");
	rsp_binary(r, xml + at, len);
}

static void q_threads(struct gdb *g, struct rsp_reply *r)
{
	unsigned int i;

	for (i = 0; i < g->vm->cfg->cpus; i++)
		rsp_text(r, "%s%x", i ? "," : "m", i + 1);
}

static void q_thread_extra(struct gdb *g, const char *p, struct rsp_reply *r)
{
	const char *state;
	unsigned int cpu;
	bool all;

	if (!take_thread(g, &p, &cpu, &all) || *p) {
		rsp_text(r, E_INVAL);
		return;
	}
	state = g->ops->state(&g->vm->vcpus[cpu]);
	rsp_hex(r, "vCPU, ", 6);
	rsp_hex(r, state, strlen(state));
}

static void q_supported(struct gdb *g, const char *p, struct rsp_reply *r)
{
	g->says_swbreak = strstr(p, "swbreak+") != NULL;
	g->says_hwbreak = strstr(p, "hwbreak+") != NULL;
	rsp_text(r,
		 "PacketSize=%x;QStartNoAckMode+;qXfer:features:read+;vContSupported+;"
		 "swbreak+;hwbreak+",
		 RSP_MAX);
}

static bool starts(const char *p, const char *with, const char **rest)
{
	size_t len = strlen(with);

	*rest = p + len;
	return strncmp(p, with, len) == 0;
}

static void q_packet(struct gdb *g, const char *p, struct rsp_reply *r)
{
	const char *rest;

	if (starts(p, "qSupported", &rest))
		q_supported(g, rest, r);
	else if (starts(p, "qXfer:features:read:target.xml:", &rest))
		q_features(rest, r);
	else if (starts(p, "qThreadExtraInfo,", &rest))
		q_thread_extra(g, rest, r);
	else if (!strcmp(p, "qfThreadInfo"))
		q_threads(g, r);
	else if (!strcmp(p, "qsThreadInfo"))
		rsp_text(r, "l");
	else if (!strcmp(p, "qC"))
		rsp_text(r, "QC%x", g->cpu_regs + 1);
	else if (!strcmp(p, "qAttached"))
		rsp_text(r, "1"); /* so that gdb's quit detaches and does not kill */
	else if (starts(p, "qSymbol:", &rest))
		rsp_text(r, "OK");
}

static void select_thread(struct gdb *g, const char *p, struct rsp_reply *r)
{
	char what = *p;
	unsigned int cpu;
	bool all;

	if (what != 'g' && what != 'c') {
		rsp_text(r, E_INVAL);
		return;
	}
	p++;
	if (!take_thread(g, &p, &cpu, &all) || *p) {
		rsp_text(r, E_INVAL);
		return;
	}
	if (what == 'g')
		g->cpu_regs = cpu;
	else
		g->cpu_run = cpu;
	rsp_text(r, "OK");
}

static void is_alive(struct gdb *g, const char *p, struct rsp_reply *r)
{
	unsigned int cpu;
	bool all;

	rsp_text(r, take_thread(g, &p, &cpu, &all) && !*p ? "OK" : E_INVAL);
}

bool stub_packet(struct gdb *g, struct rsp_reply *r)
{
	const char *p = g->in.body;

	/* Of a vCPU in the guest nothing can be asked; gdb does not, in all-stop mode. */
	if (g->running) {
		rsp_text(r, E_BUSY);
		return true;
	}
	switch (*p++) {
	case '?':
		stub_stop_reply(g, r);
		break;
	case 'g':
		read_registers(g, r);
		break;
	case 'G':
		write_registers(g, p, r);
		break;
	case 'p':
		read_register(g, p, r);
		break;
	case 'P':
		write_register(g, p, r);
		break;
	case 'm':
		read_memory(g, p, r);
		break;
	case 'M':
		write_memory(g, p, r);
		break;
	case 'X':
		write_binary(g, p, r);
		break;
	case 'Z':
	case 'z':
		change_breakpoint(g, p, p[-1] == 'Z', r);
		break;
	case 'c':
	case 's':
		return plain_resume(g, p, p[-1] == 's', false, r);
	case 'C':
	case 'S':
		return plain_resume(g, p, p[-1] == 'S', true, r);
	case 'v':
		return v_packet(g, p - 1, r);
	case 'H':
		select_thread(g, p, r);
		break;
	case 'T':
		is_alive(g, p, r);
		break;
	case 'q':
		q_packet(g, p - 1, r);
		break;
	case 'Q':
		if (!strcmp(p, "StartNoAckMode")) {
			g->no_ack_next = true;
			rsp_text(r, "OK");
		}
		break;
	case 'D':
		g->end = true;
		rsp_text(r, "OK");
		break;
	case 'k':
		g->vm->quit_reason = "host-ui";
		vm_ask(g->vm, REQUEST_QUIT);
		return false;
	}
	return true;
}
