// SPDX-License-Identifier: GPL-2.0-only
/*
 * A bound function: open, close, and the steps from one state to the next.
 */
#include <linux/fs.h>
#include <linux/poll.h>

#include "internal.h"

/* Registers may be reached, or not any more. memory_lock is held for writing. */
void bl_update_live(struct bl_dev *bd)
{
	struct blp_step step;
	bool was = bd->live;

	bd->live = !blp_state_next(bd->state, BLP_EV_ACCESS, &step) && bd->decodes && bd->powered &&
		   !bd->resetting;
	/* Also on the way back: what stands in for registers must make room for them. */
	if (was != bd->live)
		bl_zap(bd);
}

static void bl_set_master(struct bl_dev *bd)
{
	u16 command;

	pci_read_config_word(bd->pdev, PCI_COMMAND, &command);
	pci_write_config_word(bd->pdev, PCI_COMMAND, command | PCI_COMMAND_MASTER);
}

static int bl_reset_step(struct bl_dev *bd)
{
	int err = bl_reset_function(bd);

	bd->unclean = err;
	/* One that worked also ends what an error had begun. */
	if (!err)
		bd->resetting = false;
	bd->decodes = true;
	bd->powered = true;
	return err;
}

/*
 * The order is the policy's, from the lowest bit up: the CPU lets go of the device, then the
 * device of memory, and only when all that was on its way has arrived do its address space and
 * its pages go (R12). memory_lock is held.
 */
static int bl_do(struct bl_dev *bd, u32 todo)
{
	int err = 0;

	if (todo & BLP_DO_ZAP) {
		bd->live = false;
		bl_zap(bd);
	}
	if (todo & (BLP_DO_MASTER_OFF | BLP_DO_IRQS_OFF) && !bd->powered)
		bl_config_power_up(bd);
	if (todo & BLP_DO_MASTER_OFF)
		pci_clear_master(bd->pdev);
	if (todo & BLP_DO_DRAIN)
		pci_wait_for_pending_transaction(bd->pdev);
	if (todo & BLP_DO_IRQS_MASK)
		bl_irqs_mask(bd);
	if (todo & BLP_DO_IRQS_OFF)
		bl_irqs_off(bd);
	if (todo & BLP_DO_RESET)
		err = bl_reset_step(bd);
	if (todo & BLP_DO_IRQS_REARM)
		bl_irqs_rearm(bd);
	if (todo & BLP_DO_MASTER_ON)
		bl_set_master(bd);
	return err;
}

/* The function was reset by somebody else, and not restored. DMA is off in what is written back. */
void bl_slot_restore(struct bl_dev *bd)
{
	down_write(&bd->memory_lock);
	bl_restore(bd);
	bd->decodes = true;
	bd->powered = true;
	up_write(&bd->memory_lock);
	bl_event(bd, BLP_EV_MASTER_OFF, NULL);
}

/*
 * Takes the step that an event asks for, or says why not. bl_dev.lock is held; for a reset,
 * device_lock() too.
 */
int bl_event(struct bl_dev *bd, u32 event, struct bl_ioas *ioas)
{
	struct blp_step step;
	int err;

	lockdep_assert_held(&bd->lock);
	err = blp_state_next(bd->state, event, &step);
	if (err)
		return err;
	if (step.todo & BLP_DO_VERIFY)
		err = bl_verify(bd);
	if (!err && step.todo & BLP_DO_ATTACH)
		err = bl_group_attach(bd, ioas);
	if (err)
		return err;
	down_write(&bd->memory_lock);
	err = bl_do(bd, step.todo);
	WRITE_ONCE(bd->state, step.state);
	bl_update_live(bd);
	up_write(&bd->memory_lock);
	if (step.todo & BLP_DO_DETACH)
		bl_group_detach(bd);
	return err;
}

/* Whether an event were legal now. */
int bl_event_check(struct bl_dev *bd, u32 event)
{
	struct blp_step step;

	lockdep_assert_held(&bd->lock);
	return blp_state_next(bd->state, event, &step);
}

/*
 * Takes bl_dev.lock, and device_lock() before it, for what resets. While remove() runs, it has
 * device_lock() and waits for the process; it touches the device only after it has got
 * bl_dev.lock. So the process may go on under that one alone: it could not give the device back
 * otherwise. Returns whether device_lock() was taken.
 */
static bool bl_lock(struct bl_dev *bd)
{
	bool locked;

	for (;;) {
		locked = device_trylock(&bd->pdev->dev);
		if (locked || READ_ONCE(bd->removing))
			break;
		wait_event_timeout(bd->wait, READ_ONCE(bd->removing), 1);
	}
	mutex_lock(&bd->lock);
	return locked;
}

