/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Nanoseconds that a cache line takes from processor 0 to processor 1 or back, mean of many: on shared machines it changes
 * every few seconds, and with it whatever two processors do together.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <time.h>

enum { ROUNDS = 20000 };
static _Alignas(128) volatile unsigned turn;

static void on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

static void *answer(void *unused)
{
	on(1);
	for (unsigned n = 0; n < ROUNDS; n++) {
		while (turn != 2 * n + 1)
			;
		turn = 2 * n + 2;
	}
	return unused;
}

int main(void)
{
	struct timespec a, b;
	pthread_t other;

	on(0);
	if (pthread_create(&other, NULL, answer, NULL))
		return 1;
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (unsigned n = 0; n < ROUNDS; n++) {
		turn = 2 * n + 1;
		while (turn != 2 * n + 2)
			;
	}
	clock_gettime(CLOCK_MONOTONIC, &b);
	pthread_join(other, NULL);
	printf("%.0f\n", ((b.tv_sec - a.tv_sec) * 1e9 + b.tv_nsec - a.tv_nsec) / (2.0 * ROUNDS));
	return 0;
}
