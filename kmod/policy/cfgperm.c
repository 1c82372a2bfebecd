// SPDX-License-Identifier: GPL-2.0-only
#include "cfgtable.h"
#include "range.h"

#define BYTE_BITS 8
#define DWORD sizeof(u32)
#define ALL (~0u)

/* What holds for registers without a row, where no capability is known. */
static const struct blp_cap_row header_rule = { .list = BLP_LIST_HDR };

static const struct blp_cap_row gap_rule = {
	.list = BLP_LIST_NONE, .rule = BLP_RULE_LOCK, .why = BLP_WHY_UNKNOWN
};

static const struct blp_cap_row unknown_rule = {
	.list = BLP_LIST_NONE, .rule = BLP_RULE_HIDE, .why = BLP_WHY_UNKNOWN
};

static const struct blp_cap_row *owner_rule(const struct blp_cap_map *map, u32 dword)
{
	const struct blp_cap_row *row;
	u32 start = map->start[dword];
	u8 list = blp_cap_is_ext(start) ? BLP_LIST_EXT : BLP_LIST_STD;
	u32 i;

	if (start == BLP_CAP_GAP)
		return &gap_rule;
	if (start < BLP_HDR_DWORDS)
		return &header_rule;
	for (i = 0; (row = blp_cap_row(i)); i++) {
		if (row->list == list && row->id == map->id[start])
			return row;
	}
	return &unknown_rule;
}

/* Bits of an access of @width bytes at @offset, in its dword. */
static u32 lanes(u32 offset, u32 width)
{
	u32 mask = ALL >> (BYTE_BITS * (DWORD - width));

	return mask << (BYTE_BITS * (offset % DWORD));
}

/* Bits of the dword that a row is about; 0: the row is about another register. */
static u32 row_bits(const struct blp_reg_row *row, const struct blp_cap_row *owner, u32 dword,
		    u32 start)
{
	if (row->list != owner->list || row->id != owner->id || row->reg / DWORD != dword - start)
		return 0;
	return (row->bits << (BYTE_BITS * (row->reg % DWORD))) & lanes(row->reg, row->size);
}

/* Ids and pointers, at the start of each capability. */
static u32 link_bits(const struct blp_cap_map *map, u32 dword)
{
	if (dword < BLP_HDR_DWORDS || map->start[dword] != dword)
		return 0;
	return blp_cap_is_ext(dword) ? ALL : lanes(0, PCI_CAP_FLAGS);
}

static void apply(struct blp_cfg *cfg, u32 dword, u32 bits, u8 rule)
{
	switch (rule) {
	case BLP_RULE_PASS:
	case BLP_RULE_ACT:
		cfg->write[dword] |= bits;
		break;
	case BLP_RULE_SNOOP:
		if (cfg->snoop_enforced)
			cfg->write[dword] |= bits;
		break;
	case BLP_RULE_ZEROW:
		cfg->w1c[dword] |= bits;
		cfg->virt[dword] |= bits;
		cfg->shadow[dword] &= ~bits;
		break;
	case BLP_RULE_HIDE:
	case BLP_RULE_ZERO:
		cfg->virt[dword] |= bits;
		cfg->shadow[dword] &= ~bits;
		break;
	case BLP_RULE_COPY:
		cfg->write[dword] |= bits;
		cfg->virt[dword] |= bits;
		break;
	case BLP_RULE_BASE:
	case BLP_RULE_LINK:
		/* Their values and masks come later. */
		cfg->virt[dword] |= bits;
		break;
	}
}

static int init_dword(struct blp_cfg *cfg, u32 dword, const struct blp_reader *reader)
{
	const struct blp_cap_row *owner = owner_rule(&cfg->map, dword);
	u32 start = cfg->map.start[dword];
	u32 rest = ALL & ~link_bits(&cfg->map, dword);
	const struct blp_reg_row *row;
	u32 i;
	int err;

	cfg->virt[dword] = 0;
	cfg->write[dword] = 0;
	cfg->w1c[dword] = 0;
	cfg->hidden[dword] = owner->rule == BLP_RULE_HIDE;
	err = reader->dword(reader->ctx, dword * DWORD, &cfg->shadow[dword]);
	if (err)
		return err;
	for (i = 0; (row = blp_reg_row(i)); i++) {
		u32 bits = row_bits(row, owner, dword, start);

		apply(cfg, dword, bits, row->rule);
		rest &= ~bits;
	}
	apply(cfg, dword, rest, owner->rule);
	return 0;
}

