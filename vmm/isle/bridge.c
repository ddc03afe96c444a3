// SPDX-License-Identifier: Apache-2.0
/* The network of all isles, as HermitCore's host had it: 192.168.28.0/24, the host is .1. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "isle/parts.h"

#define HOST_ADDRESS 0xc0a81c01u /* 192.168.28.1 */
#define NETMASK	     0xffffff00u

static int set_address(int s, struct ifreq *req, unsigned long call, uint32_t address)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(address)};

	memcpy(&req->ifr_addr, &in, sizeof(in));
	return ioctl(s, call, req);
}

static int make(int s)
{
	struct ifreq req = {.ifr_name = ISLE_BRIDGE};

	if (ioctl(s, SIOCBRADDBR, ISLE_BRIDGE))
		return errno == EEXIST ? 0 : -1; /* whoever made it has set it up, or will */
	/* Given its address, it keeps it: else it takes that of each tap that joins or leaves. */
	if (ioctl(s, SIOCGIFHWADDR, &req) || ioctl(s, SIOCSIFHWADDR, &req) ||
	    set_address(s, &req, SIOCSIFADDR, HOST_ADDRESS) ||
	    set_address(s, &req, SIOCSIFNETMASK, NETMASK) || ioctl(s, SIOCGIFFLAGS, &req))
		return -1;
	req.ifr_flags |= IFF_UP;
	return ioctl(s, SIOCSIFFLAGS, &req);
}

int bridge_make(struct error *e)
{
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int r = s < 0 ? -1 : make(s), error = errno;

	if (s >= 0)
		close(s);
	if (!r)
		return 0;
	return error_set(e, ERROR_MACHINE,
			 "the bridge of the isles cannot be made: %s; net=off goes without",
			 strerror(error));
}
