// SPDX-License-Identifier: GPL-2.0-only
/*
 * MAP and UNMAP: which ranges of an address space are taken, and whom their memory is charged to.
 *
 * Of a mapping, only its range is kept; see pin.c for its pages.
 */
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "internal.h"

static u64 bl_map_size(const struct bl_map *map)
{
	return (u64)map->node.last - map->node.start + 1;
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