/* The copy of a BAR keeps only bits above its length, which is how a driver probes it. */
static void init_base(struct blp_cfg *cfg, u32 offset, u64 len, u32 address)
{
	u32 dword = offset / DWORD;

	cfg->write[dword] = len ? (u32)~(len - 1) & address : 0;
	if (!len)
		cfg->shadow[dword] = 0;
}

static void init_bases(struct blp_cfg *cfg, const struct blp_cfg_host *host)
{
	const u32 first = PCI_BASE_ADDRESS_0 / DWORD;
	u32 i;

	for (i = 0; i < BLP_BARS; i++) {
		u32 type = cfg->shadow[first + i];
		u64 len = host->bar_len[i];

		if (type & PCI_BASE_ADDRESS_SPACE_IO) {
			init_base(cfg, (first + i) * DWORD, len, (u32)PCI_BASE_ADDRESS_IO_MASK);
			continue;
		}
		init_base(cfg, (first + i) * DWORD, len, (u32)PCI_BASE_ADDRESS_MEM_MASK);
		type &= PCI_BASE_ADDRESS_MEM_TYPE_MASK;
		if (!len || type != PCI_BASE_ADDRESS_MEM_TYPE_64 || i + 1 == BLP_BARS)
			continue;
		/* The upper half keeps its value: the address may be above 4 GiB. */
		i++;
		cfg->write[first + i] = (u32)(~(len - 1) >> (BYTE_BITS * DWORD));
	}
	init_base(cfg, PCI_ROM_ADDRESS, host->rom_len, PCI_ROM_ADDRESS_MASK);
	if (host->rom_len)
		cfg->write[PCI_ROM_ADDRESS / DWORD] |= PCI_ROM_ADDRESS_ENABLE;
	cfg->shadow[PCI_ROM_ADDRESS / DWORD] &= ~PCI_ROM_ADDRESS_ENABLE;
}

/* Next capability of the list of @dword that is not hidden, as a byte offset; 0: the end. */
static u32 next_shown(const struct blp_cfg *cfg, u32 dword)
{
	const struct blp_cap_map *map = &cfg->map;
	const u32 shift = BYTE_BITS * PCI_CAP_LIST_NEXT;
	bool ext = blp_cap_is_ext(dword);
	u32 steps, next = dword;

	/*
	 * The walk has shown that the list ends; the shadow has its pointers, taken before any of
	 * them was changed.
	 */
	for (steps = 0; steps < map->dwords; steps++) {
		u32 value = cfg->shadow[next];

		if (ext)
			next = PCI_EXT_CAP_NEXT(value) / DWORD;
		else if (next < BLP_HDR_DWORDS)
			next = (value & BLP_CAP_NEXT_MASK) / DWORD;
		else
			next = (value >> shift & BLP_CAP_NEXT_MASK) / DWORD;
		if (next < (ext ? BLP_STD_DWORDS : BLP_HDR_DWORDS) || map->start[next] != next)
			return 0;
		if (!cfg->hidden[next])
			return next * DWORD;
	}
	return 0;
}

/* Takes one capability out of its list, or points it past those that are. */
static void init_link(struct blp_cfg *cfg, u32 dword)
{
	u32 next = next_shown(cfg, dword);
	u32 *shadow = &cfg->shadow[dword];

	cfg->virt[dword] |= link_bits(&cfg->map, dword);
	if (!blp_cap_is_ext(dword)) {
		*shadow &= ~lanes(PCI_CAP_LIST_NEXT, sizeof(u8));
		*shadow |= next << (BYTE_BITS * PCI_CAP_LIST_NEXT);
		return;
	}
	*shadow &= ~BLP_EXT_NEXT_MASK;
	*shadow |= next << BLP_EXT_NEXT_SHIFT;
}

