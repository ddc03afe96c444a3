// SPDX-License-Identifier: Apache-2.0
/* Unit tests of the vsock device that is served by Unix sockets, from the guest's side. */
#include "vsock_fixture.h"

static void vsock_guest_reaches_a_unix_socket(void)
{
	struct virtio_dev *dev = start(true);
	struct packet p;
	char text[16] = "";
	int fd = joined(dev, &p);

	CHECK(reg_read(dev, VIRTIO_MMIO_CONFIG) == CID);
	put(dev, VIRTIO_VSOCK_OP_RW, 1000, 52, "hello", 5);
	CHECK(recv(fd, text, sizeof(text), 0) == 5 && !memcmp(text, "hello", 5));
	CHECK(send(fd, "world", 5, 0) == 5);
	CHECK(get_op(dev, &p, VIRTIO_VSOCK_OP_RW) && p.h.len == 5 && !memcmp(p.data, "world", 5));
	CHECK(p.h.fwd_cnt == 5);
	/* Nobody listens at port 53. */
	put(dev, VIRTIO_VSOCK_OP_REQUEST, 1001, 53, NULL, 0);
	CHECK(get_op(dev, &p, VIRTIO_VSOCK_OP_RST) && p.h.dst_port == 1001 && p.h.src_port == 53);
	finish(dev);
}

static void vsock_host_reaches_the_guest(void)
{
	struct virtio_dev *dev = start(true);
	char text[32] = "", want[32];
	struct packet p;
	uint32_t port;
	int fd = client("CONNECT 80\nearly");

	CHECK(get_op(dev, &p, VIRTIO_VSOCK_OP_REQUEST) && p.h.dst_port == 80);
	port = p.h.src_port;
	CHECK(port >= VSOCK_FIRST_PORT && recv(fd, text, sizeof(text), 0) < 0);
	put(dev, VIRTIO_VSOCK_OP_RESPONSE, 80, port, NULL, 0);
	snprintf(want, sizeof(want), "OK %u\n", port);
	CHECK(recv(fd, text, sizeof(text), 0) == (ssize_t)strlen(want) && !strcmp(text, want));
	/* What was sent behind the greeting is the guest's. */
	CHECK(get_op(dev, &p, VIRTIO_VSOCK_OP_RW) && !memcmp(p.data, "early", 5));
	/* A guest that refuses is a socket that closes. */
	fd = client("CONNECT 81\n");
	CHECK(get_op(dev, &p, VIRTIO_VSOCK_OP_REQUEST) && p.h.dst_port == 81);
	put(dev, VIRTIO_VSOCK_OP_RST, 81, p.h.src_port, NULL, 0);
	CHECK(ends(fd));
	finish(dev);
}

static void vsock_refuses_bad_greetings(void)
{
	static const char *const bad[] = {
		"\n",
		"CONNECT\n",
		"CONNECT x\n",
		"CONNECT 1 2\n",
		"connect 1\n",
		"CONNECT 80\r\n",
		"CONNECT 0000000000000000000000000000000000000000000080\n",
		"no newline in the whole of this line of text"};
	struct virtio_dev *dev = start(true);
	struct packet p;
	unsigned int i, n;
	char byte;
	int fd;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		fd = client(bad[i]);
		for (n = 0; n < 20 && recv(fd, &byte, 1, 0) < 0; n++)
			loop_once(&loop, 5);
		CHECK(n < 20);
		close(fd);
	}
	/* In pieces it is as good as at once. */
	fd = client("CONN");
	loop_once(&loop, 20);
	CHECK(send(fd, "ECT 9", 5, 0) == 5);
	loop_once(&loop, 20);
	CHECK(send(fd, "0\n", 2, 0) == 2);
	CHECK(get_op(dev, &p, VIRTIO_VSOCK_OP_REQUEST) && p.h.dst_port == 90);
	finish(dev);
}

