// SPDX-License-Identifier: GPL-2.0-only
/*
 * Read() and write(): the slow way to registers, and the only one to I/O ports, the ROM
 * and configuration space.
 */
#include <linux/fs.h>
#include <linux/io.h>

#include "internal.h"

/* One access: what it goes to, and how wide it is. */
struct bl_access {
	void __iomem *base;
	u64 offset;
	u32 width;
	bool ports;
};

static u64 bl_io_read(const struct bl_access *access)
{
	void __iomem *at = access->base + access->offset;

	switch (access->width) {
	case sizeof(u8):
		return ioread8(at);
	case sizeof(u16):
		return ioread16(at);
#ifdef CONFIG_64BIT
	case sizeof(u64):
		return readq(at);
#endif
	default:
		return ioread32(at);
	}
}

static void bl_io_write(const struct bl_access *access, u64 value)
{
	void __iomem *at = access->base + access->offset;

	switch (access->width) {
	case sizeof(u8):
		iowrite8(value, at);
		return;
	case sizeof(u16):
		iowrite16(value, at);
		return;
#ifdef CONFIG_64BIT
	case sizeof(u64):
		writeq(value, at);
		return;
#endif
	default:
		iowrite32(value, at);
	}
}

/* Ports have no 64-bit access, nor have ROMs. */
static u32 bl_widest(u32 region, bool ports)
{
	return ports || region == BARLINE_REGION_ROM ? sizeof(u32) : sizeof(unsigned long);
}

void bl_bars_unmap(struct bl_dev *bd)
{
	u32 i;

	for (i = 0; i < PCI_STD_NUM_BARS; i++) {
		if (bd->bar[i])
			pci_iounmap(bd->pdev, bd->bar[i]);
		bd->bar[i] = NULL;
	}
}

/* Maps a BAR for the kernel, once. */
static int bl_bar_map(struct bl_dev *bd, u32 bar)
{
	if (bd->bar[bar])
		return 0;
	bd->bar[bar] = bl_fail("rdwr: iomap") ? NULL : pci_iomap(bd->pdev, bar, 0);
	return bd->bar[bar] ? 0 : -ENOMEM;
}

static int bl_bar_prepare(struct bl_dev *bd, u32 region)
{
	int err;

	mutex_lock(&bd->lock);
	err = bl_event_check(bd, BLP_EV_ACCESS);
	if (!err && region < PCI_STD_NUM_BARS)
		err = bl_bar_map(bd, region);
	mutex_unlock(&bd->lock);
	return err;
}

/* One access to a BAR, if it may be reached now. @write: from @value, else to it. */
static int bl_bar_access(struct bl_dev *bd, u32 bar, struct bl_access *access, u64 *value,
			 bool write)
{
	int err = 0;

	down_read(&bd->memory_lock);
	access->base = bd->bar[bar];
	if (!bd->live || !access->base)
		err = bd->state == BLP_REVOKED ? -ENODEV : -EIO;
	else if (write)
		bl_io_write(access, *value);
	else
		*value = bl_io_read(access);
	up_read(&bd->memory_lock);
	return err;
}

/* The ROM shares its decoder with a BAR in some devices: it is mapped for one access only. */
static int bl_rom_access(struct bl_dev *bd, struct bl_access *access, u64 *value)
{
	size_t size;
	int err = 0;

	down_write(&bd->memory_lock);
	access->base = bd->live ? pci_map_rom(bd->pdev, &size) : NULL;
	if (!access->base)
		err = -EIO;
	else
		/* The part behind the image reads as an absent device does. */
		*value = access->offset + access->width <= size ? bl_io_read(access) : U64_MAX;
	if (access->base)
		pci_unmap_rom(bd->pdev, access->base);
	up_write(&bd->memory_lock);
	return err;
}

static int bl_access_one(struct bl_dev *bd, u32 region, struct bl_access *access, u64 *value,
			 bool write)
{
	if (region == BARLINE_REGION_ROM)
		return bl_rom_access(bd, access, value);
	return bl_bar_access(bd, region, access, value, write);
}

/*
 * Whether a write is one of vectors: where interrupts are not remapped, they name any interrupt
 * of the machine (R17).
 */
static bool bl_vectors_touched(struct bl_dev *bd, u32 region, u64 offset, size_t count)
{
	return !bd->isolated && blp_msix_touches(&bd->msix, region, offset, count);
}

static ssize_t bl_region_rw(struct bl_dev *bd, u32 region, char __user *buf, size_t count,
			    u64 offset, bool write)
{
	bool ports = pci_resource_flags(bd->pdev, region) & IORESOURCE_IO;
	u64 size = bl_bar_size(bd, region);
	struct bl_access access;
	size_t done;
	u64 value;
	int err;

	if (!size || (write && region == BARLINE_REGION_ROM))
		return -EINVAL;
	if (offset >= size)
		return write ? -EINVAL : 0;
	count = min_t(u64, count, size - offset);
	if (write && bl_vectors_touched(bd, region, offset, count))
		return -EPERM;
	err = bl_bar_prepare(bd, region);
	for (done = 0; !err && done < count; done += access.width) {
		access.offset = offset + done;
		access.width = blp_access_width(access.offset, count - done,
						bl_widest(region, ports));
		value = 0;
		/* The process's memory is touched without a lock: it may be this very region. */
		if (write && copy_from_user(&value, buf + done, access.width))
			err = -EFAULT;
		if (!err)
			err = bl_access_one(bd, region, &access, &value, write);
		if (!err && !write && copy_to_user(buf + done, &value, access.width))
			err = -EFAULT;
		if (err)
			break;
		cond_resched();
	}
	return done ?: err;
}

static ssize_t bl_dev_rw(struct bl_dev *bd, char __user *buf, size_t count, loff_t *ppos,
			 bool write)
{
	u64 region = (u64)*ppos >> BARLINE_REGION_SHIFT;
	u64 offset = *ppos & (BARLINE_REGION_OFFSET(1) - 1);
	ssize_t done;

	if (READ_ONCE(bd->state) == BLP_REVOKED)
		return -ENODEV;
	if (region >= BARLINE_REGION_COUNT)
		return -EINVAL;
	if (!count)
		return 0;
	if (region != BARLINE_REGION_CONFIG)
		done = bl_region_rw(bd, region, buf, count, offset, write);
	else if (write)
		done = bl_config_write(bd, buf, count, offset);
	else
		done = bl_config_read(bd, buf, count, offset);
	if (done > 0)
		*ppos += done;
	return done;
}

ssize_t bl_dev_read(struct file *file, char __user *buf, size_t count, loff_t *ppos)
{
	return bl_dev_rw(file->private_data, buf, count, ppos, false);
}

ssize_t bl_dev_write(struct file *file, const char __user *buf, size_t count, loff_t *ppos)
{
	return bl_dev_rw(file->private_data, (char __user *)buf, count, ppos, true);
}
