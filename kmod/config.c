// SPDX-License-Identifier: GPL-2.0-only
/*
 * Configuration space, under the policy of policy/cfgperm.c.
 *
 * The policy says what of an access goes to the hardware, and which writes stand for an action of
 * the kernel. The actions are here. All of it runs under bl_dev.lock.
 */
#include <linux/slab.h>

#include "internal.h"

static int bl_reader_dword(void *ctx, u32 offset, u32 *value)
{
	struct bl_dev *bd = ctx;

	return pcibios_err_to_errno(pci_read_config_dword(bd->pdev, offset, value));
}

/* Map, masks and shadow, from the hardware as it is now. */
static int bl_config_build(struct bl_dev *bd)
{
	const struct blp_reader reader = { .dword = bl_reader_dword, .ctx = bd };
	struct blp_cfg_host host = {
		.rom_len = bl_bar_size(bd, PCI_ROM_RESOURCE),
		.size = bd->pdev->cfg_size,
		.snoop_enforced = bd->ioas && bd->ioas->snoop_enforced,
	};
	u32 i;

	for (i = 0; i < BLP_BARS; i++)
		host.bar_len[i] = bl_bar_size(bd, i);
	memset(bd->cfg, 0, sizeof(*bd->cfg));
	return blp_cfg_init(bd->cfg, &host, &reader);
}

int bl_config_init(struct bl_dev *bd)
{
	int err;

	bd->cfg = bl_fail("config: new") ? NULL : kvzalloc(sizeof(*bd->cfg), GFP_KERNEL_ACCOUNT);
	if (!bd->cfg)
		return -ENOMEM;
	err = bl_fail("config: walk") ? -ELOOP : bl_config_build(bd);
	if (err)
		bl_config_free(bd);
	if (err == -ELOOP)
		pci_err(bd->pdev, "its list of capabilities runs in circles\n");
	return err;
}

void bl_config_free(struct bl_dev *bd)
{
	kvfree(bd->cfg);
	bd->cfg = NULL;
}

/* Whether no-snoop may be set depends on the address space; until now nothing could be written. */
int bl_config_attached(struct bl_dev *bd)
{
	return bl_config_build(bd);
}

static int bl_hw_read(struct pci_dev *pdev, u32 offset, u32 width, u32 *value)
{
	u16 word = 0;
	u8 byte = 0;
	int err;

	switch (width) {
	case sizeof(u8):
		err = pci_user_read_config_byte(pdev, offset, &byte);
		*value = byte;
		return err;
	case sizeof(u16):
		err = pci_user_read_config_word(pdev, offset, &word);
		*value = word;
		return err;
	default:
		return pci_user_read_config_dword(pdev, offset, value);
	}
}

static int bl_hw_write(struct pci_dev *pdev, u32 offset, u32 width, u32 value)
{
	switch (width) {
	case sizeof(u8):
		return pci_user_write_config_byte(pdev, offset, value);
	case sizeof(u16):
		return pci_user_write_config_word(pdev, offset, value);
	default:
		return pci_user_write_config_dword(pdev, offset, value);
	}
}

/* Changes @bits of COMMAND. */
static void bl_command_change(struct bl_dev *bd, u16 bits, u16 value)
{
	u16 old;

	pci_read_config_word(bd->pdev, PCI_COMMAND, &old);
	value = (old & ~bits) | (value & bits);
	if (value != old)
		pci_write_config_word(bd->pdev, PCI_COMMAND, value);
}

/*
 * Makes BARs decode, for what the kernel has to do in them; memory_lock is held, so the process
 * does not see it.
 */
u16 bl_config_decode_on(struct bl_dev *bd)
{
	u16 command;

	pci_read_config_word(bd->pdev, PCI_COMMAND, &command);
	bl_command_change(bd, PCI_COMMAND_MEMORY, PCI_COMMAND_MEMORY);
	return command;
}

void bl_config_decode_back(struct bl_dev *bd, u16 command)
{
	bl_command_change(bd, PCI_COMMAND_MEMORY, command);
}

/*
 * MEM off: the mappings go first, so that no access finds nobody (W2). MASTER: only where the
 * state allows it (R21).
 */
static int bl_act_command(struct bl_dev *bd, u16 value)
{
	const u16 decode = PCI_COMMAND_MEMORY | PCI_COMMAND_IO;

	down_write(&bd->memory_lock);
	bd->decodes = value & PCI_COMMAND_MEMORY;
	bl_update_live(bd);
	bl_command_change(bd, decode, value);
	up_write(&bd->memory_lock);
	return bl_event(bd, value & PCI_COMMAND_MASTER ? BLP_EV_MASTER_ON : BLP_EV_MASTER_OFF,
			NULL);
}

/* From D3hot a function may come back without its configuration. memory_lock is held. */
void bl_config_power_up(struct bl_dev *bd)
{
	pci_set_power_state(bd->pdev, PCI_D0);
	pci_restore_state(bd->pdev);
	bd->powered = true;
}

