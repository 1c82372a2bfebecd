// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which functions are taken, and how they are given back.
 */
#include <linux/module.h>

#include "internal.h"

static void bl_dev_free(struct device *dev)
{
	struct bl_dev *bd = container_of(dev, struct bl_dev, dev);

	/* Whoever had it mapped has closed it. */
	bl_inode_free(bd->inode);
	bl_minor_put(dev->devt);
	kfree(bd->saved);
	iommu_group_put(bd->group);
	pci_dev_put(bd->pdev);
	mutex_destroy(&bd->lock);
	kfree(bd);
}

/* One line that says why, and the error of a driver that does not take a device. */
#define bl_refuse(pdev, why) ({ pci_err(pdev, "not taken: %s\n", why); -ENODEV; })

static int bl_check_iommu(struct bl_dev *bd)
{
	struct pci_dev *pdev = bd->pdev;

	bd->group = bl_fail("bind: group") ? NULL : iommu_group_get(&pdev->dev);
	if (!bd->group)
		return bl_refuse(pdev, "it is behind no IOMMU (intel_iommu=on)");
	if (!device_iommu_capable(&pdev->dev, IOMMU_CAP_CACHE_COHERENCY))
		return bl_refuse(pdev, "its DMA is not coherent with the caches");
	bd->isolated = bl_msi_isolated(&pdev->dev, bd->group);
	if (!bd->isolated && !bl_allow_unsafe_interrupts)
		return bl_refuse(pdev, "interrupts are not remapped (allow_unsafe_interrupts=1)");
	if (!bd->isolated)
		pci_warn(pdev, "interrupts are not remapped: it can raise any interrupt\n");
	return 0;
}

static int bl_check_kind(struct pci_dev *pdev)
{
	if (pdev->hdr_type != PCI_HEADER_TYPE_NORMAL)
		return bl_refuse(pdev, "it is a bridge");
	if (pci_num_vf(pdev))
		return bl_refuse(pdev, "it has virtual functions");
	return 0;
}

static u32 bl_count_reset_methods(struct pci_dev *pdev)
{
	u32 n = 0;

	while (n < ARRAY_SIZE(pdev->reset_methods) && pdev->reset_methods[n])
		n++;
	return n;
}

/* Whether there is a way to reset the function that is taken, see bl_in_slot(). */
static bool bl_can_reset(struct bl_dev *bd)
{
	if (!bd->reset_methods)
		return false;
	return !bl_in_slot(bd->pdev) || !pcie_reset_flr(bd->pdev, PCI_RESET_PROBE);
}

/*
 * A trial reset: that it can be done at close is known before anybody opens the device. What is
 * saved then is what a bound device always goes back to: quiet, its interrupt line masked.
 */
static int bl_first_reset(struct bl_dev *bd)
{
	struct pci_dev *pdev = bd->pdev;
	int err = -ENOTTY;

	pci_clear_master(pdev);
	bd->irqs.intx_shared = pci_intx_mask_supported(pdev);
	if (bd->irqs.intx_shared)
		pci_intx(pdev, 0);
	/*
	 * On by default in devices; the policy lets a process set it where the IOMMU snoops
	 * anyway.
	 */
	pcie_capability_clear_word(pdev, PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_NOSNOOP_EN);
	pci_save_state(pdev);
	bd->saved = bl_fail("bind: save") ? NULL : pci_store_saved_state(pdev);
	if (!bd->saved)
		return -ENOMEM;
	bd->reset_methods = bl_count_reset_methods(pdev);
	bd->resettable = bl_can_reset(bd);
	if (bd->resettable)
		err = bl_fail("bind: reset") ? -ENOTTY : bl_reset_function(bd);
	if (!err)
		return 0;
	bd->resettable = false;
	if (!bl_allow_noreset && bl_in_slot(pdev))
		return bl_refuse(pdev, "it cannot be reset without its slot (allow_noreset=1)");
	if (!bl_allow_noreset)
		return bl_refuse(pdev, "it cannot be reset (allow_noreset=1)");
	pci_warn(pdev, "it cannot be reset: it keeps state from one process to the next\n");
	return 0;
}

static int bl_read_msix(struct bl_dev *bd)
{
	struct pci_dev *pdev = bd->pdev;
	u64 len[BLP_BARS];
	u32 table, pba, i;
	u16 flags;

	if (!pdev->msix_cap)
		return 0;
	for (i = 0; i < BLP_BARS; i++)
		len[i] = bl_bar_size(bd, i);
	pci_read_config_word(pdev, pdev->msix_cap + PCI_MSIX_FLAGS, &flags);
	pci_read_config_dword(pdev, pdev->msix_cap + PCI_MSIX_TABLE, &table);
	pci_read_config_dword(pdev, pdev->msix_cap + PCI_MSIX_PBA, &pba);
	if (blp_msix_geometry(flags, table, pba, len, &bd->msix))
		return bl_refuse(pdev, "its MSI-X table is outside of its BARs");
	return 0;
}

