// SPDX-License-Identifier: GPL-2.0-only
#include "irq.h"
#include "range.h"

#define DATA_FLAGS (BLP_IRQ_DATA_NONE | BLP_IRQ_DATA_BOOL | BLP_IRQ_DATA_EVENTFD)
#define ACTION_FLAGS (BLP_IRQ_MASK | BLP_IRQ_UNMASK | BLP_IRQ_TRIGGER)

int blp_irq_range(u32 start, u32 count, u32 total)
{
	return blp_range_fits(start, count, total) ? 0 : -EINVAL;
}

static bool one_bit(u32 value)
{
	return value && !(value & (value - 1));
}

static u32 element_size(u32 data)
{
	switch (data) {
	case BLP_IRQ_DATA_BOOL:
		return sizeof(u8);
	case BLP_IRQ_DATA_EVENTFD:
		return sizeof(__s32);
	default:
		return 0;
	}
}

int blp_irq_check(u32 flags, u32 start, u32 count, u32 total, bool maskable,
		  struct blp_irq_request *out)
{
	out->data = flags & DATA_FLAGS;
	out->action = flags & ACTION_FLAGS;
	if (flags & ~(DATA_FLAGS | ACTION_FLAGS) || !one_bit(out->data) || !one_bit(out->action))
		return -EINVAL;
	if (total > BLP_IRQ_MAX)
		return -EINVAL;
	if (out->action != BLP_IRQ_TRIGGER && (!maskable || out->data == BLP_IRQ_DATA_EVENTFD))
		return -EINVAL;
	out->disable = flags == (BLP_IRQ_DATA_NONE | BLP_IRQ_TRIGGER) && !start && !count;
	out->bytes = 0;
	if (out->disable)
		return 0;
	if (blp_irq_range(start, count, total))
		return -EINVAL;
	out->bytes = count * element_size(out->data);
	return 0;
}