static void bl_act_power(struct bl_dev *bd, pci_power_t state)
{
	down_write(&bd->memory_lock);
	if (state == PCI_D0 && !bd->powered) {
		bl_config_power_up(bd);
	} else if (state != PCI_D0 && bd->powered) {
		bd->powered = false;
		bl_update_live(bd);
		pci_save_state(bd->pdev);
		/* A state that the function does not have leaves it in D0. */
		if (pci_set_power_state(bd->pdev, state))
			bd->powered = true;
	}
	bl_update_live(bd);
	up_write(&bd->memory_lock);
}

/* Requests above the payload size split completions no finer than the fabric is set up for (W4). */
static void bl_act_readrq(struct bl_dev *bd, u32 devctl)
{
	u32 order = (devctl & PCI_EXP_DEVCTL_READRQ) >> (ffs(PCI_EXP_DEVCTL_READRQ) - 1);
	int floor = pcie_get_mps(bd->pdev);
	int bytes = BL_READRQ_UNIT << order;

	/* Two codes of the field are reserved; the core refuses them. */
	pcie_set_readrq(bd->pdev, max(bytes, floor));
}

/*
 * What is left of a write besides bits for the hardware; @value is in its place in the dword.
 * 1: a reset is wanted.
 */
static int bl_act(struct bl_dev *bd, u32 actions, u32 value)
{
	int err = 0;

	if (actions & BIT(BLP_ACT_COMMAND))
		err = bl_act_command(bd, value);
	if (actions & BIT(BLP_ACT_POWER))
		bl_act_power(bd, (__force pci_power_t)(value & PCI_PM_CTRL_STATE_MASK));
	if (actions & BIT(BLP_ACT_READRQ))
		bl_act_readrq(bd, value);
	if (!err && actions & BIT(BLP_ACT_FLR))
		return 1;
	return err;
}

static int bl_write_locked(struct bl_dev *bd, u32 offset, u32 width, u32 value)
{
	struct blp_cfg_write out;
	u32 old = 0, value_hw;
	int err;

	err = bl_event_check(bd, BLP_EV_ACCESS);
	if (err)
		return err;
	blp_cfg_write(bd->cfg, offset, width, value, &out);
	if (out.mask) {
		err = out.keep ? bl_hw_read(bd->pdev, offset, width, &old) : 0;
		value_hw = (old & out.keep) | (value & out.mask);
		err = err ?: bl_hw_write(bd->pdev, offset, width, value_hw);
		if (err)
			return err;
	}
	return bl_act(bd, out.actions, value << (offset % sizeof(u32) * BITS_PER_BYTE));
}

static int bl_read_locked(struct bl_dev *bd, u32 offset, u32 width, u32 *value)
{
	int err = 0;

	if (!blp_state_can_read_config(bd->state))
		return bd->state == BLP_REVOKED ? -ENODEV : -EBUSY;
	*value = 0;
	if (blp_cfg_needs_hw(bd->cfg, offset, width))
		err = bl_hw_read(bd->pdev, offset, width, value);
	*value = blp_cfg_read(bd->cfg, offset, width, *value);
	return err;
}

ssize_t bl_config_read(struct bl_dev *bd, char __user *buf, size_t count, u64 offset)
{
	size_t done;
	__le32 raw;
	u32 width, value;
	int err = 0;

	for (done = 0; done < count; done += width) {
		width = blp_cfg_chunk(bd->cfg, offset + done, count - done);
		if (!width)
			break;
		mutex_lock(&bd->lock);
		err = bl_read_locked(bd, offset + done, width, &value);
		mutex_unlock(&bd->lock);
		raw = cpu_to_le32(value);
		if (!err && copy_to_user(buf + done, &raw, width))
			err = -EFAULT;
		if (err)
			break;
	}
	return done ?: err;
}

ssize_t bl_config_write(struct bl_dev *bd, const char __user *buf, size_t count, u64 offset)
{
	size_t done;
	__le32 raw;
	u32 width;
	int err = 0;

	for (done = 0; done < count; done += width) {
		width = blp_cfg_chunk(bd->cfg, offset + done, count - done);
		if (!width)
			break;
		raw = 0;
		if (copy_from_user(&raw, buf + done, width)) {
			err = -EFAULT;
			break;
		}
		mutex_lock(&bd->lock);
		err = bl_write_locked(bd, offset + done, width, le32_to_cpu(raw));
		mutex_unlock(&bd->lock);
		if (err > 0)
			err = bl_event_locked(bd, BLP_EV_RESET);
		if (err)
			break;
	}
	return done ?: err;
}

/* The live policy, row by row. */
int bl_config_policy(struct bl_dev *bd, struct barline_cfg_policy *arg)
{
	struct barline_cfg_row __user *to = u64_to_user_ptr(arg->rows_ptr);
	u32 room = arg->count;
	struct blp_cfg_row row;
	u32 n;

	for (n = 0; ; n++) {
		struct barline_cfg_row out;
		int err;

		mutex_lock(&bd->lock);
		err = blp_cfg_row(bd->cfg, n, &row);
		mutex_unlock(&bd->lock);
		if (err)
			break;
		if (n >= room)
			continue;
		out = (struct barline_cfg_row){
			.offset = row.offset, .size = row.size, .cap = row.cap, .why = row.why,
			.action = row.action, .bits = row.bits, .virt = row.virt,
			.write = row.write,
		};
		if (copy_to_user(to + n, &out, sizeof(out)))
			return -EFAULT;
	}
	arg->count = n;
	return 0;
}
