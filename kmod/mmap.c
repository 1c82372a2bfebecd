// SPDX-License-Identifier: GPL-2.0-only
/*
 * BARs in the address space of a process, for as long as they may be reached.
 *
 * A mapping holds the file, so the device stays open until the last one is gone (R20). Its page
 * table entries come and go: they are taken away before anything that makes the registers
 * unreachable, and faulted in again afterwards.
 */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/pfn.h>

#include "internal.h"

/* Bytes of a BAR, or of the ROM; 0 where there is none, or it has no addresses. */
u64 bl_bar_size(struct bl_dev *bd, u32 bar)
{
	if (pci_resource_flags(bd->pdev, bar) & IORESOURCE_UNSET)
		return 0;
	return pci_resource_len(bd->pdev, bar);
}

/*
 * What of a BAR can be mapped: all of it, or what is left beside the MSI-X table where interrupts
 * are not remapped. Memory in whole pages only: what shares a page with a BAR is not the
 * process's.
 */
u32 bl_bar_areas(struct bl_dev *bd, u32 bar, struct blp_area areas[BLP_AREAS])
{
	struct pci_dev *pdev = bd->pdev;

	if (bar >= PCI_STD_NUM_BARS || !(pci_resource_flags(pdev, bar) & IORESOURCE_MEM))
		return 0;
	if (!PAGE_ALIGNED(pci_resource_start(pdev, bar)))
		return 0;
	return blp_msix_carve(bd->isolated ? NULL : &bd->msix, bar, bl_bar_size(bd, bar),
			      PAGE_SIZE, areas);
}

/*
 * Takes all mappings of the device away; the next access faults. memory_lock is held for
 * writing.
 */
void bl_zap(struct bl_dev *bd)
{
	unmap_mapping_range(bd->inode->i_mapping, 0, 0, 1);
}

/* Where a page of the file is; the bit for revoked mappings is above the region. */
static u64 bl_vma_offset(unsigned long pgoff)
{
	return ((u64)pgoff << PAGE_SHIFT) & ~BARLINE_MMAP_REVOKE_ONES;
}

static bool bl_vma_ones(const struct vm_area_struct *vma)
{
	return (u64)vma->vm_pgoff << PAGE_SHIFT & BARLINE_MMAP_REVOKE_ONES;
}

static unsigned long bl_vma_pfn(struct bl_dev *bd, const struct vm_area_struct *vma)
{
	u64 at = bl_vma_offset(vma->vm_pgoff);
	u32 bar = at >> BARLINE_REGION_SHIFT;

	return PHYS_PFN(pci_resource_start(bd->pdev, bar) + (at & (BARLINE_REGION_OFFSET(1) - 1)));
}

/*
 * All of it at once, so that a poll loop faults once: the page that is wanted first, the rest
 * as a favour.
 */
static vm_fault_t bl_insert_all(struct bl_dev *bd, struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	unsigned long first = bl_vma_pfn(bd, vma);
	unsigned long at = vmf->address & PAGE_MASK;
	vm_fault_t ret;

	ret = vmf_insert_pfn(vma, at, first + ((at - vma->vm_start) >> PAGE_SHIFT));
	if (ret != VM_FAULT_NOPAGE)
		return ret;
	for (at = vma->vm_start; at < vma->vm_end; at += PAGE_SIZE) {
		if (vmf_insert_pfn(vma, at, first++) != VM_FAULT_NOPAGE)
			break;
	}
	return ret;
}

static vm_fault_t bl_fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct bl_dev *bd = vma->vm_private_data;
	vm_fault_t ret = VM_FAULT_SIGBUS;

	down_read(&bd->memory_lock);
	if (bd->live)
		ret = bl_insert_all(bd, vmf);
	else if (bl_vma_ones(vma))
		ret = vmf_insert_pfn(vma, vmf->address & PAGE_MASK, page_to_pfn(bd->ones));
	up_read(&bd->memory_lock);
	return ret;
}

static const struct vm_operations_struct bl_vm_ops = {
	.fault = bl_fault,
};

/* The page that stands in for registers. The process may write to it; nobody else sees it. */
static int bl_ones_page(struct bl_dev *bd)
{
	if (bd->ones)
		return 0;
	bd->ones = bl_fail("mmap: ones") ? NULL : alloc_page(GFP_KERNEL_ACCOUNT);
	if (!bd->ones)
		return -ENOMEM;
	memset(page_address(bd->ones), BL_ONES, PAGE_SIZE);
	return 0;
}

static int bl_mmap_check(struct bl_dev *bd, struct vm_area_struct *vma)
{
	u64 at = bl_vma_offset(vma->vm_pgoff);
	u64 region = at >> BARLINE_REGION_SHIFT;
	struct blp_area areas[BLP_AREAS];
	u32 nr;

	if (!(vma->vm_flags & VM_SHARED) || vma->vm_flags & VM_EXEC)
		return -EINVAL;
	nr = region < PCI_STD_NUM_BARS ? bl_bar_areas(bd, region, areas) : 0;
	return blp_mmap_check(areas, nr, at & (BARLINE_REGION_OFFSET(1) - 1),
			      vma->vm_end - vma->vm_start, PAGE_SIZE);
}

int bl_dev_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct bl_dev *bd = file->private_data;
	int err;

	err = bl_mmap_check(bd, vma);
	if (err)
		return err;
	mutex_lock(&bd->lock);
	err = bl_event_check(bd, BLP_EV_ACCESS);
	if (!err && bl_vma_ones(vma))
		err = bl_ones_page(bd);
	mutex_unlock(&bd->lock);
	if (err)
		return err;
	/* No growing, no core dumps, no copies in a child: it can map the device itself. */
	bl_vm_flags_set(vma, VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP | VM_DONTCOPY);
	vma->vm_page_prot = pgprot_noncached(vma->vm_page_prot);
	vma->vm_private_data = bd;
	vma->vm_ops = &bl_vm_ops;
	return 0;
}
