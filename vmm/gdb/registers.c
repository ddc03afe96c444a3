// SPDX-License-Identifier: Apache-2.0
#include "gdb/registers.h"

#include <stdio.h>

/* A run of registers of one type; more than one are counted: st0, st1, ... */
struct group {
	const char *feature; /* NULL: that of the group above */
	const char *name, *type;
	unsigned int count, bits;
	const char *types; /* what gdb does not know by itself, defined before their first use */
};

#define CORE   "org.gnu.gdb.i386.core"
#define U64(n) {NULL, n, "int64", 1, 64, NULL}
#define U32(n) {NULL, n, "int32", 1, 32, NULL}

static const char flags_type[] =
	"<flags id=\"i386_eflags\" size=\"4\">"
	"<field name=\"CF\" start=\"0\" end=\"0\"/><field name=\"\" start=\"1\" end=\"1\"/>"
	"<field name=\"PF\" start=\"2\" end=\"2\"/><field name=\"AF\" start=\"4\" end=\"4\"/>"
	"<field name=\"ZF\" start=\"6\" end=\"6\"/><field name=\"SF\" start=\"7\" end=\"7\"/>"
	"<field name=\"TF\" start=\"8\" end=\"8\"/><field name=\"IF\" start=\"9\" end=\"9\"/>"
	"<field name=\"DF\" start=\"10\" end=\"10\"/><field name=\"OF\" start=\"11\" end=\"11\"/>"
	"<field name=\"NT\" start=\"14\" end=\"14\"/><field name=\"RF\" start=\"16\" end=\"16\"/>"
	"<field name=\"VM\" start=\"17\" end=\"17\"/><field name=\"AC\" start=\"18\" end=\"18\"/>"
	"</flags>";
static const char vector_type[] =
	"<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/>"
	"<vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>"
	"<vector id=\"v16i8\" type=\"int8\" count=\"16\"/>"
	"<vector id=\"v8i16\" type=\"int16\" count=\"8\"/>"
	"<vector id=\"v4i32\" type=\"int32\" count=\"4\"/>"
	"<vector id=\"v2i64\" type=\"int64\" count=\"2\"/>"
	"<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/>"
	"<field name=\"v2_double\" type=\"v2d\"/><field name=\"v16_int8\" type=\"v16i8\"/>"
	"<field name=\"v8_int16\" type=\"v8i16\"/><field name=\"v4_int32\" type=\"v4i32\"/>"
	"<field name=\"v2_int64\" type=\"v2i64\"/><field name=\"uint128\" type=\"uint128\"/>"
	"</union>"
	"<flags id=\"i386_mxcsr\" size=\"4\">"
	"<field name=\"IE\" start=\"0\" end=\"0\"/><field name=\"DE\" start=\"1\" end=\"1\"/>"
	"<field name=\"ZE\" start=\"2\" end=\"2\"/><field name=\"OE\" start=\"3\" end=\"3\"/>"
	"<field name=\"UE\" start=\"4\" end=\"4\"/><field name=\"PE\" start=\"5\" end=\"5\"/>"
	"</flags>";

static const struct group groups[] = {
	{CORE, "rax", "int64", 1, 64, flags_type},
	U64("rbx"),
	U64("rcx"),
	U64("rdx"),
	U64("rsi"),
	U64("rdi"),
	{NULL, "rbp", "data_ptr", 1, 64, NULL},
	{NULL, "rsp", "data_ptr", 1, 64, NULL},
	U64("r8"),
	U64("r9"),
	U64("r10"),
	U64("r11"),
	U64("r12"),
	U64("r13"),
	U64("r14"),
	U64("r15"),
	{NULL, "rip", "code_ptr", 1, 64, NULL},
	{NULL, "eflags", "i386_eflags", 1, 32, NULL},
	U32("cs"),
	U32("ss"),
	U32("ds"),
	U32("es"),
	U32("fs"),
	U32("gs"),
	{NULL, "st", "i387_ext", 8, 80, NULL},
	U32("fctrl"),
	U32("fstat"),
	U32("ftag"),
	U32("fiseg"),
	U32("fioff"),
	U32("foseg"),
	U32("fooff"),
	U32("fop"),
	{"org.gnu.gdb.i386.sse", "xmm", "vec128", 16, 128, vector_type},
	{NULL, "mxcsr", "i386_mxcsr", 1, 32, NULL},
	{"org.gnu.gdb.i386.segments", "fs_base", "int64", 1, 64, NULL},
	U64("gs_base"),
	{"org.hyper-gen.x86.system", "cr0", "int64", 1, 64, NULL},
	U64("cr2"),
	{NULL, "cr3", "data_ptr", 1, 64, NULL},
	U64("cr4"),
	U64("cr8"),
	U64("efer"),
};

#define NGROUPS (sizeof(groups) / sizeof(groups[0]))

size_t register_place(unsigned int number, size_t *offset)
{
	const struct group *g;

	*offset = 0;
	for (g = groups; g < groups + NGROUPS; g++) {
		if (number < g->count) {
			*offset += number * (g->bits / 8);
			return g->bits / 8;
		}
		number -= g->count;
		*offset += g->count * (g->bits / 8);
	}
	return 0;
}

static size_t describe_group(const struct group *g, char *to, size_t room)
{
	size_t used = 0;
	unsigned int i;
	char name[16];

	if (g->feature)
		used = (size_t)snprintf(to, room, "%s<feature name=\"%s\">%s",
					g == groups ? "" : "</feature>", g->feature,
					g->types ? g->types : "");
	for (i = 0; i < g->count; i++) {
		if (g->count > 1)
			snprintf(name, sizeof(name), "%s%u", g->name, i);
		else
			snprintf(name, sizeof(name), "%s", g->name);
		used += (size_t)snprintf(to + used, room - used,
					 "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\"/>", name,
					 g->bits, g->type);
	}
	return used;
}

const char *registers_describe(size_t *len)
{
	static char xml[8192];
	static size_t used;
	const struct group *g;

	if (!used) {
		used = (size_t)snprintf(xml, sizeof(xml),
					"<?xml version=\"1.0\"?>"
					"<!DOCTYPE target SYSTEM \"gdb-target.dtd\">"
					"<target version=\"1.0\">"
					"<architecture>i386:x86-64</architecture>");
		for (g = groups; g < groups + NGROUPS; g++)
			used += describe_group(g, xml + used, sizeof(xml) - used);
		used += (size_t)snprintf(xml + used, sizeof(xml) - used, "</feature></target>");
	}
	*len = used;
	return xml;
}
