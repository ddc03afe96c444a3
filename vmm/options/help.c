// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <string.h>

#include "options/family.h"
#include "options/table.h"

static const char examples[] =
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

#define HELP_COLUMN 22

static void print_row(const struct row *row)
{
	const char *line = row->help, *end;
	int used;

	if (row->kind == HEADING) {
		printf("\n%s:\n", row->name);
		return;
	}
	used = printf("  --%s%s%s", row->name, row->argument && row->argument[0] != '[' ? " " : "",
		      row->argument ? row->argument : "");
	if (used >= HELP_COLUMN - 1) {
		putchar('\n');
		used = 0;
	}
	for (; line; line = *end ? end + 1 : NULL, used = 0) {
		end = strchrnul(line, '\n');
		printf("%*s%.*s\n", HELP_COLUMN - used, "", (int)(end - line), line);
	}
}

enum options_result options_help(void)
{
	const struct option_alias *a = option_aliases;
	size_t i;

	puts("Usage: hg-vmm --kernel FILE [option]...\n"
	     "       hg-vmm [option]... UNIKERNEL [argument]...\n"
	     "Runs one virtual machine on KVM until its guest powers off.");
	for (i = 0; i < option_nrows; i++)
		print_row(&option_rows[i]);
	puts("\nOther names, as uhyve has them:");
	for (; a < option_aliases + OPTION_ALIASES; a++)
		printf("    -%c%s%s for --%s\n", a->letter, a->name ? ", --" : "",
		       a->name ? a->name : "", a->option);
	fputs(examples, stdout);
	return OPTIONS_EXIT;
}
