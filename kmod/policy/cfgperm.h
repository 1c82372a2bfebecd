/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who may read and write what in configuration space.
 *
 * cfgtable.c has a row for each register that a process could harm the host with, and its reason.
 * Every other register of a known capability passes through; other capabilities are hidden,
 * dwords of no capability are read-only.
 *
 * A read is (virt & shadow) | (~virt & hardware). A write changes bits of `write` only: those
 * also in `virt` in the shadow, the rest in the hardware, and where the row has an action the
 * module performs it instead of a plain write.
 */
#ifndef BARLINE_POLICY_CFGPERM_H
#define BARLINE_POLICY_CFGPERM_H

#include "base.h"
#include "cap.h"
#include "msix.h"

/*
 * Why a register does not simply pass through; section 2 of Documentation/config-policy.md. Part
 * of the ABI.
 */
enum blp_why {
	BLP_WHY_PASS,		/* it does */
	BLP_WHY_DECODE,		/* W1: would decode addresses of others */
	BLP_WHY_ABORT,		/* W2: a processor access would find nobody */
	BLP_WHY_IDENTITY,	/* W3: requests would leave the IOMMU's context */
	BLP_WHY_FABRIC,		/* W4: errors on links that others use */
	BLP_WHY_IRQ,		/* W5: the kernel's interrupt state */
	BLP_WHY_ERRORS,		/* W6: host-fatal error reports, stale caches */
	BLP_WHY_STORE,		/* W7: storage shared with the kernel */
	BLP_WHY_POWER,		/* W8: wakes the host */
	BLP_WHY_LIST,		/* W9: ids and pointers of the lists */
	BLP_WHY_UNKNOWN,	/* W10: no register is known there */
	BLP_WHYS
};

/* What the module does at a write besides, or instead of, writing. */
enum blp_action {
	BLP_ACT_NONE,
	BLP_ACT_COMMAND,	/* zap before MEM or IO goes off; MASTER while attached */
	BLP_ACT_POWER,		/* zap before the state changes, restore after D3hot */
	BLP_ACT_READRQ,		/* pcie_set_readrq(), never below the payload size */
	BLP_ACT_FLR,		/* the bit is set: a full reset by the module */
	BLP_ACTS
};

/* What init must know about the function. */
struct blp_cfg_host {
	u64 bar_len[BLP_BARS];	/* 0: absent, or the upper half of the one before */
	u64 rom_len;		/* 0: absent */
	u32 size;		/* of configuration space: 256 or 4096 */
	bool snoop_enforced;	/* the IOMMU snoops whatever the device says */
};

/*
 * Policy and shadow of one function; about 20 KiB, zeroed by the caller, which also serialises
 * all calls.
 */
struct blp_cfg {
	struct blp_cap_map map;
	u32 shadow[BLP_CFG_DWORDS];
	u32 virt[BLP_CFG_DWORDS];
	u32 write[BLP_CFG_DWORDS];
	u32 w1c[BLP_CFG_DWORDS];	/* locked bits that a 1 clears: never written back */
	u8 hidden[BLP_CFG_DWORDS];
	bool snoop_enforced;
};

/*
 * What a write does to the hardware: new = (old & keep) | (value & mask), at the offset and width
 * that were asked.
 */
struct blp_cfg_write {
	u32 mask;	/* bits of the value that go to the hardware; 0: nothing to do there */
	u32 keep;	/* bits of the old value to write back */
	u32 actions;	/* bits (1 << BLP_ACT_*) of the writable bits that the access covers */
};

/* One line of the live policy, for user space and the documentation. */
struct blp_cfg_row {
	u16 offset;	/* bytes */
	u16 size;	/* bytes */
	u16 cap;	/* capability id; 0 in the header, BLP_CAP_GAP between capabilities */
	u8 why;		/* enum blp_why */
	u8 action;	/* enum blp_action */
	u32 bits;	/* of the register; all ones for more than 4 bytes */
	u32 virt;	/* of them, read from the shadow */
	u32 write;	/* of them, writable */
};

/* Builds map, masks and shadow from the hardware. Errors: blp_cap_walk()'s and the reader's. */
int blp_cfg_init(struct blp_cfg *cfg, const struct blp_cfg_host *host,
		 const struct blp_reader *reader);

/*
 * Bytes of the next access of a read() or write() of @count bytes at @offset: 1, 2 or 4, aligned,
 * not past the end of configuration space, so inside one dword and one capability. 0: @offset is
 * at the end or behind it, or @count is 0.
 */
u32 blp_cfg_chunk(const struct blp_cfg *cfg, u32 offset, u64 count);

/* Whether a read of a chunk needs the hardware at all. */
bool blp_cfg_needs_hw(const struct blp_cfg *cfg, u32 offset, u32 width);

/* What a process reads for a chunk whose hardware value (of that width) is @hw. */
u32 blp_cfg_read(const struct blp_cfg *cfg, u32 offset, u32 width, u32 hw);

/* A process writes @value to a chunk: changes the shadow and says what is left for the hardware. */
void blp_cfg_write(struct blp_cfg *cfg, u32 offset, u32 width, u32 value,
		   struct blp_cfg_write *out);

/*
 * Row @index of the live policy, in order of offsets; every bit of configuration space is in
 * exactly one row. -ENOENT: there are no more.
 */
int blp_cfg_row(const struct blp_cfg *cfg, u32 index, struct blp_cfg_row *out);

#endif
