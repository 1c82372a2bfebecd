/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between the kernels this module is built for (6.1 to 6.12).
 *
 * The only file that looks at LINUX_VERSION_CODE.
 */
#ifndef BARLINE_COMPAT_H
#define BARLINE_COMPAT_H

#include <linux/device.h>
#include <linux/err.h>
#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/iommu.h>
#include <linux/irqdomain.h>
#include <linux/mm.h>
#include <linux/pci.h>
#include <linux/version.h>

/* 6.3: iommu_map() takes the flags of the page tables' allocation. */
static inline int bl_iommu_map(struct iommu_domain *domain, unsigned long iova, phys_addr_t paddr,
			       size_t size, int prot)
{
#if KERNEL_VERSION(6, 3, 0) <= LINUX_VERSION_CODE
	return iommu_map(domain, iova, paddr, size, prot, GFP_KERNEL_ACCOUNT);
#else
	return iommu_map(domain, iova, paddr, size, prot);
#endif
}

/* 6.11: a paging domain is allocated for a device, and an error says why. */
static inline struct iommu_domain *bl_domain_alloc(struct device *dev)
{
#if KERNEL_VERSION(6, 11, 0) <= LINUX_VERSION_CODE
	return iommu_paging_domain_alloc(dev);
#else
	return iommu_domain_alloc(dev->bus) ?: ERR_PTR(-ENOMEM);
#endif
}

/* 6.3: isolation is a property of the group; before, of the interrupt domain or the IOMMU. */
static inline bool bl_msi_isolated(struct device *dev, struct iommu_group *group)
{
#if KERNEL_VERSION(6, 3, 0) <= LINUX_VERSION_CODE
	return iommu_group_has_isolated_msi(group);
#else
	return irq_domain_check_msi_remap() || device_iommu_capable(dev, IOMMU_CAP_INTR_REMAP);
#endif
}

/* 6.8: always one. */
static inline void bl_eventfd_signal(struct eventfd_ctx *ctx)
{
#if KERNEL_VERSION(6, 8, 0) <= LINUX_VERSION_CODE
	eventfd_signal(ctx);
#else
	eventfd_signal(ctx, 1);
#endif
}

/* 6.3: flags of a mapping are changed by a call, under its lock. */
static inline void bl_vm_flags_set(struct vm_area_struct *vma, unsigned long flags)
{
#if KERNEL_VERSION(6, 3, 0) <= LINUX_VERSION_CODE
	vm_flags_set(vma, flags);
#else
	vma->vm_flags |= flags;
#endif
}

/* 6.10: struct fd became opaque. */
static inline struct file *bl_fd_file(struct fd fd)
{
#if KERNEL_VERSION(6, 10, 0) <= LINUX_VERSION_CODE
	return fd_file(fd);
#else
	return fd.file;
#endif
}

/* 6.2: class.devnode takes a constant device. */
#if KERNEL_VERSION(6, 2, 0) <= LINUX_VERSION_CODE
#define BL_DEVNODE_CONST const
#else
#define BL_DEVNODE_CONST
#endif

#endif /* BARLINE_COMPAT_H */
