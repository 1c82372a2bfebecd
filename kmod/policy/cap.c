// SPDX-License-Identifier: GPL-2.0-only
#include "cfgtable.h"

/* What a dead device, or none, answers. */
#define ALL_ONES (~0u)
/* Offsets of capabilities are whole dwords. */
#define DWORD sizeof(u32)
#define BYTE_BITS 8

static int read_dword(const struct blp_reader *reader, u32 offset, u32 *value)
{
	int err = reader->dword(reader->ctx, offset, value);

	if (err)
		return err;
	return *value == ALL_ONES ? -ENODEV : 0;
}

/* Length of a capability by its id, or BLP_VARIABLE. */
static u32 table_size(u8 list, u16 id)
{
	const struct blp_cap_row *row;
	u32 i;

	for (i = 0; (row = blp_cap_row(i)); i++) {
		if (row->list == list && row->id == id)
			return row->bytes;
	}
	/* Unknown: its header is all that is certain. */
	return DWORD;
}

/*
 * Message Control says how wide the address is and whether there are mask bits: 10, 14, 20 or 24
 * bytes.
 */
static u32 msi_size(u16 flags)
{
	bool wide = flags & PCI_MSI_FLAGS_64BIT;

	if (flags & PCI_MSI_FLAGS_MASKBIT)
		return (wide ? PCI_MSI_PENDING_64 : PCI_MSI_PENDING_32) + sizeof(u32);
	return (wide ? PCI_MSI_DATA_64 : PCI_MSI_DATA_32) + sizeof(u16);
}

static u32 exp_size(u16 flags)
{
	u32 type = (flags & PCI_EXP_FLAGS_TYPE) / (PCI_EXP_FLAGS_TYPE & -PCI_EXP_FLAGS_TYPE);
	bool link = type != PCI_EXP_TYPE_RC_END && type != PCI_EXP_TYPE_RC_EC;

	if ((flags & PCI_EXP_FLAGS_VERS) < 2)
		return link ? PCI_CAP_EXP_ENDPOINT_SIZEOF_V1 : PCI_CAP_EXP_RC_ENDPOINT_SIZEOF_V1;
	return link ? PCI_CAP_EXP_ENDPOINT_SIZEOF_V2 : PCI_CAP_EXP_RC_ENDPOINT_SIZEOF_V2;
}

static u32 std_size(u32 header)
{
	u16 id = header & BLP_CAP_ID_MASK;
	u16 flags = header >> (BYTE_BITS * PCI_CAP_FLAGS);
	u32 bytes = table_size(BLP_LIST_STD, id);

	if (bytes != BLP_VARIABLE)
		return bytes;
	switch (id) {
	case PCI_CAP_ID_MSI:
		return msi_size(flags);
	case PCI_CAP_ID_EXP:
		return exp_size(flags);
	case PCI_CAP_ID_PCIX:
		return PCI_X_CMD_VERSION(flags) ? PCI_CAP_PCIX_SIZEOF_V2 : PCI_CAP_PCIX_SIZEOF_V0;
	case PCI_CAP_ID_VNDR:
		return flags & BLP_CAP_ID_MASK;
	default:
		return DWORD;
	}
}

static int ext_size(const struct blp_reader *reader, u32 offset, u16 id, u32 *bytes)
{
	u32 header;
	int err;

	*bytes = table_size(BLP_LIST_EXT, id);
	if (*bytes != BLP_VARIABLE)
		return 0;
	/* Both vendor-specific kinds have the same second header. */
	*bytes = DWORD;
	if (offset + PCI_VNDR_HEADER >= PCI_CFG_SPACE_EXP_SIZE)
		return 0;
	err = read_dword(reader, offset + PCI_VNDR_HEADER, &header);
	if (!err)
		*bytes = PCI_VNDR_HEADER_LEN(header);
	return err;
}

/* A capability starts here, and none did before. */
static int start_cap(struct blp_cap_map *map, u32 dword, u16 id)
{
	if (map->start[dword] != BLP_CAP_GAP)
		return -ELOOP;
	map->start[dword] = dword;
	map->id[dword] = id;
	return 0;
}