static void init_links(struct blp_cfg *cfg)
{
	const struct blp_cap_map *map = &cfg->map;
	u32 *list = &cfg->shadow[PCI_CAPABILITY_LIST / DWORD];
	u32 i, next;

	next = next_shown(cfg, PCI_CAPABILITY_LIST / DWORD);
	*list = (*list & ~lanes(PCI_CAPABILITY_LIST, sizeof(u8))) | next;
	/*
	 * A walk passes through pointers of hidden capabilities only: the others can change in
	 * any order.
	 */
	for (i = BLP_HDR_DWORDS; i < map->dwords; i++) {
		if (map->start[i] == i && !cfg->hidden[i])
			init_link(cfg, i);
	}
	for (i = BLP_HDR_DWORDS; i < map->dwords; i++) {
		if (map->start[i] != i || !cfg->hidden[i])
			continue;
		/*
		 * The extended list begins where it begins: its first capability becomes one of
		 * id 0.
		 */
		next = i == BLP_STD_DWORDS ? next_shown(cfg, i) : 0;
		cfg->virt[i] |= link_bits(map, i);
		cfg->shadow[i] = next << BLP_EXT_NEXT_SHIFT;
	}
}

int blp_cfg_init(struct blp_cfg *cfg, const struct blp_cfg_host *host,
		 const struct blp_reader *reader)
{
	u32 i;
	int err;

	err = blp_cap_walk(&cfg->map, host->size, reader);
	if (err)
		return err;
	cfg->snoop_enforced = host->snoop_enforced;
	for (i = 0; i < cfg->map.dwords; i++) {
		err = init_dword(cfg, i, reader);
		if (err)
			return err;
	}
	init_bases(cfg, host);
	init_links(cfg);
	return 0;
}

u32 blp_cfg_chunk(const struct blp_cfg *cfg, u32 offset, u64 count)
{
	u32 size = cfg->map.dwords * DWORD;

	if (offset >= size)
		return 0;
	if (count > size - offset)
		count = size - offset;
	return blp_access_width(offset, count, DWORD);
}

bool blp_cfg_needs_hw(const struct blp_cfg *cfg, u32 offset, u32 width)
{
	return lanes(offset, width) & ~cfg->virt[offset / DWORD];
}

u32 blp_cfg_read(const struct blp_cfg *cfg, u32 offset, u32 width, u32 hw)
{
	u32 shift = BYTE_BITS * (offset % DWORD);
	u32 virt = cfg->virt[offset / DWORD];
	u32 value = (cfg->shadow[offset / DWORD] & virt) | (hw << shift & ~virt);

	return (value & lanes(offset, width)) >> shift;
}

/* Bits of a dword with an action, and the actions that an access to @lane asks for. */
static u32 action_bits(const struct blp_cfg *cfg, u32 dword, u32 lane, u32 value, u32 *actions)
{
	const struct blp_cap_row *owner = owner_rule(&cfg->map, dword);
	const struct blp_reg_row *row;
	u32 i, all = 0;

	*actions = 0;
	for (i = 0; (row = blp_reg_row(i)); i++) {
		u32 bits = row_bits(row, owner, dword, cfg->map.start[dword]);

		if (row->rule != BLP_RULE_ACT)
			continue;
		all |= bits;
		/*
		 * A reset is asked for by a 1; fields are compared with what they are by the
		 * module.
		 */
		if (bits & lane && (row->action != BLP_ACT_FLR || bits & value))
			*actions |= BIT(row->action);
	}
	return all;
}

