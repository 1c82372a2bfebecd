// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which IOMMU group is in which address space.
 *
 * A group moves as one: its first device takes it along, its last one brings it back. The
 * kernel's own count of owners cannot tell these apart (6.1 has none), so it is kept here.
 */
#include <linux/slab.h>

#include "internal.h"

struct bl_group {
	struct list_head link;
	struct iommu_group *group;
	struct bl_ioas *ioas;
	u32 devices;
};

static LIST_HEAD(bl_groups);
/* Guards the list, and the counts in it. */
static DEFINE_MUTEX(bl_groups_lock);

static struct bl_group *bl_group_find(struct iommu_group *group)
{
	struct bl_group *found;

	list_for_each_entry(found, &bl_groups, link) {
		if (found->group == group)
			return found;
	}
	return NULL;
}

/* Notes a reserved span. Doubles cost a comparison and nothing else. */
static int bl_reserve_span(struct bl_ioas *ioas, u64 first, u64 last)
{
	struct blp_span span = { first, last };
	u32 i;

	for (i = 0; i < ioas->aperture.nr_reserved; i++) {
		if (blp_span_covers(&ioas->reserved[i], &span))
			return 0;
	}
	if (ioas->aperture.nr_reserved == BL_MAX_RESERVED)
		return -ENOSPC;
	/* A mapping that is there already would have to go. */
	if (interval_tree_iter_first(&ioas->maps, first, last))
		return -EINVAL;
	ioas->reserved[ioas->aperture.nr_reserved++] = span;
	return 0;
}

static int bl_reserve_regions(struct bl_ioas *ioas, struct list_head *regions)
{
	struct iommu_resv_region *region;
	int err;

	list_for_each_entry(region, regions, list) {
		/* Only needed by a driver of the kernel, until it is unbound. */
		if (region->type == IOMMU_RESV_DIRECT_RELAXABLE)
			continue;
		/*
		 * Interrupts that go through the address space (Arm): not on the machines this
		 * is for.
		 */
		if (region->type == IOMMU_RESV_SW_MSI)
			return -EOPNOTSUPP;
		err = bl_reserve_span(ioas, region->start, region->start + region->length - 1);
		if (err)
			return err;
	}
	return 0;
}

/* Narrows what can be mapped by what the group cannot reach. */
static int bl_narrow(struct bl_ioas *ioas, struct iommu_group *group)
{
	struct iommu_resv_region *region, *next;
	LIST_HEAD(regions);
	int err;

	err = bl_fail("attach: reserved") ? -ENOMEM : iommu_get_group_resv_regions(group, &regions);
	if (!err)
		err = bl_reserve_regions(ioas, &regions);
	list_for_each_entry_safe(region, next, &regions, list)
		kfree(region);
	return err;
}

/* The first device gives the address space its page tables. */
static int bl_domain_new(struct bl_ioas *ioas, struct device *dev)
{
	struct iommu_domain *domain;

	domain = bl_fail("attach: domain") ? ERR_PTR(-ENOMEM) : bl_domain_alloc(dev);
	if (IS_ERR(domain))
		return PTR_ERR(domain);
	ioas->domain = domain;
	ioas->aperture.span.first = domain->geometry.aperture_start;
	ioas->aperture.span.last = min_t(u64, domain->geometry.aperture_end, ULONG_MAX);
	return 0;
}

/* Must come after the attach of the first group, and before anything is mapped. */
static void bl_enforce_snoop(struct bl_ioas *ioas)
{
	const struct iommu_domain_ops *ops = ioas->domain->ops;

	if (!ioas->nr_maps && !ioas->snoop_enforced && ops->enforce_cache_coherency)
		ioas->snoop_enforced = ops->enforce_cache_coherency(ioas->domain);
}

/* Nothing is in them yet: bl_ioas.lock has been held since they were made. */
static void bl_domain_drop(struct bl_ioas *ioas)
{
	iommu_domain_free(ioas->domain);
	ioas->domain = NULL;
	ioas->aperture.span.first = 0;
	ioas->aperture.span.last = 0;
}

static int bl_claim_and_attach(struct bl_group *bg)
{
	struct bl_ioas *ioas = bg->ioas;
	u32 reserved = ioas->aperture.nr_reserved;
	int err;

	/* Fails when a driver of the kernel does DMA in the group: the check that it is viable. */
	err = bl_fail("attach: claim") ? -EPERM : iommu_group_claim_dma_owner(bg->group, bg);
	if (err)
		return err == -EPERM ? -EBUSY : err;
	err = bl_narrow(ioas, bg->group);
	if (err)
		goto err_owner;
	err = bl_fail("attach: group") ? -EINVAL : iommu_attach_group(ioas->domain, bg->group);
	if (err)
		goto err_owner;
	bl_enforce_snoop(ioas);
	return 0;

err_owner:
	ioas->aperture.nr_reserved = reserved;
	iommu_group_release_dma_owner(bg->group);
	return err;
}

static int bl_attach_group(struct bl_group *bg, struct device *dev)
{
	struct bl_ioas *ioas = bg->ioas;
	bool first = !ioas->domain;
	int err = first ? bl_domain_new(ioas, dev) : 0;

	if (err)
		return err;
	err = bl_claim_and_attach(bg);
	/* Page tables of a kind that fits no device would be in the way of the next one. */
	if (err && first)
		bl_domain_drop(ioas);
	return err;
}

static struct bl_group *bl_group_new(struct bl_dev *bd, struct bl_ioas *ioas)
{
	struct bl_group *bg;
	int err;

	bg = bl_fail("attach: new") ? NULL : kzalloc(sizeof(*bg), GFP_KERNEL_ACCOUNT);
	if (!bg)
		return ERR_PTR(-ENOMEM);
	bg->group = bd->group;
	bg->ioas = ioas;
	mutex_lock(&ioas->lock);
	err = bl_attach_group(bg, &bd->pdev->dev);
	mutex_unlock(&ioas->lock);
	if (err) {
		kfree(bg);
		return ERR_PTR(err);
	}
	/*
	 * The group, by the device; the address space, by a reference that each of its devices
	 * holds.
	 */
	list_add(&bg->link, &bl_groups);
	return bg;
}

int bl_group_attach(struct bl_dev *bd, struct bl_ioas *ioas)
{
	struct bl_group *bg;
	int err = 0;

	mutex_lock(&bl_groups_lock);
	bg = bl_group_find(bd->group) ?: bl_group_new(bd, ioas);
	if (IS_ERR(bg))
		err = PTR_ERR(bg);
	else if (bg->ioas != ioas)
		err = -EBUSY;
	if (!err) {
		bg->devices++;
		kref_get(&ioas->kref);
		bd->ioas = ioas;
	}
	mutex_unlock(&bl_groups_lock);
	return err;
}

void bl_group_detach(struct bl_dev *bd)
{
	struct bl_ioas *ioas = bd->ioas;
	struct bl_group *bg;

	mutex_lock(&bl_groups_lock);
	bg = bl_group_find(bd->group);
	if (!--bg->devices) {
		iommu_detach_group(ioas->domain, bg->group);
		iommu_group_release_dma_owner(bg->group);
		list_del(&bg->link);
		kfree(bg);
	}
	mutex_unlock(&bl_groups_lock);
	bd->ioas = NULL;
	bd->parting = ioas;
}
