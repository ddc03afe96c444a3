// SPDX-License-Identifier: Apache-2.0
/* mktap NAME: makes a tap that stays, as `ip tuntap add` does, with one queue. */
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

int main(int argc, char **argv)
{
	struct ifreq req = {.ifr_flags = IFF_TAP | IFF_NO_PI};
	int fd = open("/dev/net/tun", O_RDWR);

	if (argc != 2 || strlen(argv[1]) >= IFNAMSIZ)
		return 2;
	strcpy(req.ifr_name, argv[1]);
	if (fd >= 0 && !ioctl(fd, TUNSETIFF, &req) && !ioctl(fd, TUNSETPERSIST, 1))
		return 0;
	perror("mktap");
	return 1;
}