/*
 * The address space that the device has left; its reference is the caller's, to put outside of
 * bl_dev.lock.
 */
struct bl_ioas *bl_part(struct bl_dev *bd)
{
	struct bl_ioas *ioas = bd->parting;

	lockdep_assert_held(&bd->lock);
	bd->parting = NULL;
	return ioas;
}

static void bl_unlock(struct bl_dev *bd, bool locked)
{
	struct bl_ioas *ioas = bl_part(bd);

	mutex_unlock(&bd->lock);
	if (locked)
		device_unlock(&bd->pdev->dev);
	bl_ioas_put(ioas);
}

/* An event of a process that resets the device. */
int bl_event_locked(struct bl_dev *bd, u32 event)
{
	bool locked = bl_lock(bd);
	int err = bl_event(bd, event, NULL);

	bl_unlock(bd, locked);
	return err;
}

static int bl_bars_mask(struct bl_dev *bd)
{
	int bars = pci_select_bars(bd->pdev, IORESOURCE_MEM | IORESOURCE_IO);

	return bars & GENMASK(PCI_STD_NUM_BARS - 1, 0);
}

/*
 * What other drivers may want once this one is gone: also while a process still holds the fd of
 * a revoked device.
 */
void bl_drop_hardware(struct bl_dev *bd)
{
	down_write(&bd->memory_lock);
	bl_bars_unmap(bd);
	up_write(&bd->memory_lock);
	if (bd->regions)
		pci_release_selected_regions(bd->pdev, bl_bars_mask(bd));
	bd->regions = false;
}

/* What was allocated for the process. */
static void bl_drop_memory(struct bl_dev *bd)
{
	bl_events_off(bd);
	bl_config_free(bd);
	if (bd->ones)
		__free_page(bd->ones);
	bd->ones = NULL;
	bd->pm_event = BARLINE_PM_NONE;
	bd->pm_told = false;
}

static int bl_open_locked(struct bl_dev *bd)
{
	int err;

	if (bd->removing || bd->state == BLP_REVOKED)
		return -ENODEV;
	if (bd->state != BLP_BOUND)
		return -EBUSY;
	err = bl_fail("open: regions") ? -EBUSY :
	      pci_request_selected_regions(bd->pdev, bl_bars_mask(bd), "barline");
	if (err)
		return err;
	bd->regions = true;
	bd->decodes = true;
	err = bl_event(bd, BLP_EV_OPEN, NULL);
	if (err)
		goto err_regions;
	err = bl_config_init(bd);
	if (err)
		goto err_close;
	return 0;

err_close:
	bl_event(bd, BLP_EV_CLOSE, NULL);
err_regions:
	bl_drop_hardware(bd);
	return err;
}

static int bl_dev_open(struct inode *inode, struct file *file)
{
	/* The node's reference keeps it alive, also if remove() runs now (R10). */
	struct bl_dev *bd = container_of(inode->i_cdev, struct bl_dev, cdev);
	bool locked = bl_lock(bd);
	int err = bl_open_locked(bd);

	if (!err) {
		get_device(&bd->dev);
		bd->opened = true;
		file->private_data = bd;
		file->f_mapping = bd->inode->i_mapping;
	}
	bl_unlock(bd, locked);
	return err;
}

/* After the last close() and the last munmap(). */
static int bl_dev_release(struct inode *inode, struct file *file)
{
	struct bl_dev *bd = file->private_data;
	bool locked = bl_lock(bd);

	/* Revoked: then there is nothing left to do to the hardware. */
	bl_event(bd, BLP_EV_CLOSE, NULL);
	bl_drop_hardware(bd);
	bl_drop_memory(bd);
	WRITE_ONCE(bd->opened, false);
	bl_unlock(bd, locked);
	wake_up_all(&bd->wait);
	put_device(&bd->dev);
	return 0;
}

static __poll_t bl_dev_poll(struct file *file, poll_table *table)
{
	struct bl_dev *bd = file->private_data;

	poll_wait(file, &bd->wait, table);
	return READ_ONCE(bd->state) == BLP_REVOKED ? EPOLLHUP | EPOLLERR : 0;
}

const struct file_operations bl_dev_fops = {
	.owner = THIS_MODULE,
	.open = bl_dev_open,
	.release = bl_dev_release,
	.read = bl_dev_read,
	.write = bl_dev_write,
	.mmap = bl_dev_mmap,
	.poll = bl_dev_poll,
	.unlocked_ioctl = bl_dev_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};
