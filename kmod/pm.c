// SPDX-License-Identifier: GPL-2.0-only
/*
 * What happens to the device as a whole: suspend and resume, errors, resets by somebody
 * else.
 *
 * The process is told of a suspend while it can still run, by the notifier: when .suspend is
 * called it is frozen.
 */
#include <linux/jiffies.h>
#include <linux/notifier.h>
#include <linux/suspend.h>

#include "internal.h"

static void bl_pm_tell(struct bl_dev *bd, u32 event)
{
	WRITE_ONCE(bd->pm_event, event);
	bl_event_signal(bd, BARLINE_IRQ_PM);
}

/* Announces a suspend to a process, if there is one. */
static void bl_pm_announce(struct bl_dev *bd)
{
	mutex_lock(&bd->lock);
	if (bd->opened && bd->state != BLP_REVOKED) {
		bd->pm_told = true;
		bl_pm_tell(bd, BARLINE_PM_SUSPEND);
	}
	mutex_unlock(&bd->lock);
}

/* All are told first and waited for then, so that the grace is one for all of them. */
static void bl_pm_prepare(void)
{
	unsigned long end = jiffies + msecs_to_jiffies(READ_ONCE(bl_pm_grace_ms));
	struct bl_dev *bd;

	mutex_lock(&bl_devs_lock);
	list_for_each_entry(bd, &bl_devs, link)
		bl_pm_announce(bd);
	list_for_each_entry(bd, &bl_devs, link) {
		long left = max_t(long, end - jiffies, 0);

		if (!wait_event_timeout(bd->wait,
					READ_ONCE(bd->pm_event) != BARLINE_PM_SUSPEND, left))
			pci_info(bd->pdev, "suspended without the process's word\n");
	}
	mutex_unlock(&bl_devs_lock);
}

/* A suspend that was called off before it reached the device ends here, another one in .resume. */
static void bl_pm_post(void)
{
	struct bl_dev *bd;

	mutex_lock(&bl_devs_lock);
	list_for_each_entry(bd, &bl_devs, link) {
		mutex_lock(&bd->lock);
		if (bd->pm_told)
			bl_pm_tell(bd, BARLINE_PM_RESUME);
		bd->pm_told = false;
		mutex_unlock(&bd->lock);
	}
	mutex_unlock(&bl_devs_lock);
}

static int bl_pm_notify(struct notifier_block *nb, unsigned long action, void *data)
{
	switch (action) {
	case PM_SUSPEND_PREPARE:
	case PM_HIBERNATION_PREPARE:
		bl_pm_prepare();
		break;
	case PM_POST_SUSPEND:
	case PM_POST_HIBERNATION:
		bl_pm_post();
		break;
	}
	return NOTIFY_DONE;
}

struct notifier_block bl_pm_notifier = {
	.notifier_call = bl_pm_notify,
};

/* The process has done what it had to. After a resume it gets its registers back. */
int bl_pm_ack(struct bl_dev *bd, u32 event)
{
	int err = 0;

	if (event == BARLINE_PM_NONE || event != bd->pm_event)
		return bd->state == BLP_REVOKED ? -ENODEV : -EINVAL;
	if (event == BARLINE_PM_RESUME)
		err = bl_event(bd, BLP_EV_PM_ACK, NULL);
	if (err)
		return err;
	WRITE_ONCE(bd->pm_event, BARLINE_PM_NONE);
	wake_up_all(&bd->wait);
	return 0;
}

/* Both run under device_lock(), with the process frozen. */
static int bl_pm_suspend(struct device *dev)
{
	struct bl_dev *bd = dev_get_drvdata(dev);
	int err;

	mutex_lock(&bd->lock);
	err = bl_event(bd, BLP_EV_SUSPEND, NULL);
	mutex_unlock(&bd->lock);
	return err;
}

static int bl_pm_resume(struct device *dev)
{
	struct bl_dev *bd = dev_get_drvdata(dev);

	mutex_lock(&bd->lock);
	if (bl_event(bd, BLP_EV_RESUME, NULL))
		pci_err(bd->pdev, "not reset after a resume\n");
	if (bd->pm_told)
		bl_pm_tell(bd, BARLINE_PM_RESUME);
	bd->pm_told = false;
	mutex_unlock(&bd->lock);
	return 0;
}

const struct dev_pm_ops bl_pm_ops = {
	SYSTEM_SLEEP_PM_OPS(bl_pm_suspend, bl_pm_resume)
};

/*
 * Registers may not be reached while somebody else has the device; what follows is up to the
 * process, which is told.
 */
static void bl_err_block(struct bl_dev *bd, bool block)
{
	mutex_lock(&bd->lock);
	down_write(&bd->memory_lock);
	bd->resetting = block;
	bl_update_live(bd);
	up_write(&bd->memory_lock);
	mutex_unlock(&bd->lock);
}

static pci_ers_result_t bl_error_detected(struct pci_dev *pdev, pci_channel_state_t state)
{
	struct bl_dev *bd = pci_get_drvdata(pdev);

	bl_event_signal(bd, BARLINE_IRQ_ERR);
	switch (state) {
	case pci_channel_io_normal:
		return PCI_ERS_RESULT_CAN_RECOVER;
	case pci_channel_io_frozen:
		bl_err_block(bd, true);
		return PCI_ERS_RESULT_NEED_RESET;
	default:
		bl_err_block(bd, true);
		return PCI_ERS_RESULT_DISCONNECT;
	}
}

/* The link was reset, and the function with it: what it had in registers is gone, DMA is off. */
static pci_ers_result_t bl_slot_reset(struct pci_dev *pdev)
{
	struct bl_dev *bd = pci_get_drvdata(pdev);

	mutex_lock(&bd->lock);
	bl_slot_restore(bd);
	mutex_unlock(&bd->lock);
	return PCI_ERS_RESULT_RECOVERED;
}

static void bl_error_resume(struct pci_dev *pdev)
{
	bl_err_block(pci_get_drvdata(pdev), false);
}

/* Around a reset that was asked for through sysfs, or for a sibling's sake. */
static void bl_reset_prepare(struct pci_dev *pdev)
{
	struct bl_dev *bd = pci_get_drvdata(pdev);

	bl_err_block(bd, true);
	mutex_lock(&bd->lock);
	bl_event(bd, BLP_EV_MASTER_OFF, NULL);
	mutex_unlock(&bd->lock);
}

static void bl_reset_done(struct pci_dev *pdev)
{
	struct bl_dev *bd = pci_get_drvdata(pdev);

	bl_err_block(bd, false);
	bl_event_signal(bd, BARLINE_IRQ_ERR);
}

const struct pci_error_handlers bl_err_handlers = {
	.error_detected = bl_error_detected,
	.slot_reset = bl_slot_reset,
	.resume = bl_error_resume,
	.reset_prepare = bl_reset_prepare,
	.reset_done = bl_reset_done,
};