void blp_cfg_write(struct blp_cfg *cfg, u32 offset, u32 width, u32 value, struct blp_cfg_write *out)
{
	u32 dword = offset / DWORD;
	u32 shift = BYTE_BITS * (offset % DWORD);
	u32 lane = lanes(offset, width);
	u32 shadow = lane & cfg->write[dword] & cfg->virt[dword];
	u32 mask = lane & cfg->write[dword] & ~cfg->virt[dword];

	value = value << shift & lane;
	cfg->shadow[dword] = (cfg->shadow[dword] & ~shadow) | (value & shadow);
	mask &= ~action_bits(cfg, dword, lane, value, &out->actions);
	out->mask = mask >> shift;
	out->keep = (lane & ~mask & ~cfg->w1c[dword]) >> shift;
}

/* Fills a row with what the masks say about @bits of the register at @offset in a dword. */
static void fill_row(const struct blp_cfg *cfg, u32 offset, u32 size, u32 bits,
		     struct blp_cfg_row *out)
{
	u32 dword = offset / DWORD;
	u32 shift = BYTE_BITS * (offset % DWORD);
	u32 start = cfg->map.start[dword];

	out->offset = offset;
	out->size = size;
	out->cap = start == BLP_CAP_GAP ? BLP_CAP_GAP : cfg->map.id[start];
	out->bits = bits >> shift;
	out->virt = (bits & cfg->virt[dword]) >> shift;
	out->write = (bits & cfg->write[dword]) >> shift;
	out->action = BLP_ACT_NONE;
}

/*
 * Row @index of one dword: its links, its rows of the table, the rest. Without so many, their
 * number.
 */
static bool dword_row(const struct blp_cfg *cfg, u32 dword, u32 index, struct blp_cfg_row *out,
		      u32 *number)
{
	const struct blp_cap_row *owner = owner_rule(&cfg->map, dword);
	u32 links = link_bits(&cfg->map, dword);
	u32 rest = ALL & ~links;
	const struct blp_reg_row *row;
	u32 nr = 0, i;

	if (links && nr++ == index) {
		fill_row(cfg, dword * DWORD, links == ALL ? DWORD : sizeof(u16), links, out);
		out->why = cfg->hidden[dword] ? owner->why : BLP_WHY_LIST;
		return true;
	}
	for (i = 0; (row = blp_reg_row(i)); i++) {
		u32 bits = row_bits(row, owner, dword, cfg->map.start[dword]);

		rest &= ~bits;
		if (!bits || nr++ != index)
			continue;
		fill_row(cfg, dword * DWORD + row->reg % DWORD, row->size, bits, out);
		out->why = row->why;
		out->action = row->action;
		return true;
	}
	if (rest && nr++ == index) {
		fill_row(cfg, dword * DWORD, DWORD, rest, out);
		out->why = owner->why;
		return true;
	}
	*number = nr;
	return false;
}

/* Dwords from @dword on that one row describes: the same owner, nothing but its general rule. */
static u32 run_length(const struct blp_cfg *cfg, u32 dword, const struct blp_cfg_row *row)
{
	struct blp_cfg_row next;
	u32 end = dword + 1, number;

	if (row->bits != ALL || row->action != BLP_ACT_NONE || cfg->map.start[dword] == dword)
		return 1;
	while (end < cfg->map.dwords && cfg->map.start[end] == cfg->map.start[dword]) {
		dword_row(cfg, end, 0, &next, &number);
		if (next.bits != ALL || next.why != row->why || next.action != BLP_ACT_NONE ||
		    next.virt != row->virt || next.write != row->write)
			break;
		end++;
	}
	return end - dword;
}

int blp_cfg_row(const struct blp_cfg *cfg, u32 index, struct blp_cfg_row *out)
{
	u32 dword = 0, number;

	while (dword < cfg->map.dwords) {
		u32 run = 1;

		if (dword_row(cfg, dword, index, out, &number)) {
			if (out->bits == ALL)
				out->size = run_length(cfg, dword, out) * DWORD;
			return 0;
		}
		if (number == 1) {
			dword_row(cfg, dword, 0, out, &number);
			number = 1;
			run = run_length(cfg, dword, out);
		}
		index -= number;
		dword += run;
	}
	return -ENOENT;
}
