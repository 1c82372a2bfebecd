// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pins memory of a process and maps it for devices, and the reverse.
 *
 * Which pages are pinned stands in the page tables of the IOMMU, and nowhere else.
 */
#include <linux/mm.h>
#include <linux/sched/signal.h>

#include "internal.h"

/*
 * A physically contiguous piece that was unmapped, until the IOMMU has forgotten it and its
 * pages can go.
 */
struct bl_piece {
	u64 phys;
	u64 size;
};

#define BL_PIN_BATCH	((unsigned long)(PAGE_SIZE / sizeof(struct page *)))
#define BL_PIECES	(PAGE_SIZE / sizeof(struct bl_piece))

static void bl_unpin(u64 phys, u64 size, bool dirty)
{
	unpin_user_page_range_dirty_lock(pfn_to_page(PHYS_PFN(phys)), size >> PAGE_SHIFT, dirty);
}

/* No device reaches the pieces after the flush; only then are their pages given back. */
static void bl_flush_pieces(struct bl_ioas *ioas, struct iommu_iotlb_gather *gather, u32 nr,
			    bool dirty)
{
	struct bl_piece *pieces = ioas->scratch;
	u32 i;

	iommu_iotlb_sync(ioas->domain, gather);
	for (i = 0; i < nr; i++)
		bl_unpin(pieces[i].phys, pieces[i].size, dirty);
	iommu_iotlb_gather_init(gather);
}

/* Length of the physically contiguous piece that is mapped at @iova, up to @limit bytes. */
static u64 bl_piece_size(struct iommu_domain *domain, u64 iova, u64 phys, u64 limit)
{
	u64 size = PAGE_SIZE;

	while (size < limit && iommu_iova_to_phys(domain, iova + size) == phys + size)
		size += PAGE_SIZE;
	return size;
}

/*
 * Unmaps and unpins [iova, iova + size), which is wholly mapped. The scratch page is the
 * caller's, by map_lock.
 */
void bl_unmap_range(struct bl_ioas *ioas, u64 iova, u64 size, bool dirty)
{
	struct bl_piece *pieces = ioas->scratch;
	struct iommu_iotlb_gather gather;
	u32 nr = 0;
	u64 done, piece;
	phys_addr_t phys;

	iommu_iotlb_gather_init(&gather);
	for (done = 0; done < size; done += piece) {
		phys = iommu_iova_to_phys(ioas->domain, iova + done);
		piece = bl_piece_size(ioas->domain, iova + done, phys, size - done);
		/* Cannot be: then the pages stay pinned, which is safe. */
		if (WARN_ON_ONCE(!phys || iommu_unmap_fast(ioas->domain, iova + done, piece,
							   &gather) != piece))
			continue;
		pieces[nr].phys = phys;
		pieces[nr++].size = piece;
		if (nr == BL_PIECES) {
			bl_flush_pieces(ioas, &gather, nr, dirty);
			nr = 0;
		}
		cond_resched();
	}
	bl_flush_pieces(ioas, &gather, nr, dirty);
}

/* Hands a finished run to the IOMMU. On failure its pages are unpinned here. */
static int bl_map_run(struct bl_ioas *ioas, struct blp_run *run, int prot)
{
	int err;

	if (!run->size)
		return 0;
	err = bl_fail("dma: iommu_map") ? -ENOMEM :
	      bl_iommu_map(ioas->domain, run->iova, run->phys, run->size, prot);
	if (err) {
		bl_unpin(run->phys, run->size, false);
		run->size = 0;
		/* VT-d's word for an address in the aperture, but too wide for this unit. */
		return err == -EFAULT ? -ERANGE : err;
	}
	mutex_lock(&ioas->lock);
	ioas->map_calls++;
	ioas->largest_run = max(ioas->largest_run, run->size);
	mutex_unlock(&ioas->lock);
	blp_run_next(run);
	return 0;
}

/*
 * Appends pinned pages to the run, which is mapped when they do not follow it. On failure all
 * of them are unpinned.
 */
static int bl_map_pages(struct bl_ioas *ioas, struct blp_run *run, struct page **pages, u32 nr,
			int prot)
{
	int err;
	u32 i;

	for (i = 0; i < nr; i++) {
		if (blp_run_add(run, page_to_phys(pages[i]), PAGE_SIZE))
			continue;
		err = bl_map_run(ioas, run, prot);
		if (err) {
			unpin_user_pages(pages + i, nr - i);
			return err;
		}
		blp_run_add(run, page_to_phys(pages[i]), PAGE_SIZE);
	}
	return 0;
}

static int bl_pin_batch(struct bl_ioas *ioas, u64 vaddr, u64 left, bool write)
{
	unsigned int flags = FOLL_LONGTERM | (write ? FOLL_WRITE : 0);
	int nr = min_t(u64, left >> PAGE_SHIFT, BL_PIN_BATCH);

	if (fatal_signal_pending(current))
		return -EINTR;
	cond_resched();
	if (bl_fail("dma: pin"))
		return -EFAULT;
	nr = pin_user_pages_fast(vaddr, nr, flags, ioas->scratch);
	/* None and no error: nothing is mapped there. */
	return nr ?: -EFAULT;
}

/*
 * Pins and maps all of it, or nothing. The run is the only thing that is neither mapped nor in
 * the scratch page.
 */
int bl_pin_and_map(struct bl_ioas *ioas, const struct barline_ioas_map *arg)
{
	bool write = arg->flags & BARLINE_MAP_WRITE;
	int prot = IOMMU_CACHE | (write ? IOMMU_WRITE : 0);
	struct blp_run run = { .iova = arg->iova };
	u64 done = 0;
	int nr, err = 0;

	if (arg->flags & BARLINE_MAP_READ)
		prot |= IOMMU_READ;
	while (done < arg->size) {
		nr = bl_pin_batch(ioas, arg->vaddr + done, arg->size - done, write);
		err = nr < 0 ? nr : bl_map_pages(ioas, &run, ioas->scratch, nr, prot);
		if (err)
			break;
		done += (u64)nr << PAGE_SHIFT;
	}
	if (!err)
		err = bl_map_run(ioas, &run, prot);
	if (!err)
		return 0;
	if (run.size)
		bl_unpin(run.phys, run.size, false);
	if (run.iova != arg->iova)
		bl_unmap_range(ioas, arg->iova, run.iova - arg->iova, false);
	return err;
}