static int walk_std(struct blp_cap_map *map, const struct blp_reader *reader)
{
	u32 value, offset;
	int err;

	err = read_dword(reader, PCI_COMMAND, &value);
	if (err)
		return err;
	if (!(value >> (BYTE_BITS * (PCI_STATUS - PCI_COMMAND)) & PCI_STATUS_CAP_LIST))
		return 0;
	err = read_dword(reader, PCI_CAPABILITY_LIST, &value);
	/* A pointer into the header ends a list, as it does for the kernel. */
	for (offset = value & BLP_CAP_NEXT_MASK; !err && offset >= PCI_STD_HEADER_SIZEOF;) {
		err = read_dword(reader, offset, &value);
		if (!err)
			err = start_cap(map, offset / DWORD, value & BLP_CAP_ID_MASK);
		offset = value >> (BYTE_BITS * PCI_CAP_LIST_NEXT) & BLP_CAP_NEXT_MASK;
	}
	return err;
}

static int walk_ext(struct blp_cap_map *map, const struct blp_reader *reader)
{
	u32 value, offset = PCI_CFG_SPACE_SIZE;
	int err = 0;

	while (!err && offset >= PCI_CFG_SPACE_SIZE) {
		err = read_dword(reader, offset, &value);
		if (err)
			break;
		/* No list at all. */
		if (!value && offset == PCI_CFG_SPACE_SIZE)
			break;
		err = start_cap(map, offset / DWORD, PCI_EXT_CAP_ID(value));
		offset = PCI_EXT_CAP_NEXT(value);
	}
	return err;
}

/* Gives a capability the dwords behind its first one. */
static int claim(struct blp_cap_map *map, u32 first, u32 bytes, bool cut)
{
	u32 end = blp_cap_is_ext(first) ? map->dwords : BLP_STD_DWORDS;
	u32 last = first + (bytes + DWORD - 1) / DWORD;
	u32 i;

	for (i = first + 1; i < last && i < end; i++) {
		if (map->start[i] != BLP_CAP_GAP)
			return cut ? 0 : -ELOOP;
		map->start[i] = first;
	}
	return 0;
}

static int claim_all(struct blp_cap_map *map, const struct blp_reader *reader)
{
	u32 i, header, bytes;
	bool cut;
	int err;

	for (i = BLP_HDR_DWORDS; i < map->dwords; i++) {
		if (map->start[i] != i)
			continue;
		err = read_dword(reader, i * DWORD, &header);
		if (err)
			return err;
		if (blp_cap_is_ext(i)) {
			err = ext_size(reader, i * DWORD, map->id[i], &bytes);
			cut = map->id[i] == PCI_EXT_CAP_ID_VNDR ||
			      map->id[i] == PCI_EXT_CAP_ID_DVSEC;
		} else {
			bytes = std_size(header);
			cut = map->id[i] == PCI_CAP_ID_VNDR;
		}
		if (!err)
			err = claim(map, i, bytes, cut);
		if (err)
			return err;
	}
	return 0;
}

int blp_cap_walk(struct blp_cap_map *map, u32 size, const struct blp_reader *reader)
{
	u32 i, value;
	int err;

	if (size != PCI_CFG_SPACE_SIZE && size != PCI_CFG_SPACE_EXP_SIZE)
		return -EINVAL;
	map->dwords = size / DWORD;
	for (i = 0; i < BLP_CFG_DWORDS; i++) {
		map->start[i] = i < BLP_HDR_DWORDS ? 0 : BLP_CAP_GAP;
		map->id[i] = 0;
	}
	err = read_dword(reader, PCI_VENDOR_ID, &value);
	if (!err)
		err = walk_std(map, reader);
	if (!err && size == PCI_CFG_SPACE_EXP_SIZE)
		err = walk_ext(map, reader);
	return err ? err : claim_all(map, reader);
}

u32 blp_cap_find(const struct blp_cap_map *map, bool ext, u16 id)
{
	u32 first = ext ? BLP_STD_DWORDS : BLP_HDR_DWORDS;
	u32 end = ext ? map->dwords : BLP_STD_DWORDS;
	u32 i;

	for (i = first; i < end; i++) {
		if (map->start[i] == i && map->id[i] == id)
			return i * DWORD;
	}
	return 0;
}
