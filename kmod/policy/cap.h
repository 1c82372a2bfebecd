/* SPDX-License-Identifier: GPL-2.0-only */
/* The capability lists of configuration space: which capability each dword belongs to. */
#ifndef BARLINE_POLICY_CAP_H
#define BARLINE_POLICY_CAP_H

#include "base.h"

/* Dwords of configuration space, of its part without extended capabilities, and of the header. */
#define BLP_CFG_DWORDS (PCI_CFG_SPACE_EXP_SIZE / 4)
#define BLP_STD_DWORDS (PCI_CFG_SPACE_SIZE / 4)
#define BLP_HDR_DWORDS (PCI_STD_HEADER_SIZEOF / 4)

/* Fields of headers that pci_regs.h has no masks for. */
#define BLP_CAP_ID_MASK 0xffu
#define BLP_CAP_NEXT_MASK 0xfcu
#define BLP_EXT_NEXT_SHIFT 20
#define BLP_EXT_NEXT_MASK (0xfffu << BLP_EXT_NEXT_SHIFT)

/* Owner of a dword that no list reaches. */
#define BLP_CAP_GAP 0xffffu

/* Reads the aligned dword at @offset: 0, or the error that ends the walk. */
struct blp_reader {
	int (*dword)(void *ctx, u32 offset, u32 *value);
	void *ctx;
};

/*
 * The owner of each dword: index of the dword where its capability starts (0: the header), or
 * BLP_CAP_GAP; and at each start the capability's id. Which list a capability is in tells its
 * place: extended ones start at BLP_STD_DWORDS.
 */
struct blp_cap_map {
	u32 dwords;	/* 64 or 1024 */
	u16 start[BLP_CFG_DWORDS];
	u16 id[BLP_CFG_DWORDS];
};

/*
 * Walks both lists of a type 0 function with @size bytes of configuration space
 * (PCI_CFG_SPACE_SIZE or PCI_CFG_SPACE_EXP_SIZE). A capability may start once at a dword, so the
 * walk ends after 48 and 960 steps at the latest.
 *
 * -EINVAL: another size; -ENODEV: all ones were read, the device is gone; -ELOOP: a list meets
 * itself, or two capabilities claim a dword (a vendor's one, whose length the device makes up, is
 * cut instead). Others: the reader's.
 */
int blp_cap_walk(struct blp_cap_map *map, u32 size, const struct blp_reader *reader);

/* Whether the dword at index @dword is in the extended list's part. */
static inline bool blp_cap_is_ext(u32 dword)
{
	return dword >= BLP_STD_DWORDS;
}

/* Byte offset of the first capability with this id, or 0. */
u32 blp_cap_find(const struct blp_cap_map *map, bool ext, u16 id);

#endif
