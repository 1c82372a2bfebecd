// SPDX-License-Identifier: GPL-2.0-only
/*
 * The calls of a device's file.
 */
#include <linux/fs.h>

#include "internal.h"

/*
 * Reads a structure whose first field is its size: longer ones may only have zeros behind what is
 * known here (E2BIG), shorter ones than the first version make no sense. All structures are at
 * their first version.
 */
int bl_copy_in(void *to, size_t size, const void __user *from)
{
	u32 argsz;

	if (get_user(argsz, (const u32 __user *)from))
		return -EFAULT;
	if (argsz < size)
		return -EINVAL;
	/* copy_struct_from_user() scans the rest: not without end. */
	if (argsz > PAGE_SIZE)
		return -E2BIG;
	return bl_fail("ioctl: copy in") ? -EFAULT : copy_struct_from_user(to, size, from, argsz);
}

int bl_copy_out(void __user *to, void *from, size_t size)
{
	*(u32 *)from = size;
	return bl_fail("ioctl: copy out") || copy_to_user(to, from, size) ? -EFAULT : 0;
}

static int bl_info(struct bl_dev *bd, void __user *uarg)
{
	struct pci_dev *pdev = bd->pdev;
	struct barline_dev_info info;
	int err = bl_copy_in(&info, sizeof(info), uarg);

	if (err)
		return err;
	if (info.flags || info.__reserved)
		return -EINVAL;
	memset(&info, 0, sizeof(info));
	if (pci_is_pcie(pdev))
		info.flags |= BARLINE_DEV_PCIE;
	if (bd->isolated)
		info.flags |= BARLINE_DEV_MSI_ISOLATED;
	if (bd->resettable)
		info.flags |= BARLINE_DEV_RESETTABLE;
	info.regions = BARLINE_REGION_COUNT;
	info.irqs = BARLINE_IRQ_COUNT;
	info.vendor = pdev->vendor;
	info.device = pdev->device;
	info.subsystem_vendor = pdev->subsystem_vendor;
	info.subsystem_device = pdev->subsystem_device;
	info.domain = pci_domain_nr(pdev->bus);
	info.bus = pdev->bus->number;
	info.devfn = pdev->devfn;
	info.group = iommu_group_id(bd->group);
	info.numa_node = dev_to_node(&pdev->dev);
	info.reset_methods = bd->reset_methods;
	info.state = bd->state;
	info.pm_event = bd->pm_event;
	info.abi = BARLINE_ABI;
	return bl_copy_out(uarg, &info, sizeof(info));
}

static void bl_region_bar(struct bl_dev *bd, struct barline_region_info *info)
{
	u32 bar = info->index;
	unsigned long kind = pci_resource_flags(bd->pdev, bar);
	struct blp_area areas[BLP_AREAS];
	u32 nr;

	info->size = bl_bar_size(bd, bar);
	if (!info->size)
		return;
	info->flags = BARLINE_REGION_READ | BARLINE_REGION_WRITE;
	if (kind & IORESOURCE_IO)
		info->flags |= BARLINE_REGION_IO;
	if (blp_msix_touches(&bd->msix, bar, 0, info->size))
		info->flags |= BARLINE_REGION_MSIX;
	nr = bl_bar_areas(bd, bar, areas);
	if (!nr)
		return;
	info->flags |= BARLINE_REGION_MMAP;
	if (nr > 1 || areas[0].size != info->size)
		info->flags |= BARLINE_REGION_AREAS;
}

/* As many areas as there is room for; the number there is. */
static int bl_copy_areas(struct bl_dev *bd, struct barline_region_info *info, u32 room)
{
	struct blp_area areas[BLP_AREAS];

	info->nr_areas = 0;
	if (!(info->flags & BARLINE_REGION_AREAS))
		return 0;
	info->nr_areas = bl_bar_areas(bd, info->index, areas);
	static_assert(sizeof(areas[0]) == sizeof(struct barline_area));
	if (copy_to_user(u64_to_user_ptr(info->areas_ptr), areas,
			 min(room, info->nr_areas) * sizeof(areas[0])))
		return -EFAULT;
	return 0;
}

static int bl_region_info(struct bl_dev *bd, void __user *uarg)
{
	struct barline_region_info info;
	int err = bl_copy_in(&info, sizeof(info), uarg);

	if (err)
		return err;
	if (info.flags || info.__reserved || info.index >= BARLINE_REGION_COUNT)
		return -EINVAL;
	info.offset = BARLINE_REGION_OFFSET(info.index);
	info.size = 0;
	switch (info.index) {
	case BARLINE_REGION_CONFIG:
		info.size = bd->pdev->cfg_size;
		info.flags = BARLINE_REGION_READ | BARLINE_REGION_WRITE;
		break;
	case BARLINE_REGION_ROM:
		info.size = bl_bar_size(bd, PCI_ROM_RESOURCE);
		info.flags = info.size ? BARLINE_REGION_READ : 0;
		break;
	default:
		bl_region_bar(bd, &info);
	}
	err = bl_copy_areas(bd, &info, info.nr_areas);
	return err ?: bl_copy_out(uarg, &info, sizeof(info));
}

