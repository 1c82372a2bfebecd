// SPDX-License-Identifier: GPL-2.0-only
#include "range.h"

int blp_span_of(u64 start, u64 size, struct blp_span *out)
{
	if (!size)
		return -EINVAL;
	out->first = start;
	if (__builtin_add_overflow(start, size - 1, &out->last))
		return -EOVERFLOW;
	return 0;
}

bool blp_spans_overlap(const struct blp_span *a, const struct blp_span *b)
{
	return a->first <= b->last && b->first <= a->last;
}

bool blp_span_covers(const struct blp_span *outer, const struct blp_span *inner)
{
	return outer->first <= inner->first && inner->last <= outer->last;
}

bool blp_range_fits(u64 start, u64 size, u64 limit)
{
	return size && start < limit && size <= limit - start;
}

u64 blp_align_down(u64 value, u64 align)
{
	return value & ~(align - 1);
}

int blp_align_up(u64 value, u64 align, u64 *out)
{
	u64 sum;

	if (__builtin_add_overflow(value, align - 1, &sum))
		return -EOVERFLOW;
	*out = blp_align_down(sum, align);
	return 0;
}

int blp_dma_check(const struct blp_aperture *aperture, u64 vaddr, u64 iova, u64 size, u64 page,
		  struct blp_span *out)
{
	struct blp_span memory;
	int err;
	u32 i;

	if ((vaddr | iova | size) & (page - 1))
		return -EINVAL;
	err = blp_span_of(vaddr, size, &memory);
	if (err)
		return err;
	err = blp_span_of(iova, size, out);
	if (err)
		return err;
	if (!blp_span_covers(&aperture->span, out))
		return -ERANGE;
	for (i = 0; i < aperture->nr_reserved; i++) {
		if (blp_spans_overlap(&aperture->reserved[i], out))
			return -ERANGE;
	}
	return 0;
}

int blp_unmap_check(const struct blp_span *want, const struct blp_span *map)
{
	return blp_span_covers(want, map) ? 0 : -EINVAL;
}

bool blp_run_add(struct blp_run *run, u64 phys, u64 size)
{
	u64 end;

	if (!run->size) {
		run->phys = phys;
		run->size = size;
		return true;
	}
	/* A run that ends where addresses end has no successor. */
	if (__builtin_add_overflow(run->phys, run->size, &end) || end != phys)
		return false;
	return !__builtin_add_overflow(run->size, size, &run->size);
}

void blp_run_next(struct blp_run *run)
{
	run->iova += run->size;
	run->size = 0;
}

u32 blp_access_width(u64 offset, u64 count, u32 max)
{
	u32 width = max;

	if (!count)
		return 0;
	while (width > count || (offset & (width - 1)))
		width >>= 1;
	return width;
}
