/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the policy files stand on, in the kernel and outside of it: integer types, error numbers,
 * PCI register names.
 *
 * The policy is the part of the module that decides. It is freestanding C: it allocates nothing,
 * takes no lock, writes no global and calls nothing but itself, so that the very same files run
 * under a test in user space. Callers pass buffers, hold the locks and do all input and output.
 */
#ifndef BARLINE_POLICY_BASE_H
#define BARLINE_POLICY_BASE_H

#include <linux/types.h>
#include <linux/errno.h>
#include <linux/pci_regs.h>

#ifdef __KERNEL__
#include <linux/bits.h>
#include <linux/build_bug.h>
#include <linux/kernel.h>
#else
#include <stdbool.h>
#include <stddef.h>

#define u8 __u8
#define u16 __u16
#define u32 __u32
#define u64 __u64
#define BIT(nr) (1u << (nr))
#define BUILD_BUG_ON_ZERO(e) ((int)sizeof(char[1 - 2 * !!(e)]) - 1)
#define ARRAY_SIZE(array) (sizeof(array) / sizeof(*(array)))
#endif

#endif
