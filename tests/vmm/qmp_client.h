/* SPDX-License-Identifier: Apache-2.0 */
/* A client of the control socket of vm_fixture.h's VM. */
#ifndef TEST_QMP_CLIENT_H
#define TEST_QMP_CLIENT_H

#include "vm_fixture.h"

static char text[4 << 20]; /* what was heard last */
static bool gone;	   /* the other end has hung up */

static const char *ask(int fd, const char *request)
{
	size_t n;

	CHECK(send(fd, request, strlen(request), MSG_NOSIGNAL) == (ssize_t)strlen(request));
	settle();
	n = take_all(fd, text, sizeof(text) - 1, &gone);
	text[n] = '\0';
	return text;
}

static inline int connect_qmp(void)
{
	int fd = connect_to(vm.cfg->control);

	CHECK(strstr(ask(fd, "{\"execute\":\"qmp_capabilities\"}"), "{\"return\":{}}"));
	return fd;
}

#endif
