/* SPDX-License-Identifier: GPL-2.0-only */
/* The rows of the configuration policy; cfgtable.c has them, cfgperm.c applies them. */
#ifndef BARLINE_POLICY_CFGTABLE_H
#define BARLINE_POLICY_CFGTABLE_H

#include "cfgperm.h"

/* Where a register is. */
enum blp_list {
	BLP_LIST_HDR,		/* the header of type 0 */
	BLP_LIST_STD,		/* a capability of the first 256 bytes */
	BLP_LIST_EXT,		/* an extended capability */
	BLP_LIST_NONE		/* between capabilities */
};

/* What holds for bits of a register. */
enum blp_rule {
	BLP_RULE_PASS,		/* reads and writes reach the device */
	BLP_RULE_LOCK,		/* reads reach the device, writes nothing */
	BLP_RULE_HIDE,		/* not in the list; reads are zero */
	BLP_RULE_ZERO,		/* reads are zero, writes reach nothing */
	BLP_RULE_ZEROW,		/* the same for bits that a 1 clears */
	BLP_RULE_COPY,		/* reads and writes reach a copy */
	BLP_RULE_BASE,		/* a base address: a copy that answers size probes */
	BLP_RULE_LINK,		/* the pointer to the first capability that is not hidden */
	BLP_RULE_SNOOP,		/* PASS where the IOMMU enforces coherency, else LOCK */
	BLP_RULE_ACT		/* reads reach the device, for writes the module acts */
};

/* Names and the sentence of a row, for the documentation; the kernel has no use for them. */
struct blp_row_doc {
	const char *id;
	const char *reg;	/* NULL: the whole capability */
	const char *bits;	/* NULL: all */
	const char *rule;
	const char *action;
	const char *why;
	const char *text;
};

/* A known capability: its length, and what holds for registers without a row of their own. */
struct blp_cap_row {
	u8 list;
	u8 rule;
	u8 why;
	u16 id;
	u16 bytes;		/* BLP_VARIABLE: the capability tells itself */
#ifndef __KERNEL__
	struct blp_row_doc doc;
#endif
};

#define BLP_VARIABLE 0

/* Bits of one register. */
struct blp_reg_row {
	u8 list;
	u8 rule;
	u8 action;
	u8 why;
	u16 id;
	u16 reg;		/* bytes from the start of the capability */
	u32 size;		/* bytes */
	u32 bits;
#ifndef __KERNEL__
	struct blp_row_doc doc;
#endif
};

/* Row @index, or NULL behind the last. */
const struct blp_cap_row *blp_cap_row(u32 index);
const struct blp_reg_row *blp_reg_row(u32 index);

#endif
