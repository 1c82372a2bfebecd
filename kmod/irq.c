// SPDX-License-Identifier: GPL-2.0-only
/*
 * Interrupts of the function as eventfds: INTx, MSI, MSI-X.
 *
 * All of this runs under bl_dev.lock, and with memory_lock held for writing: the table of MSI-X
 * is in a BAR, which must decode meanwhile. The handlers take no lock; an eventfd is put when no
 * handler can have it any more.
 */
#include <linux/eventfd.h>
#include <linux/slab.h>

#include "internal.h"

void bl_irqs_init(struct bl_dev *bd)
{
	bd->irqs.index = -1;
	spin_lock_init(&bd->irqs.events_lock);
}

u32 bl_irq_count(struct bl_dev *bd, u32 index)
{
	struct pci_dev *pdev = bd->pdev;

	switch (index) {
	case BARLINE_IRQ_INTX:
		return pdev->pin && pdev->irq && pdev->irq != IRQ_NOTCONNECTED;
	case BARLINE_IRQ_MSI:
		return max(pci_msi_vec_count(pdev), 0);
	case BARLINE_IRQ_MSIX:
		return min(bd->msix.count, bl_max_vectors);
	case BARLINE_IRQ_ERR:
		return pci_is_pcie(pdev);
	default:
		return 1;
	}
}

static irqreturn_t bl_msi_handler(int irq, void *arg)
{
	struct bl_vector *vector = arg;
	struct eventfd_ctx *ctx = READ_ONCE(vector->trigger);

	if (ctx)
		bl_eventfd_signal(ctx);
	return IRQ_HANDLED;
}

/* An interrupt's number; in INTx there is one vector. */
static int bl_vector_irq(struct bl_dev *bd, u32 n)
{
	return bd->irqs.index == BARLINE_IRQ_INTX ? bd->pdev->irq : pci_irq_vector(bd->pdev, n);
}

static const char *bl_irq_kind(u32 index)
{
	switch (index) {
	case BARLINE_IRQ_INTX:
		return "intx";
	case BARLINE_IRQ_MSI:
		return "msi";
	default:
		return "msix";
	}
}

static int bl_vector_request(struct bl_dev *bd, u32 n, struct eventfd_ctx *ctx)
{
	struct bl_vector *vector = &bd->irqs.vectors[n];
	bool intx = bd->irqs.index == BARLINE_IRQ_INTX;
	int err;

	vector->name = bl_fail("irq: name") ? NULL :
		       kasprintf(GFP_KERNEL_ACCOUNT, "barline-%s[%u](%s)",
				 bl_irq_kind(bd->irqs.index), n, pci_name(bd->pdev));
	if (!vector->name)
		return -ENOMEM;
	/* Before the request: an interrupt that comes at once counts. */
	vector->trigger = ctx;
	if (bl_fail("irq: request"))
		err = -EBUSY;
	else if (intx)
		err = request_irq(bl_vector_irq(bd, n), bl_intx_handler,
				  bd->irqs.intx_shared ? IRQF_SHARED : 0, vector->name, bd);
	else
		err = request_irq(bl_vector_irq(bd, n), bl_msi_handler, 0, vector->name, vector);
	if (err) {
		vector->trigger = NULL;
		kfree(vector->name);
		vector->name = NULL;
	}
	return err;
}

/* Waits for the handler, then gives back its eventfd, which is the caller's to put. */
static struct eventfd_ctx *bl_vector_free(struct bl_dev *bd, u32 n)
{
	struct bl_vector *vector = &bd->irqs.vectors[n];
	bool intx = bd->irqs.index == BARLINE_IRQ_INTX;
	struct eventfd_ctx *ctx = vector->trigger;

	free_irq(bl_vector_irq(bd, n), intx ? (void *)bd : vector);
	vector->trigger = NULL;
	kfree(vector->name);
	vector->name = NULL;
	return ctx;
}

/* Exchanges the eventfd under a running interrupt; none is lost. */
static struct eventfd_ctx *bl_vector_swap(struct bl_dev *bd, u32 n, struct eventfd_ctx *ctx)
{
	struct eventfd_ctx *old = xchg(&bd->irqs.vectors[n].trigger, ctx);

	synchronize_irq(bl_vector_irq(bd, n));
	return old;
}

/* Interrupts for those vectors that have none yet; all, or none. */
static int bl_vectors_request(struct bl_dev *bd, u32 start, u32 count, struct eventfd_ctx **ctxs)
{
	struct bl_vector *vectors = &bd->irqs.vectors[start];
	int err = 0;
	u32 i;

	for (i = 0; i < count && !err; i++) {
		if (!ctxs[i] || vectors[i].name)
			continue;
		err = bl_vector_request(bd, start + i, ctxs[i]);
		vectors[i].fresh = !err;
	}
	if (!err)
		return 0;
	for (i = 0; i < count; i++) {
		if (vectors[i].fresh)
			bl_vector_free(bd, start + i);
		vectors[i].fresh = false;
	}
	return err;
}

