// SPDX-License-Identifier: GPL-2.0-only
/*
 * SET_IRQS, and the events that are not the device's interrupts: ERR, REQ, PM.
 */
#include <linux/eventfd.h>
#include <linux/slab.h>

#include "internal.h"

void bl_event_signal(struct bl_dev *bd, u32 index)
{
	spin_lock(&bd->irqs.events_lock);
	if (bd->irqs.events[index])
		bl_eventfd_signal(bd->irqs.events[index]);
	spin_unlock(&bd->irqs.events_lock);
}

void bl_event_set(struct bl_dev *bd, u32 index, struct eventfd_ctx *ctx)
{
	struct eventfd_ctx *old;

	spin_lock(&bd->irqs.events_lock);
	old = bd->irqs.events[index];
	bd->irqs.events[index] = ctx;
	spin_unlock(&bd->irqs.events_lock);
	if (old)
		eventfd_ctx_put(old);
}

void bl_events_off(struct bl_dev *bd)
{
	u32 index;

	for (index = 0; index < BARLINE_IRQ_COUNT; index++)
		bl_event_set(bd, index, NULL);
}

static int bl_events_apply(struct bl_dev *bd, const struct barline_set_irqs *arg,
			   const struct blp_irq_request *request, struct eventfd_ctx **ctxs,
			   const u8 *bools)
{
	if (bd->state == BLP_REVOKED)
		return -ENODEV;
	if (request->disable) {
		bl_event_set(bd, arg->index, NULL);
	} else if (ctxs) {
		bl_event_set(bd, arg->index, ctxs[0]);
		ctxs[0] = NULL;
	} else if (!bools || bools[0]) {
		bl_event_signal(bd, arg->index);
	}
	return 0;
}

static void bl_ctxs_put(struct eventfd_ctx **ctxs, u32 count)
{
	u32 i;

	for (i = 0; i < count; i++) {
		if (ctxs[i])
			eventfd_ctx_put(ctxs[i]);
	}
	kvfree(ctxs);
}

/* References to the eventfds; all, or an error. -1 is none. */
static struct eventfd_ctx **bl_ctxs_get(const s32 *fds, u32 count)
{
	struct eventfd_ctx **ctxs, *ctx;
	u32 i;

	ctxs = bl_fail("irq: eventfds") ? NULL : kvcalloc(count, sizeof(*ctxs), GFP_KERNEL_ACCOUNT);
	if (!ctxs)
		return ERR_PTR(-ENOMEM);
	for (i = 0; i < count; i++) {
		if (fds[i] == -1)
			continue;
		ctx = fds[i] < 0 ? ERR_PTR(-EINVAL) : eventfd_ctx_fdget(fds[i]);
		if (IS_ERR(ctx)) {
			bl_ctxs_put(ctxs, i);
			return ERR_CAST(ctx);
		}
		ctxs[i] = ctx;
	}
	return ctxs;
}

static int bl_irqs_set_locked(struct bl_dev *bd, const struct barline_set_irqs *arg,
			      const struct blp_irq_request *request, struct eventfd_ctx **ctxs,
			      const u8 *bools)
{
	int err;

	mutex_lock(&bd->lock);
	if (arg->index >= BARLINE_IRQ_ERR) {
		err = bl_events_apply(bd, arg, request, ctxs, bools);
	} else {
		err = bl_event_check(bd, BLP_EV_ACCESS);
		err = err ?: bl_irqs_apply(bd, arg, request, ctxs, bools);
	}
	mutex_unlock(&bd->lock);
	return err;
}

/*
 * Everything that the process passes is copied and looked up before a lock is taken: it can
 * delay only itself.
 */
int bl_irqs_set(struct bl_dev *bd, const struct barline_set_irqs *arg)
{
	struct eventfd_ctx **ctxs = NULL;
	struct blp_irq_request request;
	void *data = NULL;
	int err;

	if (arg->index >= BARLINE_IRQ_COUNT)
		return -EINVAL;
	err = blp_irq_check(arg->flags, arg->start, arg->count, bl_irq_count(bd, arg->index),
			    arg->index == BARLINE_IRQ_INTX, &request);
	if (err)
		return err;
	if (request.bytes) {
		data = bl_fail("irq: data") ? ERR_PTR(-ENOMEM) :
		       vmemdup_user(u64_to_user_ptr(arg->data_ptr), request.bytes);
		if (IS_ERR(data))
			return PTR_ERR(data);
	}
	if (request.data == BLP_IRQ_DATA_EVENTFD) {
		ctxs = bl_ctxs_get(data, arg->count);
		err = PTR_ERR_OR_ZERO(ctxs);
	}
	if (!err) {
		err = bl_irqs_set_locked(bd, arg, &request, ctxs,
					 request.data == BLP_IRQ_DATA_BOOL ? data : NULL);
		if (ctxs)
			bl_ctxs_put(ctxs, arg->count);
	}
	kvfree(data);
	return err;
}
