/* SPDX-License-Identifier: GPL-2.0-only */
/* Arithmetic on ranges that come from user space: none of it wraps, none of it truncates. */
#ifndef BARLINE_POLICY_RANGE_H
#define BARLINE_POLICY_RANGE_H

#include "base.h"

/* A range by its first and last byte: one that ends at 2^64 - 1 has no size in 64 bits. */
struct blp_span {
	u64 first;
	u64 last;
};

/*
 * Where a device may do DMA: inside the aperture and outside of every reserved span (unsorted,
 * may overlap).
 */
struct blp_aperture {
	struct blp_span span;
	const struct blp_span *reserved;
	u32 nr_reserved;
};

/* Pages with consecutive physical addresses that one call maps. Size 0: empty. */
struct blp_run {
	u64 iova;
	u64 phys;
	u64 size;
};

/* The span of @size bytes at @start. -EINVAL: no bytes; -EOVERFLOW: it passes 2^64. */
int blp_span_of(u64 start, u64 size, struct blp_span *out);

/* Whether two spans share a byte. */
bool blp_spans_overlap(const struct blp_span *a, const struct blp_span *b);

/* Whether every byte of @inner is in @outer. */
bool blp_span_covers(const struct blp_span *outer, const struct blp_span *inner);

/* Whether [@start, @start + @size) is not empty and lies in [0, @limit). */
bool blp_range_fits(u64 start, u64 size, u64 limit);

/* @value rounded down to a multiple of @align, a power of two. */
u64 blp_align_down(u64 value, u64 align);

/*
 * @value rounded up to a multiple of @align, a power of two. -EOVERFLOW: it does not fit in 64
 * bits.
 */
int blp_align_up(u64 value, u64 align, u64 *out);

/*
 * Whether @size bytes at @vaddr may be mapped at @iova; @page is the page size. 0 and the span of
 * IOVAs, or -EINVAL: not whole pages, or none; -EOVERFLOW: either end wraps; -ERANGE: outside of
 * the aperture or in a reserved span.
 */
int blp_dma_check(const struct blp_aperture *aperture, u64 vaddr, u64 iova, u64 size, u64 page,
		  struct blp_span *out);

/*
 * Whether an unmap of @want may remove @map, which overlaps it. -EINVAL: it would cut the mapping
 * in two.
 */
int blp_unmap_check(const struct blp_span *want, const struct blp_span *map);

/*
 * Appends @size bytes at @phys to a run. false: they do not follow it; map the run, empty it and
 * add them again.
 */
bool blp_run_add(struct blp_run *run, u64 phys, u64 size);

/* A run was mapped: the next one starts behind it. */
void blp_run_next(struct blp_run *run);

/*
 * File offsets of a device: the region is above this bit, the offset in it below (as in vfio-
 * pci).
 */
#define BLP_REGION_SHIFT 40

/*
 * Bytes of the next access of a read() or write() of @count bytes at @offset: the largest power
 * of two that is not above @max, not above @count and divides @offset. @max is a power of two. 0
 * only when @count is 0.
 */
u32 blp_access_width(u64 offset, u64 count, u32 max);

#endif
