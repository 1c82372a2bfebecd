/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The plain sender that ports over kernel interfaces are measured beside: one packet socket, frames of 60 bytes
 * (64 with FCS) that are zeros behind two addresses, sendmmsg of 32 at a time until it is stopped.
 *
 *   sendmmsg INTERFACE [bypass]      bypass: PACKET_QDISC_BYPASS
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { BURST = 32, FRAME = 60 };

int main(int count, char **arguments)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET };
	static unsigned char frames[BURST][FRAME];
	struct mmsghdr messages[BURST] = { 0 };
	struct iovec parts[BURST];
	int one = 1, fd = socket(AF_PACKET, SOCK_RAW, 0);

	if (count < 2 || fd < 0 || !(address.sll_ifindex = if_nametoindex(arguments[1]))) {
		perror("sendmmsg INTERFACE");
		return 2;
	}
	if (count > 2)
		setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof one);
	if (bind(fd, (struct sockaddr *)&address, sizeof address)) {
		perror("bind");
		return 1;
	}
	for (int i = 0; i < BURST; i++) {
		memcpy(frames[i], "\x02\0\0\0\0\x01\x02\0\0\0\0\x02", 12);
		parts[i] = (struct iovec){ frames[i], FRAME };
		messages[i].msg_hdr.msg_iov = &parts[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	for (;;)
		sendmmsg(fd, messages, BURST, 0);
}
