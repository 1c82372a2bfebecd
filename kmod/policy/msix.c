// SPDX-License-Identifier: GPL-2.0-only
#include "msix.h"
#include "range.h"

/* Where one of the two structures is; the register holds the BAR in the bits below the offset. */
static int locate(u32 reg, u64 size, const u64 bar_len[BLP_BARS], u32 *bar, u64 *offset)
{
	*bar = reg & PCI_MSIX_TABLE_BIR;
	*offset = reg & PCI_MSIX_TABLE_OFFSET;
	if (*bar >= BLP_BARS || !blp_range_fits(*offset, size, bar_len[*bar]))
		return -EINVAL;
	return 0;
}

int blp_msix_geometry(u16 flags, u32 table, u32 pba, const u64 bar_len[BLP_BARS],
		      struct blp_msix *out)
{
	/* One pending bit a vector, in units of 64 bits. */
	const u32 unit = 64;
	int err;

	out->count = (flags & PCI_MSIX_FLAGS_QSIZE) + 1;
	out->table_size = (u64)out->count * PCI_MSIX_ENTRY_SIZE;
	out->pba_size = (out->count + unit - 1) / unit * sizeof(u64);
	err = locate(table, out->table_size, bar_len, &out->table_bar, &out->table_offset);
	if (err)
		return err;
	return locate(pba, out->pba_size, bar_len, &out->pba_bar, &out->pba_offset);
}

/* Adds the whole pages of [first, end) to the areas. */
static u32 add_area(u64 first, u64 end, u64 page, struct blp_area *out, u32 nr)
{
	if (blp_align_up(first, page, &first))
		return nr;
	end = blp_align_down(end, page);
	if (first >= end)
		return nr;
	out[nr].offset = first;
	out[nr].size = end - first;
	return nr + 1;
}

u32 blp_msix_carve(const struct blp_msix *msix, u32 bar, u64 bar_len, u64 page,
		   struct blp_area out[BLP_AREAS])
{
	struct blp_area hole[2] = { { 0, 0 }, { 0, 0 } };
	u64 at = 0, next;
	u32 nr = 0, i;

	if (msix && msix->count && msix->table_bar == bar) {
		hole[0].offset = msix->table_offset;
		hole[0].size = msix->table_size;
	}
	if (msix && msix->count && msix->pba_bar == bar) {
		i = hole[0].size && msix->pba_offset < hole[0].offset ? 0 : 1;
		/* The holes stay in order of offsets. */
		if (!i)
			hole[1] = hole[0];
		hole[i].offset = msix->pba_offset;
		hole[i].size = msix->pba_size;
	}
	for (i = 0; i < 2; i++) {
		if (!hole[i].size)
			continue;
		nr = add_area(at, hole[i].offset, page, out, nr);
		/*
		 * Holes may overlap when the device says so: never go back. The geometry lies in
		 * the BAR, so no sum wraps.
		 */
		next = hole[i].offset + hole[i].size;
		if (next > at)
			at = next;
	}
	return add_area(at, bar_len, page, out, nr);
}

static bool touches(u64 start, u64 len, const struct blp_span *span)
{
	struct blp_span mine;

	return !blp_span_of(start, len, &mine) && blp_spans_overlap(&mine, span);
}

bool blp_msix_touches(const struct blp_msix *msix, u32 bar, u64 offset, u64 size)
{
	struct blp_span span;
	int err;

	if (!msix->count || !size)
		return false;
	err = blp_span_of(offset, size, &span);
	if (err)
		return msix->table_bar == bar || msix->pba_bar == bar;
	return (msix->table_bar == bar && touches(msix->table_offset, msix->table_size, &span)) ||
	       (msix->pba_bar == bar && touches(msix->pba_offset, msix->pba_size, &span));
}

int blp_mmap_check(const struct blp_area *areas, u32 nr_areas, u64 offset, u64 size, u64 page)
{
	u32 i;

	if ((offset | size) & (page - 1))
		return -EINVAL;
	for (i = 0; i < nr_areas; i++) {
		const struct blp_area *area = &areas[i];

		if (offset >= area->offset &&
		    blp_range_fits(offset - area->offset, size, area->size))
			return 0;
	}
	return -EINVAL;
}