static void bl_dev_init(struct bl_dev *bd, struct pci_dev *pdev)
{
	device_initialize(&bd->dev);
	bd->dev.class = &bl_class;
	bd->dev.parent = &pdev->dev;
	bd->dev.release = bl_dev_free;
	bd->pdev = pci_dev_get(pdev);
	mutex_init(&bd->lock);
	init_rwsem(&bd->memory_lock);
	init_waitqueue_head(&bd->wait);
	INIT_LIST_HEAD(&bd->link);
	bd->state = BLP_BOUND;
	bd->powered = true;
	bl_irqs_init(bd);
}

static struct bl_dev *bl_dev_new(struct pci_dev *pdev)
{
	struct bl_dev *bd = bl_fail("bind: device") ? NULL : kzalloc(sizeof(*bd), GFP_KERNEL);
	int err;

	if (!bd)
		return ERR_PTR(-ENOMEM);
	bd->inode = bl_inode_new();
	if (IS_ERR(bd->inode)) {
		err = PTR_ERR(bd->inode);
		goto err_free;
	}
	err = bl_minor_get(&bd->dev.devt);
	if (err)
		goto err_inode;
	bl_dev_init(bd, pdev);
	/* From here on, put_device() frees. */
	err = bl_fail("bind: name") ? -ENOMEM : dev_set_name(&bd->dev, "%s", pci_name(pdev));
	if (err) {
		put_device(&bd->dev);
		return ERR_PTR(err);
	}
	return bd;

err_inode:
	bl_inode_free(bd->inode);
err_free:
	kfree(bd);
	return ERR_PTR(err);
}

/* The device as it should stay while bound; undone by pci_disable_device(). */
static int bl_prepare(struct bl_dev *bd)
{
	int err;

	err = bl_check_iommu(bd);
	if (err)
		return err;
	err = bl_fail("bind: enable") ? -ENOMEM : pci_enable_device(bd->pdev);
	if (err)
		return err;
	err = bl_first_reset(bd);
	pci_read_config_word(bd->pdev, PCI_COMMAND, &bd->command);
	if (!err)
		err = bl_read_msix(bd);
	if (err)
		pci_disable_device(bd->pdev);
	return err;
}

static int bl_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct bl_dev *bd;
	int err;

	err = bl_check_kind(pdev);
	if (err)
		return err;
	bd = bl_dev_new(pdev);
	if (IS_ERR(bd))
		return PTR_ERR(bd);
	err = bl_prepare(bd);
	if (err)
		goto err_put;
	pci_set_drvdata(pdev, bd);
	mutex_lock(&bl_devs_lock);
	list_add_tail(&bd->link, &bl_devs);
	mutex_unlock(&bl_devs_lock);
	cdev_init(&bd->cdev, &bl_dev_fops);
	bd->cdev.owner = THIS_MODULE;
	/* Last: the node's event goes out when all of it works. */
	err = bl_fail("bind: node") ? -ENOMEM : cdev_device_add(&bd->cdev, &bd->dev);
	if (err)
		goto err_list;
	return 0;

err_list:
	mutex_lock(&bl_devs_lock);
	list_del_init(&bd->link);
	mutex_unlock(&bl_devs_lock);
	pci_set_drvdata(pdev, NULL);
	pci_disable_device(pdev);
err_put:
	put_device(&bd->dev);
	return err;
}

/* Asks the process for the device, and waits for as long as the grace says: then it is taken. */
static void bl_ask_back(struct bl_dev *bd)
{
	unsigned int grace = pci_device_is_present(bd->pdev) ? READ_ONCE(bl_unplug_grace_ms) : 0;

	bl_event_signal(bd, BARLINE_IRQ_REQ);
	if (!wait_event_timeout(bd->wait, !READ_ONCE(bd->opened), msecs_to_jiffies(grace)))
		pci_info(bd->pdev, "the process did not give it back in %u ms: revoked\n", grace);
}

static void bl_remove(struct pci_dev *pdev)
{
	struct bl_dev *bd = pci_get_drvdata(pdev);
	struct bl_ioas *ioas;

	mutex_lock(&bl_devs_lock);
	list_del_init(&bd->link);
	mutex_unlock(&bl_devs_lock);
	mutex_lock(&bd->lock);
	WRITE_ONCE(bd->removing, true);
	mutex_unlock(&bd->lock);
	wake_up_all(&bd->wait);
	/* The node goes first, so that nobody opens it any more. */
	cdev_device_del(&bd->cdev, &bd->dev);
	bl_ask_back(bd);
	mutex_lock(&bd->lock);
	bl_event(bd, BLP_EV_REVOKE, NULL);
	bl_drop_hardware(bd);
	ioas = bl_part(bd);
	mutex_unlock(&bd->lock);
	bl_ioas_put(ioas);
	wake_up_all(&bd->wait);
	pci_set_drvdata(pdev, NULL);
	pci_disable_device(pdev);
	put_device(&bd->dev);
}

struct pci_driver bl_driver = {
	.name = "barline",
	.id_table = NULL,	/* driver_override or new_id: it never takes a device by itself */
	.probe = bl_probe,
	.remove = bl_remove,
	.err_handler = &bl_err_handlers,
	.driver.pm = &bl_pm_ops,
	.driver_managed_dma = true,	/* the group's owner is claimed at attach */
};