/* Sets vectors [start, start + count). What is left in @ctxs afterwards is the caller's to put. */
static int bl_vectors_set(struct bl_dev *bd, u32 start, u32 count, struct eventfd_ctx **ctxs)
{
	struct bl_vector *vectors = &bd->irqs.vectors[start];
	int err = bl_vectors_request(bd, start, count, ctxs);
	u32 i;

	if (err)
		return err;
	/* From here on nothing fails, so the set changes as a whole. */
	for (i = 0; i < count; i++) {
		if (vectors[i].fresh)
			ctxs[i] = NULL;
		else if (vectors[i].name && ctxs[i])
			ctxs[i] = bl_vector_swap(bd, start + i, ctxs[i]);
		else if (vectors[i].name)
			ctxs[i] = bl_vector_free(bd, start + i);
		vectors[i].fresh = false;
	}
	return 0;
}

/*
 * Allocates all vectors of a kind; which of them have an eventfd can then change at any time
 * (R9).
 */
static int bl_irqs_on(struct bl_dev *bd, u32 index)
{
	u32 wanted = bl_irq_count(bd, index);
	int got = 1;

	bd->irqs.vectors = bl_fail("irq: vectors") ? NULL :
			   kvcalloc(wanted, sizeof(*bd->irqs.vectors), GFP_KERNEL_ACCOUNT);
	if (!bd->irqs.vectors)
		return -ENOMEM;
	if (index != BARLINE_IRQ_INTX)
		got = bl_fail("irq: allocate") ? -ENOSPC :
		      pci_alloc_irq_vectors(bd->pdev, 1, wanted,
					    index == BARLINE_IRQ_MSI ? PCI_IRQ_MSI : PCI_IRQ_MSIX);
	if (got < 0) {
		kvfree(bd->irqs.vectors);
		bd->irqs.vectors = NULL;
		return got;
	}
	bd->irqs.count = got;
	bd->irqs.index = index;
	/* A line that can be masked in the function still is. */
	atomic_set(&bd->irqs.masked, index == BARLINE_IRQ_INTX && bd->irqs.intx_shared);
	return 0;
}

/* The core gives the line back to a function without MSI; here nobody listens to it (W5). */
static void bl_msi_free(struct bl_dev *bd)
{
	pci_free_irq_vectors(bd->pdev);
	if (bd->irqs.intx_shared)
		pci_intx(bd->pdev, 0);
}

/* Back to no interrupts at all. */
void bl_irqs_off(struct bl_dev *bd)
{
	struct eventfd_ctx *ctx;
	u16 command;
	u32 i;

	if (bd->irqs.index < 0)
		return;
	command = bl_config_decode_on(bd);
	/* disable_irq() must be undone before the line goes to somebody else: free_irq() does. */
	if (bd->irqs.index == BARLINE_IRQ_INTX && bd->irqs.intx_shared)
		pci_intx(bd->pdev, 0);
	for (i = 0; i < bd->irqs.count; i++) {
		if (!bd->irqs.vectors[i].name)
			continue;
		ctx = bl_vector_free(bd, i);
		if (ctx)
			eventfd_ctx_put(ctx);
	}
	if (bd->irqs.index != BARLINE_IRQ_INTX)
		bl_msi_free(bd);
	bl_config_decode_back(bd, command);
	kvfree(bd->irqs.vectors);
	bd->irqs.vectors = NULL;
	bd->irqs.count = 0;
	bd->irqs.index = -1;
}

static int bl_vectors_trigger(struct bl_dev *bd, const struct barline_set_irqs *arg,
			      struct eventfd_ctx **ctxs)
{
	bool first = bd->irqs.index < 0;
	int err = first ? bl_irqs_on(bd, arg->index) : 0;

	if (err)
		return err;
	if (blp_irq_range(arg->start, arg->count, bd->irqs.count))
		err = -ENOSPC;
	else
		err = bl_vectors_set(bd, arg->start, arg->count, ctxs);
	if (err && first)
		bl_irqs_off(bd);
	else if (!err && arg->index == BARLINE_IRQ_INTX && bd->irqs.vectors[0].name)
		bl_intx_unmask(bd);
	return err;
}

static void bl_vectors_act(struct bl_dev *bd, const struct barline_set_irqs *arg, u32 action,
			   const u8 *bools)
{
	u32 i;

	for (i = 0; i < arg->count; i++) {
		struct eventfd_ctx *ctx = bd->irqs.vectors[arg->start + i].trigger;

		if (bools && !bools[i])
			continue;
		if (action == BLP_IRQ_MASK)
			bl_intx_mask(bd);
		else if (action == BLP_IRQ_UNMASK)
			bl_intx_unmask(bd);
		else if (ctx)
			bl_eventfd_signal(ctx);
	}
}

/* A request that was checked, for INTx, MSI or MSI-X. */
int bl_irqs_apply(struct bl_dev *bd, const struct barline_set_irqs *arg,
		  const struct blp_irq_request *request, struct eventfd_ctx **ctxs, const u8 *bools)
{
	int mode = bd->irqs.index;
	u16 command;
	int err = 0;

	if (request->disable && mode != (int)arg->index)
		return 0;
	if (mode >= 0 && mode != (int)arg->index)
		return -EBUSY;
	if (!bd->powered)
		return -EBUSY;
	down_write(&bd->memory_lock);
	command = bl_config_decode_on(bd);
	if (request->disable)
		bl_irqs_off(bd);
	else if (ctxs)
		err = bl_vectors_trigger(bd, arg, ctxs);
	else if (mode < 0 || blp_irq_range(arg->start, arg->count, bd->irqs.count))
		err = -EINVAL;
	else
		bl_vectors_act(bd, arg, request->action, bools);
	bl_config_decode_back(bd, command);
	up_write(&bd->memory_lock);
	return err;
}