static void vsock_keeps_to_the_guests_credit(void)
{
	struct virtio_dev *dev = start(true);
	static uint8_t bytes[30000];
	uint32_t got = 0;
	struct packet p;
	int fd;

	guest_alloc = 10000;
	fd = joined(dev, &p);
	CHECK(send(fd, bytes, sizeof(bytes), 0) == sizeof(bytes));
	while (get(dev, &p) && p.h.op == VIRTIO_VSOCK_OP_RW)
		got += p.h.len;
	CHECK(got == 10000 && p.h.op == VIRTIO_VSOCK_OP_CREDIT_REQUEST && !get(dev, &p));
	guest_fwd = 9000;
	put(dev, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 1000, 52, NULL, 0);
	while (get(dev, &p) && p.h.op == VIRTIO_VSOCK_OP_RW)
		got += p.h.len;
	CHECK(got == 19000 && p.h.op == VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	/* Counts that make no sense are no credit. */
	guest_fwd = 50000;
	put(dev, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 1000, 52, NULL, 0);
	CHECK(!get(dev, &p));
	guest_fwd = 19000;
	guest_alloc = 100000;
	put(dev, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 1000, 52, NULL, 0);
	while (get(dev, &p))
		got += p.h.len;
	CHECK(got == sizeof(bytes));
	finish(dev);
}

static void vsock_holds_the_guest_to_its_credit(void)
{
	struct virtio_dev *dev = start(true);
	static uint8_t bytes[4096], back[8192];
	uint32_t given = 0, taken = 0, fwd = 0, i;
	struct packet p;
	ssize_t n;
	int fd = joined(dev, &p);

	/* Nobody reads: the socket's buffer and ours fill, and then there is no credit left. */
	for (;;) {
		while (used_index(&mem, RX) != rx_seen) {
			CHECK(get_op(dev, &p, VIRTIO_VSOCK_OP_CREDIT_UPDATE));
			fwd = p.h.fwd_cnt;
		}
		if (given - fwd + sizeof(bytes) > VSOCK_BUFFER)
			break;
		for (i = 0; i < sizeof(bytes); i++)
			bytes[i] = (given + i) * 7 >> 3;
		put(dev, VIRTIO_VSOCK_OP_RW, 1000, 52, bytes, sizeof(bytes));
		given += sizeof(bytes);
		CHECK(given < MIB(4));
	}
	CHECK(given > VSOCK_BUFFER);
	put(dev, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 1000, 52, NULL, 0);
	CHECK(get_op(dev, &p, VIRTIO_VSOCK_OP_CREDIT_UPDATE));
	/* It all arrives, in its order, and credit comes back. */
	for (i = 0; i < 2000 && taken < given; i++) {
		n = recv(fd, back, sizeof(back), 0);
		for (ssize_t at = 0; at < n; at++, taken++)
			CHECK(back[at] == (uint8_t)(taken * 7 >> 3));
		if (n < 0)
			loop_once(&loop, 5);
	}
	CHECK(taken == given);
	CHECK(get_op(dev, &p, VIRTIO_VSOCK_OP_CREDIT_UPDATE) && p.h.fwd_cnt > fwd);
	while (get(dev, &p))
		CHECK(p.h.op == VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	/* Who sends all the same loses the connection. */
	for (i = 0; i < 2000; i++) {
		put(dev, VIRTIO_VSOCK_OP_RW, 1000, 52, bytes, sizeof(bytes));
		if (used_index(&mem, RX) != rx_seen && get(dev, &p) &&
		    p.h.op == VIRTIO_VSOCK_OP_RST)
			break;
	}
	CHECK(i < 2000 && virtio_is_running(dev));
	finish(dev);
}

static void vsock_answers_garbage_with_rst(void)
{
	struct virtio_dev *dev = start(true);
	uint8_t bytes[HDR + 100] = {0};
	struct virtio_vsock_hdr h;
	struct packet p;
	uint16_t op;
	int fd;

	for (op = 0; op < 20; op++) {
		if (op == VIRTIO_VSOCK_OP_REQUEST)
			continue;
		put(dev, op, 5, 6, NULL, 0);
		CHECK(op == VIRTIO_VSOCK_OP_RST ? !get(dev, &p)
						: get_op(dev, &p, VIRTIO_VSOCK_OP_RST));
	}
	h = header(VIRTIO_VSOCK_OP_REQUEST, 5, 6);
	h.dst_cid = 99;
	put_raw(dev, &h, HDR);
	CHECK(get_op(dev, &p, VIRTIO_VSOCK_OP_RST) && p.h.src_cid == 99);
	h = header(VIRTIO_VSOCK_OP_REQUEST, 5, 6);
	h.type = 2;
	put_raw(dev, &h, HDR);
	CHECK(get_op(dev, &p, VIRTIO_VSOCK_OP_RST));
	h = header(VIRTIO_VSOCK_OP_RW, 5, 6);
	h.src_cid = 3; /* not this guest: nobody to answer */
	put_raw(dev, &h, HDR);
	put_raw(dev, &h, HDR - 1);
	CHECK(!get(dev, &p) && virtio_is_running(dev));
	/* A length that the chain does not have, on a connection that is good. */
	fd = joined(dev, &p);
	h = header(VIRTIO_VSOCK_OP_RW, 1000, 52);
	h.len = sizeof(bytes) - HDR + 1;
	memcpy(bytes, &h, HDR);
	put_raw(dev, bytes, sizeof(bytes));
	CHECK(get_op(dev, &p, VIRTIO_VSOCK_OP_RST) && ends(fd));
	h.len = UINT32_MAX;
	put_raw(dev, &h, HDR);
	CHECK(get_op(dev, &p, VIRTIO_VSOCK_OP_RST));
	finish(dev);
}

static void vsock_closes_half_by_half(void)
{
	struct virtio_dev *dev = start(true);
	struct packet p;
	char text[8];
	int fd = joined(dev, &p);

	/* The host ends first: the guest can still send. */
	CHECK(shutdown(fd, SHUT_WR) == 0);
	CHECK(get_op(dev, &p, VIRTIO_VSOCK_OP_SHUTDOWN));
	CHECK(p.h.flags == VIRTIO_VSOCK_SHUTDOWN_SEND);
	put(dev, VIRTIO_VSOCK_OP_RW, 1000, 52, "late", 4);
	CHECK(recv(fd, text, sizeof(text), 0) == 4);
	put_shutdown(dev, 1000, 52, VIRTIO_VSOCK_SHUTDOWN_SEND);
	CHECK(ends(fd));
	put_shutdown(dev, 1000, 52, VIRTIO_VSOCK_SHUTDOWN_RCV);
	CHECK(get_op(dev, &p, VIRTIO_VSOCK_OP_RST));
	close(fd);
	/* The guest ends first: the host can still send. */
	fd = joined(dev, &p);
	put(dev, VIRTIO_VSOCK_OP_RW, 1000, 52, "last", 4);
	put_shutdown(dev, 1000, 52, VIRTIO_VSOCK_SHUTDOWN_SEND);
	CHECK(recv(fd, text, 4, 0) == 4 && ends(fd));
	CHECK(send(fd, "more", 4, 0) == 4);
	CHECK(get_op(dev, &p, VIRTIO_VSOCK_OP_RW) && !memcmp(p.data, "more", 4));
	/* And goes away altogether: the guest hears that, too. */
	CHECK(send(fd, "end", 3, 0) == 3);
	close(fd);
	CHECK(get_op(dev, &p, VIRTIO_VSOCK_OP_RW) && p.h.len == 3);
	CHECK(get_op(dev, &p, VIRTIO_VSOCK_OP_SHUTDOWN) && p.h.flags == 3);
	put(dev, VIRTIO_VSOCK_OP_RST, 1000, 52, NULL, 0);
	CHECK(!get(dev, &p));
	finish(dev);
}

static void vsock_close_loses_nothing_that_was_sent(void)
{
	struct virtio_dev *dev = start(true);
	static uint8_t bytes[32768], back[8192];
	uint32_t given = 0, taken = 0, fwd = 0, i;
	struct packet p;
	ssize_t n;
	int fd = joined(dev, &p);

	while (given - fwd + sizeof(bytes) <= VSOCK_BUFFER) {
		put(dev, VIRTIO_VSOCK_OP_RW, 1000, 52, bytes, sizeof(bytes));
		given += sizeof(bytes);
		while (used_index(&mem, RX) != rx_seen && get(dev, &p))
			fwd = p.h.fwd_cnt;
	}
	put_shutdown(dev, 1000, 52, 3);
	CHECK(!get(dev, &p)); /* no RST before everything is delivered */
	for (i = 0; i < 1000; i++) {
		n = recv(fd, back, sizeof(back), 0);
		taken += n > 0 ? n : 0;
		if (n == 0)
			break;
		if (n < 0)
			loop_once(&loop, 5);
	}
	CHECK(taken == given);
	while (get(dev, &p) && p.h.op != VIRTIO_VSOCK_OP_RST)
		;
	CHECK(p.h.op == VIRTIO_VSOCK_OP_RST);
	finish(dev);
}

static void vsock_bounds_connections_and_answers(void)
{
	struct virtio_dev *dev = start(false);
	struct epoll_event event;
	struct packet p;
	unsigned int i, rsts = 0;
	int listener, fd;

	/* Without buffers for the answers only so many requests are taken. */
	for (i = 0; i < SIZE; i++)
		set_desc(&mem, TX, i, TXBUF + 64 * i, HDR, 0, 0);
	for (i = 0; i < 100; i++) {
		struct virtio_vsock_hdr h = header(VIRTIO_VSOCK_OP_RW, i, 1);

		if (i - used_index(&mem, TX) == SIZE)
			break;
		memory_write(&mem, TXBUF + 64 * (i % SIZE), &h, HDR);
		offer(&mem, TX, SIZE, i % SIZE);
		reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, TX);
	}
	CHECK(used_index(&mem, TX) == VSOCK_MAX_RSTS && i == VSOCK_MAX_RSTS + SIZE);
	while (epoll_wait(loop.epoll_fd, &event, 1, 0) > 0)
		loop_once(&loop, 0); /* ends: nothing keeps the loop busy */
	for (i = 0; i < SIZE; i++)
		post(dev, i);
	while (get(dev, &p))
		rsts += p.h.op == VIRTIO_VSOCK_OP_RST;
	CHECK(rsts == VSOCK_MAX_RSTS + SIZE && used_index(&mem, TX) == VSOCK_MAX_RSTS + SIZE);
	/* Connections: some are kept for the host. */
	listener = listen_at(52);
	for (i = 0, rsts = 0; i < VSOCK_MAX_CONNS; i++) {
		put(dev, VIRTIO_VSOCK_OP_REQUEST, i, 52, NULL, 0);
		CHECK(get_within(dev, &p, 20000));
		rsts += p.h.op == VIRTIO_VSOCK_OP_RST;
		CHECK(p.h.op == VIRTIO_VSOCK_OP_RST || (fd = accept(listener, NULL, NULL)) >= 0);
	}
	CHECK(rsts == VSOCK_HOST_CONNS);
	fd = client("CONNECT 80\n");
	CHECK(get_op(dev, &p, VIRTIO_VSOCK_OP_REQUEST) && p.h.dst_port == 80);
	/* A reset closes them all. */
	reg_write(dev, VIRTIO_MMIO_STATUS, 0);
	CHECK(ends(fd));
	finish(dev);
}

static void vsock_survives_bad_rings(void)
{
	struct virtio_dev *dev = start(false);
	struct packet p;

	set_desc(&mem, RX, 0, RXBUF, HDR, VRING_DESC_F_WRITE, 0); /* a header and no byte more */
	offer(&mem, RX, SIZE, 0);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, RX);
	CHECK(virtio_is_running(dev));
	put(dev, VIRTIO_VSOCK_OP_RW, 1, 2, NULL, 0);
	CHECK(!virtio_is_running(dev));
	CHECK(driver_start(dev, 0, SIZE) && !get(dev, &p));
	set_desc(&mem, TX, 0, UINT64_MAX - 3, 64, 0, 0);
	offer(&mem, TX, SIZE, 0);
	reg_write(dev, VIRTIO_MMIO_QUEUE_NOTIFY, TX);
	loop_once(&loop, 0);
	CHECK(!virtio_is_running(dev));
	finish(dev);
}

static const struct unit_test tests[] = {
	TEST(vsock_guest_reaches_a_unix_socket),
	TEST(vsock_host_reaches_the_guest),
	TEST(vsock_refuses_bad_greetings),
	TEST(vsock_keeps_to_the_guests_credit),
	TEST(vsock_holds_the_guest_to_its_credit),
	TEST(vsock_answers_garbage_with_rst),
	TEST(vsock_closes_half_by_half),
	TEST(vsock_close_loses_nothing_that_was_sent),
	TEST(vsock_bounds_connections_and_answers),
	TEST(vsock_survives_bad_rings),
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return run_units(argc, argv, tests);
}
