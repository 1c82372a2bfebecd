// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pins memory of a process and maps it for devices, and the reverse.
 *
 * Of a mapping, only its range is kept: which pages it pins stands in the page tables of the
 * IOMMU.
 */
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

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

static u64 bl_map_size(const struct bl_map *map)
{
	return (u64)map->node.last - map->node.start + 1;
}

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
static void bl_unmap_range(struct bl_ioas *ioas, u64 iova, u64 size, bool dirty)
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
static int bl_pin_and_map(struct bl_ioas *ioas, const struct barline_ioas_map *arg)
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

/* Takes the range, so that nobody else does while its memory is being pinned. */
static int bl_reserve(struct bl_ioas *ioas, const struct barline_ioas_map *arg, struct bl_map *map)
{
	struct blp_span span;
	u64 granule;
	int err;

	if (!ioas->domain)
		return -ENXIO;
	if (arg->vaddr != (unsigned long)arg->vaddr)
		return -EOVERFLOW;
	granule = max_t(u64, PAGE_SIZE, ioas->domain->pgsize_bitmap & -ioas->domain->pgsize_bitmap);
	err = blp_dma_check(&ioas->aperture, arg->vaddr, arg->iova, arg->size, granule, &span);
	if (err)
		return err;
	if (interval_tree_iter_first(&ioas->maps, span.first, span.last))
		return -EEXIST;
	if (ioas->nr_maps >= bl_max_maps)
		return -ENOSPC;
	map->node.start = span.first;
	map->node.last = span.last;
	interval_tree_insert(&map->node, &ioas->maps);
	ioas->nr_maps++;
	return 0;
}

static void bl_map_remove(struct bl_ioas *ioas, struct bl_map *map)
{
	mutex_lock(&ioas->lock);
	interval_tree_remove(&map->node, &ioas->maps);
	ioas->nr_maps--;
	if (map->ready)
		ioas->nr_pages -= bl_map_size(map) >> PAGE_SHIFT;
	mutex_unlock(&ioas->lock);
}

/* Charges the whole request before any page of it is pinned. */
static int bl_charge_and_pin(struct bl_ioas *ioas, const struct barline_ioas_map *arg)
{
	unsigned long nr = arg->size >> PAGE_SHIFT;
	int err;

	err = bl_fail("dma: charge") ? -ENOMEM : account_locked_vm(current->mm, nr, true);
	if (err)
		return err;
	err = bl_pin_and_map(ioas, arg);
	if (err)
		account_locked_vm(current->mm, nr, false);
	return err;
}

static int bl_map_locked(struct bl_ioas *ioas, const struct barline_ioas_map *arg,
			 struct bl_map *map)
{
	int err;

	mutex_lock(&ioas->lock);
	err = bl_reserve(ioas, arg, map);
	mutex_unlock(&ioas->lock);
	if (err)
		return err;
	err = bl_charge_and_pin(ioas, arg);
	if (err) {
		bl_map_remove(ioas, map);
		return err;
	}
	map->mm = current->mm;
	mmgrab(map->mm);
	map->writable = arg->flags & BARLINE_MAP_WRITE;
	mutex_lock(&ioas->lock);
	map->ready = true;
	ioas->nr_pages += arg->size >> PAGE_SHIFT;
	mutex_unlock(&ioas->lock);
	return 0;
}

int bl_ioas_map(struct bl_ioas *ioas, const struct barline_ioas_map *arg)
{
	struct bl_map *map = bl_fail("dma: map") ? NULL : kzalloc(sizeof(*map), GFP_KERNEL_ACCOUNT);
	int err;

	if (!map)
		return -ENOMEM;
	err = mutex_lock_killable(&ioas->map_lock);
	if (!err) {
		err = bl_map_locked(ioas, arg, map);
		mutex_unlock(&ioas->map_lock);
	}
	if (err)
		kfree(map);
	return err;
}

/* The process that was charged gets it back, whoever unmaps, and also if it has ended (R29). */
static void bl_map_free(struct bl_ioas *ioas, struct bl_map *map)
{
	u64 size = bl_map_size(map);

	bl_unmap_range(ioas, map->node.start, size, map->writable);
	bl_map_remove(ioas, map);
	account_locked_vm(map->mm, size >> PAGE_SHIFT, false);
	mmdrop(map->mm);
	kfree(map);
}

/* Whether each mapping that overlaps the span is inside of it. */
static int bl_unmap_possible(struct bl_ioas *ioas, const struct blp_span *want)
{
	struct interval_tree_node *node;
	struct blp_span span;
	int err;

	node = interval_tree_iter_first(&ioas->maps, want->first, want->last);
	if (!node)
		return -ENOENT;
	for (; node; node = interval_tree_iter_next(node, want->first, want->last)) {
		span.first = node->start;
		span.last = node->last;
		err = blp_unmap_check(want, &span);
		if (err)
			return err;
	}
	return 0;
}

static u64 bl_unmap_span(struct bl_ioas *ioas, const struct blp_span *want)
{
	struct interval_tree_node *node;
	u64 unmapped = 0;

	while ((node = interval_tree_iter_first(&ioas->maps, want->first, want->last))) {
		struct bl_map *map = container_of(node, struct bl_map, node);

		unmapped += bl_map_size(map);
		bl_map_free(ioas, map);
	}
	return unmapped;
}

static const struct blp_span bl_everything = { 0, ULONG_MAX };

int bl_ioas_unmap(struct bl_ioas *ioas, struct barline_ioas_unmap *arg)
{
	struct blp_span want = bl_everything;
	int err = 0;

	if (!(arg->flags & BARLINE_UNMAP_ALL)) {
		err = blp_span_of(arg->iova, arg->size, &want);
		if (err)
			return err;
	}
	err = mutex_lock_killable(&ioas->map_lock);
	if (err)
		return err;
	if (!(arg->flags & BARLINE_UNMAP_ALL))
		err = bl_unmap_possible(ioas, &want);
	if (!err)
		arg->unmapped = bl_unmap_span(ioas, &want);
	mutex_unlock(&ioas->map_lock);
	return err;
}

void bl_ioas_unmap_all(struct bl_ioas *ioas)
{
	mutex_lock(&ioas->map_lock);
	bl_unmap_span(ioas, &bl_everything);
	mutex_unlock(&ioas->map_lock);
}