static int bl_irq_info(struct bl_dev *bd, void __user *uarg)
{
	struct barline_irq_info info;
	int err = bl_copy_in(&info, sizeof(info), uarg);

	if (err)
		return err;
	if (info.flags || info.index >= BARLINE_IRQ_COUNT)
		return -EINVAL;
	info.count = bl_irq_count(bd, info.index);
	info.flags = BARLINE_IRQ_EVENTFD;
	if (info.index == BARLINE_IRQ_INTX)
		info.flags |= BARLINE_IRQ_MASKABLE | BARLINE_IRQ_AUTOMASKED;
	return bl_copy_out(uarg, &info, sizeof(info));
}

static int bl_set_irqs(struct bl_dev *bd, void __user *uarg)
{
	struct barline_set_irqs arg;
	int err = bl_copy_in(&arg, sizeof(arg), uarg);

	if (err)
		return err;
	if (arg.__pad)
		return -EINVAL;
	return bl_irqs_set(bd, &arg);
}

static int bl_attach(struct bl_dev *bd, void __user *uarg)
{
	struct barline_attach arg;
	struct bl_ioas *ioas;
	int err = bl_copy_in(&arg, sizeof(arg), uarg);

	if (err)
		return err;
	if (arg.flags || arg.__pad)
		return -EINVAL;
	ioas = bl_ioas_get_fd(arg.ioas_fd);
	if (IS_ERR(ioas))
		return PTR_ERR(ioas);
	mutex_lock(&bd->lock);
	err = bl_event(bd, BLP_EV_ATTACH, ioas);
	/* The policy for no-snoop depends on the address space. Nothing could be written before. */
	if (!err)
		bl_config_attached(bd);
	mutex_unlock(&bd->lock);
	bl_ioas_put(ioas);
	return err;
}

static int bl_simple(struct bl_dev *bd, void __user *uarg, u32 event)
{
	struct barline_simple arg;
	int err = bl_copy_in(&arg, sizeof(arg), uarg);

	if (err)
		return err;
	return arg.flags ? -EINVAL : bl_event_locked(bd, event);
}

static int bl_bus_master(struct bl_dev *bd, void __user *uarg)
{
	struct barline_bus_master arg;
	int err = bl_copy_in(&arg, sizeof(arg), uarg);

	if (err)
		return err;
	if (arg.flags || arg.__pad || arg.on > 1)
		return -EINVAL;
	mutex_lock(&bd->lock);
	err = bl_event(bd, arg.on ? BLP_EV_MASTER_ON : BLP_EV_MASTER_OFF, NULL);
	mutex_unlock(&bd->lock);
	return err;
}

static int bl_ack(struct bl_dev *bd, void __user *uarg)
{
	struct barline_pm_ack arg;
	int err = bl_copy_in(&arg, sizeof(arg), uarg);

	if (err)
		return err;
	if (arg.flags || arg.__pad)
		return -EINVAL;
	mutex_lock(&bd->lock);
	err = bl_pm_ack(bd, arg.event);
	mutex_unlock(&bd->lock);
	return err;
}

static int bl_policy(struct bl_dev *bd, void __user *uarg)
{
	struct barline_cfg_policy arg;
	int err = bl_copy_in(&arg, sizeof(arg), uarg);

	if (err)
		return err;
	if (arg.flags || arg.__pad)
		return -EINVAL;
	err = bl_config_policy(bd, &arg);
	return err ?: bl_copy_out(uarg, &arg, sizeof(arg));
}

long bl_dev_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct bl_dev *bd = file->private_data;
	void __user *uarg = (void __user *)arg;

	if (READ_ONCE(bd->state) == BLP_REVOKED)
		return -ENODEV;
	switch (cmd) {
	case BARLINE_DEV_INFO:
		return bl_info(bd, uarg);
	case BARLINE_DEV_REGION_INFO:
		return bl_region_info(bd, uarg);
	case BARLINE_DEV_IRQ_INFO:
		return bl_irq_info(bd, uarg);
	case BARLINE_DEV_SET_IRQS:
		return bl_set_irqs(bd, uarg);
	case BARLINE_DEV_ATTACH:
		return bl_attach(bd, uarg);
	case BARLINE_DEV_DETACH:
		return bl_simple(bd, uarg, BLP_EV_DETACH);
	case BARLINE_DEV_RESET:
		return bl_simple(bd, uarg, BLP_EV_RESET);
	case BARLINE_DEV_BUS_MASTER:
		return bl_bus_master(bd, uarg);
	case BARLINE_DEV_PM_ACK:
		return bl_ack(bd, uarg);
	case BARLINE_DEV_CFG_POLICY:
		return bl_policy(bd, uarg);
	default:
		return -ENOTTY;
	}
}
