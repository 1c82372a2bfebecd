// SPDX-License-Identifier: GPL-2.0-only
/* Sizes and offsets, for the test of the bindings in lib.rs; the order is that of layouts() there. */
#include "cfgtable.h"
#include "irq.h"
#include "range.h"
#include "state.h"

const u64 blp_layout[] = {
	sizeof(struct blp_span),
	sizeof(struct blp_aperture),
	offsetof(struct blp_aperture, nr_reserved),
	sizeof(struct blp_run),
	sizeof(struct blp_msix),
	offsetof(struct blp_msix, pba_size),
	sizeof(struct blp_area),
	sizeof(struct blp_irq_request),
	offsetof(struct blp_irq_request, disable),
	sizeof(struct blp_reader),
	sizeof(struct blp_cap_map),
	offsetof(struct blp_cap_map, id),
	sizeof(struct blp_cfg_host),
	offsetof(struct blp_cfg_host, snoop_enforced),
	sizeof(struct blp_cfg),
	offsetof(struct blp_cfg, hidden),
	sizeof(struct blp_cfg_write),
	sizeof(struct blp_cfg_row),
	offsetof(struct blp_cfg_row, write),
	sizeof(struct blp_step),
	sizeof(struct blp_cap_row),
	offsetof(struct blp_cap_row, doc),
	sizeof(struct blp_reg_row),
	offsetof(struct blp_reg_row, doc),
};
