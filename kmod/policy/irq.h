/* SPDX-License-Identifier: GPL-2.0-only */
/* What a SET_IRQS request asks for. */
#ifndef BARLINE_POLICY_IRQ_H
#define BARLINE_POLICY_IRQ_H

#include "base.h"

/* Flags of SET_IRQS; the values are those of VFIO and of the ABI (the module asserts that). */
#define BLP_IRQ_DATA_NONE BIT(0)
#define BLP_IRQ_DATA_BOOL BIT(1)
#define BLP_IRQ_DATA_EVENTFD BIT(2)
#define BLP_IRQ_MASK BIT(3)
#define BLP_IRQ_UNMASK BIT(4)
#define BLP_IRQ_TRIGGER BIT(5)

/* Vectors that MSI-X has at most: Message Control holds the number less one in 11 bits. */
#define BLP_IRQ_MAX (PCI_MSIX_FLAGS_QSIZE + 1)

/* A request that was checked. */
struct blp_irq_request {
	u32 data;	/* one of BLP_IRQ_DATA_* */
	u32 action;	/* one of BLP_IRQ_MASK, BLP_IRQ_UNMASK, BLP_IRQ_TRIGGER */
	u32 bytes;	/* of data that follow: at most 4 * BLP_IRQ_MAX */
	bool disable;	/* turn the whole index off: DATA_NONE, TRIGGER, no vectors */
};

/* Whether vectors [@start, @start + @count) exist among @total. 0 or -EINVAL. */
int blp_irq_range(u32 start, u32 count, u32 total);

/*
 * Checks a request for an index with @total vectors. @maskable: MASK and UNMASK make sense
 * (INTx). -EINVAL: unknown flags, not exactly one kind of data and one action, eventfds for
 * another action than TRIGGER, vectors that do not exist.
 */
int blp_irq_check(u32 flags, u32 start, u32 count, u32 total, bool maskable,
		  struct blp_irq_request *out);

#endif
