// SPDX-License-Identifier: GPL-2.0-only
/*
 * The interrupt line: masked when it fires, until the process unmasks it.
 *
 * Where the function can mask itself (PCI 2.3) the line is shared, else it is switched off at the
 * interrupt controller and is this function's alone.
 */
#include "internal.h"

irqreturn_t bl_intx_handler(int irq, void *arg)
{
	struct bl_dev *bd = arg;
	struct eventfd_ctx *ctx = READ_ONCE(bd->irqs.vectors[0].trigger);

	if (bd->irqs.intx_shared) {
		/* Masked: then it is another device of the line. */
		if (atomic_read(&bd->irqs.masked) || !pci_check_and_mask_intx(bd->pdev))
			return IRQ_NONE;
		atomic_set(&bd->irqs.masked, 1);
	} else if (!atomic_xchg(&bd->irqs.masked, 1)) {
		disable_irq_nosync(irq);
	}
	if (ctx)
		bl_eventfd_signal(ctx);
	return IRQ_HANDLED;
}

void bl_intx_mask(struct bl_dev *bd)
{
	if (atomic_xchg(&bd->irqs.masked, 1))
		return;
	if (bd->irqs.intx_shared)
		pci_intx(bd->pdev, 0);
	else
		disable_irq(bd->pdev->irq);
}

/* The line may be up by now: then it stays masked, and the process is told again. */
void bl_intx_unmask(struct bl_dev *bd)
{
	struct eventfd_ctx *ctx = bd->irqs.vectors[0].trigger;

	if (!atomic_xchg(&bd->irqs.masked, 0))
		return;
	if (!bd->irqs.intx_shared) {
		enable_irq(bd->pdev->irq);
	} else if (!pci_check_and_unmask_intx(bd->pdev)) {
		atomic_set(&bd->irqs.masked, 1);
		if (ctx)
			bl_eventfd_signal(ctx);
	}
}

/*
 * Silence for a reset or a suspend. MSI and MSI-X are silenced by those themselves, and
 * restored with the rest.
 */
void bl_irqs_mask(struct bl_dev *bd)
{
	if (bd->irqs.index != BARLINE_IRQ_INTX)
		return;
	bd->irqs.was_masked = atomic_read(&bd->irqs.masked);
	bl_intx_mask(bd);
}

/* What was pending went with the reset, so a line that was masked because of it is not any more. */
void bl_irqs_rearm(struct bl_dev *bd)
{
	if (bd->irqs.index == BARLINE_IRQ_INTX && !bd->irqs.was_masked)
		bl_intx_unmask(bd);
}
