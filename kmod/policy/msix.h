/* SPDX-License-Identifier: GPL-2.0-only */
/* Where the MSI-X table and pending bits are, and which pages of a BAR may be mapped. */
#ifndef BARLINE_POLICY_MSIX_H
#define BARLINE_POLICY_MSIX_H

#include "base.h"

/* BARs of a type 0 function. */
#define BLP_BARS PCI_STD_NUM_BARS

/* MSI-X geometry; a function without MSI-X has count 0. Offsets and sizes are bytes in the BAR. */
struct blp_msix {
	u32 count;
	u32 table_bar;
	u64 table_offset;
	u64 table_size;
	u32 pba_bar;
	u64 pba_offset;
	u64 pba_size;
};

/* A part of a BAR that may be mapped. */
struct blp_area {
	u64 offset;
	u64 size;
};

/* A table and pending bits in one BAR leave at most this many areas. */
#define BLP_AREAS 3

/*
 * Geometry from the capability: @flags is the Message Control word, @table and @pba the two
 * dwords behind it, @bar_len the lengths of the BARs (0: absent). -EINVAL: the device points
 * outside of its BARs.
 */
int blp_msix_geometry(u16 flags, u32 table, u32 pba, const u64 bar_len[BLP_BARS],
		      struct blp_msix *out);

/*
 * Areas of BAR @bar (@bar_len bytes) that may be mapped with pages of @page bytes: whole pages,
 * in order, none with a byte of the table or of the pending bits. @msix NULL: interrupts are
 * isolated, so the table needs no guard. Returns their number; BARs below a page have none and
 * are used with read() and write().
 */
u32 blp_msix_carve(const struct blp_msix *msix, u32 bar, u64 bar_len, u64 page,
		   struct blp_area out[BLP_AREAS]);

/*
 * Whether [@offset, @offset + @size) of BAR @bar has a byte of the table or of the pending bits.
 * A range that wraps has.
 */
bool blp_msix_touches(const struct blp_msix *msix, u32 bar, u64 offset, u64 size);

/* Whether [@offset, @offset + @size) may be mapped: whole pages inside one area. 0 or -EINVAL. */
int blp_mmap_check(const struct blp_area *areas, u32 nr_areas, u64 offset, u64 size, u64 page);

#endif
