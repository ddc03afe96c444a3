// SPDX-License-Identifier: Apache-2.0
/* as_user UID PROGRAM [ARGUMENT]...: runs a program without any of root's powers. */
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	unsigned int id = argc > 2 ? (unsigned int)atoi(argv[1]) : 0;

	if (!id || setgroups(0, NULL) || setgid(id) || setuid(id)) {
		perror("as_user");
		return 125;
	}
	execvp(argv[2], argv + 2);
	perror(argv[2]);
	return 126;
}
