// SPDX-License-Identifier: GPL-2.0-only
/*
 * How a function is reset, and what it is like afterwards.
 */
#include "internal.h"

/* Writes back what was saved at probe. MSI and MSI-X follow the kernel's own state. */
void bl_restore(struct bl_dev *bd)
{
	if (pci_load_saved_state(bd->pdev, bd->saved))
		pci_err(bd->pdev, "its saved configuration does not fit\n");
	else
		pci_restore_state(bd->pdev);
}

/*
 * Whether the core may reset a function through a hot-plug slot, which takes the slot's reset_lock:
 * then it is reset by itself (FLR) or not at all. Who holds reset_lock may be waiting for whoever
 * removes the function, so who resets it must not wait for reset_lock: neither remove(), nor a
 * process under the locks that remove() wants.
 */
bool bl_in_slot(struct pci_dev *pdev)
{
	const struct pci_slot *slot = pdev->slot;

	return slot && slot->hotplug && slot->hotplug->ops->reset_slot;
}

static int bl_reset_hardware(struct bl_dev *bd)
{
	struct pci_dev *pdev = bd->pdev;

	if (!bd->resettable || bl_fail("reset"))
		return -ENOTTY;
	if (bl_in_slot(pdev))
		return pcie_reset_flr(pdev, PCI_RESET_DO_RESET);
	return __pci_reset_function_locked(pdev);
}

/*
 * Resets and restores. device_lock() is held: by the caller, or by remove() for it, see bl_lock().
 * A reset through the bus wants the bridge's configuration left alone too. That lock is taken
 * before a device's elsewhere, so it is only tried here: who has it is resetting the bus.
 */
int bl_reset_function(struct bl_dev *bd)
{
	struct pci_dev *pdev = bd->pdev;
	struct pci_dev *bridge = pci_upstream_bridge(pdev);
	int err;

	if (!pci_device_is_present(pdev))
		return -ENODEV;
	if (bridge && !pci_cfg_access_trylock(bridge))
		bridge = NULL;
	pci_cfg_access_lock(pdev);
	/* A reset through the power states works from D0 only. */
	pci_set_power_state(pdev, PCI_D0);
	err = bl_reset_hardware(bd);
	bl_restore(bd);
	pci_cfg_access_unlock(pdev);
	if (bridge)
		pci_cfg_access_unlock(bridge);
	return err;
}

/*
 * Whether a closed device is as it was left (R11): it cannot be otherwise, unless the machine has
 * meddled with it. The BARs stand for all that a reset clears.
 */
static bool bl_is_at_rest(struct bl_dev *bd)
{
	struct pci_dev *pdev = bd->pdev;
	u16 command, flags = 0;
	u32 i, bar;

	pci_read_config_word(pdev, PCI_COMMAND, &command);
	if (pdev->msix_cap)
		pci_read_config_word(pdev, pdev->msix_cap + PCI_MSIX_FLAGS, &flags);
	if (command != bd->command || flags & PCI_MSIX_FLAGS_ENABLE || pdev->msi_enabled)
		return false;
	for (i = 0; i < PCI_STD_NUM_BARS; i++) {
		if (!(pci_resource_flags(pdev, i) & IORESOURCE_MEM))
			continue;
		pci_read_config_dword(pdev, PCI_BASE_ADDRESS_0 + i * sizeof(bar), &bar);
		if (((bar ^ pci_bus_address(pdev, i)) & (u32)PCI_BASE_ADDRESS_MEM_MASK) != 0)
			return false;
	}
	return true;
}

/* Before an open: clean as it was left, or reset again. */
int bl_verify(struct bl_dev *bd)
{
	int err;

	if (bl_is_at_rest(bd) && !bd->unclean && !READ_ONCE(bl_reset_on_open))
		return 0;
	err = bl_reset_function(bd);
	bd->unclean = err;
	return bd->resettable ? err : 0;
}
