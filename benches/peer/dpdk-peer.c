/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * DPDK's side of a comparison: the loops of `barline-peer` (benches/src/work/rings.rs), written with DPDK's own
 * functions. Usage: dpdk-peer [EAL options] -- WORKLOAD; it answers `go MILLISECONDS` lines as barline-peer does.
 *
 * The two-core work takes two lcores: the main one consumes, the other produces.
 */
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_pause.h>
#include <rte_ring.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BURST = 32, SLOTS = 1024, OBJECTS = 8191, CACHE = 512, ROUNDS = 64 };

/* What cores write and what they read must not share a cache line, or they measure each other. */
static struct rte_ring *ring;
static struct rte_mempool *pool;
static volatile int producing __rte_cache_aligned;

/* The compiler must neither drop nor hoist the use of the objects at `p`. */
static inline void opaque(void *p)
{
	__asm__ volatile("" : : "r"(p) : "memory");
}

static uint64_t spsc(void)
{
	static void *from[BURST] __rte_cache_aligned, *to[BURST] __rte_cache_aligned;

	opaque(from);
	rte_ring_sp_enqueue_bulk(ring, from, BURST, NULL);
	unsigned int came = rte_ring_sc_dequeue_bulk(ring, to, BURST, NULL);
	opaque(to);
	return came;
}

static uint64_t mpmc(void)
{
	static void *from[BURST] __rte_cache_aligned, *to[BURST] __rte_cache_aligned;

	opaque(from);
	rte_ring_mp_enqueue_bulk(ring, from, BURST, NULL);
	unsigned int came = rte_ring_mc_dequeue_bulk(ring, to, BURST, NULL);
	opaque(to);
	return came;
}

static uint64_t consume(void)
{
	static void *to[BURST] __rte_cache_aligned;

	if (rte_ring_sc_dequeue_bulk(ring, to, BURST, NULL) == 0) {
		rte_pause();
		return 0;
	}
	opaque(to);
	return BURST;
}

static int produce(void *unused)
{
	static void *from[BURST] __rte_cache_aligned;

	(void)unused;
	while (producing) {
		opaque(from);
		if (rte_ring_sp_enqueue_bulk(ring, from, BURST, NULL) == 0)
			rte_pause();
	}
	return 0;
}

static uint64_t objects(void)
{
	static void *to[BURST] __rte_cache_aligned;

	if (rte_mempool_get_bulk(pool, to, BURST) != 0)
		return 0;
	opaque(to);
	rte_mempool_put_bulk(pool, to, BURST);
	return BURST;
}

static uint64_t mbufs(void)
{
	static struct rte_mbuf *to[BURST] __rte_cache_aligned;

	if (rte_pktmbuf_alloc_bulk(pool, to, BURST) != 0)
		return 0;
	opaque(to);
	rte_pktmbuf_free_bulk(to, BURST);
	return BURST;
}

static const struct work {
	const char *name;
	uint64_t (*round)(void);
	enum { RING, RING_TWO_CORES, RING_MULTI, OBJECT_POOL, MBUF_POOL } needs;
} works[] = {
	{ "spsc-32", spsc, RING },
	{ "spsc-32-two-cores", consume, RING_TWO_CORES },
	{ "mpmc-32", mpmc, RING_MULTI },
	{ "pool-32", objects, OBJECT_POOL },
	{ "packet-alloc-free-32", mbufs, MBUF_POOL },
};

static int make(const struct work *work)
{
	int socket = rte_socket_id();

	switch (work->needs) {
	case RING:
	case RING_TWO_CORES:
		ring = rte_ring_create("ring", SLOTS, socket, RING_F_SP_ENQ | RING_F_SC_DEQ);
		return ring != NULL;
	case RING_MULTI:
		ring = rte_ring_create("ring", SLOTS, socket, 0);
		return ring != NULL;
	case OBJECT_POOL:
		pool = rte_mempool_create("pool", OBJECTS, 2304, CACHE, 0, NULL, NULL, NULL, NULL, socket, 0);
		return pool != NULL;
	case MBUF_POOL:
		pool = rte_pktmbuf_pool_create("pool", OBJECTS, CACHE, 0, RTE_MBUF_DEFAULT_BUF_SIZE, socket);
		return pool != NULL;
	}
	return 0;
}

static uint64_t nanos(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * UINT64_C(1000000000) + now.tv_nsec;
}

/* Inlined into a copy for each kind of work, so that a round costs no call. */
static inline __attribute__((always_inline)) void window(uint64_t (*round)(void), uint64_t length)
{
	uint64_t start = nanos(), from = rte_rdtsc(), packets = 0, passed;

	do {
		for (int i = 0; i < ROUNDS; i++)
			packets += round();
		passed = nanos() - start;
	} while (passed < length);
	printf("{\"cycles\":%" PRIu64 ",\"packets\":%" PRIu64 ",\"nanos\":%" PRIu64 "}\n", rte_rdtsc() - from,
	       packets, passed);
	fflush(stdout);
}

static void run(const struct work *work, uint64_t length)
{
	switch (work->needs) {
	case RING:
		window(spsc, length);
		break;
	case RING_MULTI:
		window(mpmc, length);
		break;
	case OBJECT_POOL:
		window(objects, length);
		break;
	case MBUF_POOL:
		window(mbufs, length);
		break;
	case RING_TWO_CORES:
		producing = 1;
		rte_eal_mp_remote_launch(produce, NULL, SKIP_MAIN);
		window(consume, length);
		producing = 0;
		rte_eal_mp_wait_lcore();
		break;
	}
}

int main(int argc, char **argv)
{
	const struct work *work = NULL;
	char line[64];
	int used = rte_eal_init(argc, argv);

	if (used < 0)
		rte_exit(1, "EAL: %s\n", rte_strerror(rte_errno));
	for (size_t i = 0; i < RTE_DIM(works) && used + 1 < argc; i++)
		if (strcmp(works[i].name, argv[used + 1]) == 0)
			work = &works[i];
	if (work == NULL)
		rte_exit(2, "usage: dpdk-peer [EAL options] -- WORKLOAD\n");
	if (work->needs == RING_TWO_CORES && rte_lcore_count() != 2)
		rte_exit(2, "%s takes two lcores\n", work->name);
	if (!make(work))
		rte_exit(1, "%s: %s\n", work->name, rte_strerror(rte_errno));
	printf("{\"ready\":true}\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin) != NULL) {
		unsigned long millis;

		if (sscanf(line, "go %lu", &millis) != 1)
			rte_exit(2, "say `go MILLISECONDS`\n");
		run(work, millis * UINT64_C(1000000));
	}
	rte_eal_cleanup();
	return 0;
}
