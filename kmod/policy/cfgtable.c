// SPDX-License-Identifier: GPL-2.0-only
/*
 * The registers of configuration space that do not simply pass through, and why each does not.
 *
 * CAP: a known capability, and what holds for registers without a row of their own. Capabilities
 * without a row are hidden. REG: bits of a register. The reasons are those of enum blp_why; the
 * sentence says what would happen. The names become Documentation/config-policy.md.
 */
#include "cfgtable.h"

#ifdef __KERNEL__
#define DOC(...)
#else
#define DOC(...) .doc = { __VA_ARGS__ },
#endif

/* A register is protected for a reason that someone wrote down, or not at all (R7). */
#define REASON(why, quoted) \
	BUILD_BUG_ON_ZERO(((why) != BLP_WHY_PASS) != (sizeof(quoted) > sizeof("\"\"")))

#define CAP(list_, id_, bytes_, rule_, why_, text_) { \
	.list = BLP_LIST_##list_, \
	.rule = BLP_RULE_##rule_, \
	.why = BLP_WHY_##why_ + REASON(BLP_WHY_##why_, #text_), \
	.id = (id_), \
	.bytes = (bytes_), \
	DOC(#id_, NULL, NULL, #rule_, "NONE", #why_, text_) \
}

#define REG(list_, id_, reg_, size_, bits_, rule_, action_, why_, text_) { \
	.list = BLP_LIST_##list_, \
	.rule = BLP_RULE_##rule_, \
	.action = BLP_ACT_##action_, \
	.why = BLP_WHY_##why_ + REASON(BLP_WHY_##why_, #text_), \
	.id = (id_), \
	.reg = (reg_), \
	.size = (size_), \
	.bits = (bits_), \
	DOC(#id_, #reg_, #bits_, #rule_, #action_, #why_, text_) \
}

#define HEADER 0
#define EVERY (~0u)

#define ERROR_REPORTS \
	(PCI_EXP_DEVCTL_CERE | PCI_EXP_DEVCTL_NFERE | PCI_EXP_DEVCTL_FERE | PCI_EXP_DEVCTL_URRE)
/* What is the device's own business in Device Control 2. */
#define OWN_DEVCTL2 \
	(PCI_EXP_DEVCTL2_COMP_TIMEOUT | PCI_EXP_DEVCTL2_COMP_TMOUT_DIS | \
	 PCI_EXP_DEVCTL2_IDO_REQ_EN | PCI_EXP_DEVCTL2_IDO_CMP_EN)
#define PATH_DEVCTL2 (EVERY & ~(u32)(OWN_DEVCTL2 | PCI_EXP_DEVCTL2_ARI))

static const struct blp_cap_row caps[] = {
	CAP(STD, PCI_CAP_ID_PM, PCI_PM_SIZEOF, PASS, PASS, ""),
	CAP(STD, PCI_CAP_ID_EXP, BLP_VARIABLE, PASS, PASS, ""),
	CAP(STD, PCI_CAP_ID_PCIX, BLP_VARIABLE, PASS, PASS, ""),
	CAP(STD, PCI_CAP_ID_AF, PCI_CAP_AF_SIZEOF, PASS, PASS, ""),
	CAP(STD, PCI_CAP_ID_VNDR, BLP_VARIABLE, PASS, PASS, ""),
	CAP(STD, PCI_CAP_ID_MSI, BLP_VARIABLE, LOCK, IRQ,
	    "The kernel programs MSI and relies on what it wrote; SET_IRQS is the way."),
	CAP(STD, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF, LOCK, IRQ,
	    "The kernel programs MSI-X and relies on what it wrote; SET_IRQS is the way."),
	CAP(STD, PCI_CAP_ID_VPD, PCI_CAP_VPD_SIZEOF, HIDE, STORE,
	    "Writes wear the store, reads race the kernel's own; sysfs has the file vpd."),
	CAP(STD, PCI_CAP_ID_EA, PCI_CAP_SIZEOF, HIDE, DECODE,
	    "Enhanced Allocation sets which addresses the device answers."),

	CAP(EXT, PCI_EXT_CAP_ID_DSN, PCI_EXT_CAP_DSN_SIZEOF, PASS, PASS, ""),
	CAP(EXT, PCI_EXT_CAP_ID_VNDR, BLP_VARIABLE, PASS, PASS, ""),
	CAP(EXT, PCI_EXT_CAP_ID_DVSEC, BLP_VARIABLE, LOCK, DECODE,
	    "CXL describes in it which memory the device answers for."),
	CAP(EXT, PCI_EXT_CAP_ID_REBAR, PCI_CAP_SIZEOF, LOCK, DECODE,
	    "A larger BAR reaches into the addresses of another device."),
	CAP(EXT, PCI_EXT_CAP_ID_SRIOV, PCI_EXT_CAP_SRIOV_SIZEOF, HIDE, IDENTITY,
	    "Virtual functions are requesters of their own, with BARs of their own."),
	CAP(EXT, PCI_EXT_CAP_ID_ARI, PCI_EXT_CAP_ARI_SIZEOF, LOCK, IDENTITY,
	    "The function number is a part of the requester id."),
	CAP(EXT, PCI_EXT_CAP_ID_ATS, PCI_EXT_CAP_ATS_SIZEOF, HIDE, IDENTITY,
	    "Requests that claim to be translated pass the IOMMU by."),
	CAP(EXT, PCI_EXT_CAP_ID_PRI, PCI_EXT_CAP_PRI_SIZEOF, HIDE, IDENTITY,
	    "Page requests go to the IOMMU's driver, which serves none for this device."),
	CAP(EXT, PCI_EXT_CAP_ID_PASID, PCI_EXT_CAP_PASID_SIZEOF, HIDE, IDENTITY,
	    "A PASID chooses another address space than the one that is attached."),
	CAP(EXT, PCI_EXT_CAP_ID_ERR, PCI_ERR_ROOT_COMMAND, LOCK, ERRORS,
	    "Masks and severities decide which errors are fatal for the host."),
	CAP(EXT, PCI_EXT_CAP_ID_VC, PCI_CAP_SIZEOF, LOCK, FABRIC,
	    "Virtual channels must agree with the other end of the link."),
	CAP(EXT, PCI_EXT_CAP_ID_VC9, PCI_CAP_SIZEOF, LOCK, FABRIC,
	    "Virtual channels must agree with the other end of the link."),
	CAP(EXT, PCI_EXT_CAP_ID_MFVC, PCI_CAP_SIZEOF, LOCK, FABRIC,
	    "Virtual channels are shared by all functions of the device."),
	CAP(EXT, PCI_EXT_CAP_ID_ACS, PCI_CAP_SIZEOF, LOCK, FABRIC,
	    "Access control keeps functions apart; IOMMU groups rely on it."),
	CAP(EXT, PCI_EXT_CAP_ID_MCAST, PCI_EXT_CAP_MCAST_ENDPOINT_SIZEOF, LOCK, FABRIC,
	    "Multicast writes reach other devices without the IOMMU."),
	CAP(EXT, PCI_EXT_CAP_ID_DPC, PCI_CAP_SIZEOF, LOCK, FABRIC,
	    "Containment takes the link down for everything behind it."),
	CAP(EXT, PCI_EXT_CAP_ID_L1SS, PCI_CAP_SIZEOF, LOCK, FABRIC,
	    "Both ends of the link must agree on its low-power states."),
	CAP(EXT, PCI_EXT_CAP_ID_LTR, PCI_EXT_CAP_LTR_SIZEOF, LOCK, FABRIC,
	    "Latency messages steer the power management of the platform."),
	CAP(EXT, PCI_EXT_CAP_ID_TPH, PCI_CAP_SIZEOF, LOCK, FABRIC,
	    "Processing hints steer the caches of the host."),
	CAP(EXT, PCI_EXT_CAP_ID_SECPCI, PCI_CAP_SIZEOF, LOCK, FABRIC,
	    "Equalization belongs to both ends of the link."),
	CAP(EXT, PCI_EXT_CAP_ID_PTM, PCI_CAP_SIZEOF, LOCK, FABRIC,
	    "Time messages need the consent of every port on the way."),
	CAP(EXT, PCI_EXT_CAP_ID_PWR, PCI_EXT_CAP_PWR_SIZEOF, LOCK, POWER,
	    "The power budget is the platform's."),
	CAP(EXT, PCI_EXT_CAP_ID_DPA, PCI_CAP_SIZEOF, LOCK, POWER,
	    "The power budget is the platform's."),
};

static const struct blp_reg_row regs[] = {
	REG(HDR, HEADER, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY, ACT, COMMAND, DECODE,
	    "Mappings must go before decoding does, or the processor finds nobody there."),
	REG(HDR, HEADER, PCI_COMMAND, 2, PCI_COMMAND_MASTER, ACT, COMMAND, IDENTITY,
	    "DMA is allowed only while an address space is attached."),
	REG(HDR, HEADER, PCI_COMMAND, 2, PCI_COMMAND_VGA_PALETTE, LOCK, NONE, DECODE,
	    "The device would answer writes to another device's palette."),
	REG(HDR, HEADER, PCI_COMMAND, 2, PCI_COMMAND_FAST_BACK, LOCK, NONE, FABRIC,
	    "Every device on a shared bus must bear back-to-back writes."),
	REG(HDR, HEADER, PCI_COMMAND, 2, PCI_COMMAND_PARITY | PCI_COMMAND_SERR, LOCK, NONE, ERRORS,
	    "SERR is a machine check or an NMI on some platforms."),
	REG(HDR, HEADER, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE, LOCK, NONE, IRQ,
	    "The kernel masks a shared INTx line with it; SET_IRQS is the way."),
	REG(HDR, HEADER, PCI_BASE_ADDRESS_0, 4, EVERY, BASE, NONE, DECODE,
	    "Another address takes accesses meant for memory or another device."),
	REG(HDR, HEADER, PCI_BASE_ADDRESS_1, 4, EVERY, BASE, NONE, DECODE,
	    "Another address takes accesses meant for memory or another device."),
	REG(HDR, HEADER, PCI_BASE_ADDRESS_2, 4, EVERY, BASE, NONE, DECODE,
	    "Another address takes accesses meant for memory or another device."),
	REG(HDR, HEADER, PCI_BASE_ADDRESS_3, 4, EVERY, BASE, NONE, DECODE,
	    "Another address takes accesses meant for memory or another device."),
	REG(HDR, HEADER, PCI_BASE_ADDRESS_4, 4, EVERY, BASE, NONE, DECODE,
	    "Another address takes accesses meant for memory or another device."),
	REG(HDR, HEADER, PCI_BASE_ADDRESS_5, 4, EVERY, BASE, NONE, DECODE,
	    "Another address takes accesses meant for memory or another device."),
	REG(HDR, HEADER, PCI_ROM_ADDRESS, 4, EVERY, BASE, NONE, DECODE,
	    "As for the other BARs; the kernel enables the ROM while it is read."),
	REG(HDR, HEADER, PCI_CAPABILITY_LIST, 1, EVERY, LINK, NONE, LIST,
	    "The first capability that is not hidden."),
	REG(HDR, HEADER, PCI_INTERRUPT_LINE, 1, EVERY, COPY, NONE, IRQ,
	    "The kernel may look its interrupt up in this scratch register."),

	REG(STD, PCI_CAP_ID_PM, PCI_PM_CTRL, 2, PCI_PM_CTRL_STATE_MASK, ACT, POWER, ABORT,
	    "A device in D3hot answers nobody: mappings go first, the configuration comes back."),
	REG(STD, PCI_CAP_ID_PM, PCI_PM_CTRL, 2, PCI_PM_CTRL_PME_ENABLE, ZERO, NONE, POWER,
	    "Power management events wake the host."),
	REG(STD, PCI_CAP_ID_PM, PCI_PM_CTRL, 2, PCI_PM_CTRL_PME_STATUS, ZEROW, NONE, POWER,
	    "Power management events wake the host."),

	REG(STD, PCI_CAP_ID_EXP, PCI_EXP_DEVCTL, 2, ERROR_REPORTS, LOCK, NONE, ERRORS,
	    "Reports of the device's errors can be fatal for the host."),
	REG(STD, PCI_CAP_ID_EXP, PCI_EXP_DEVCTL, 2, PCI_EXP_DEVCTL_PAYLOAD, LOCK, NONE, FABRIC,
	    "A packet above the payload size of a port on the way is malformed: fatal."),
	REG(STD, PCI_CAP_ID_EXP, PCI_EXP_DEVCTL, 2, PCI_EXP_DEVCTL_PHANTOM, LOCK, NONE, IDENTITY,
	    "Phantom functions send requests as other requesters."),
	REG(STD, PCI_CAP_ID_EXP, PCI_EXP_DEVCTL, 2, PCI_EXP_DEVCTL_AUX_PME, LOCK, NONE, POWER,
	    "Auxiliary power is the platform's."),
	REG(STD, PCI_CAP_ID_EXP, PCI_EXP_DEVCTL, 2, PCI_EXP_DEVCTL_NOSNOOP_EN, SNOOP, NONE, ERRORS,
	    "Unsnooped writes leave stale lines in caches, unless the IOMMU snoops anyway."),
	REG(STD, PCI_CAP_ID_EXP, PCI_EXP_DEVCTL, 2, PCI_EXP_DEVCTL_READRQ, ACT, READRQ, FABRIC,
	    "Never below the payload size: the kernel may rely on it to bound completions."),
	REG(STD, PCI_CAP_ID_EXP, PCI_EXP_DEVCTL, 2, PCI_EXP_DEVCTL_BCR_FLR, ACT, FLR, ABORT,
	    "A reset loses BARs and interrupts: the module resets and restores them."),
	REG(STD, PCI_CAP_ID_EXP, PCI_EXP_LNKCTL, 2, EVERY, LOCK, NONE, FABRIC,
	    "Both ends of the link must agree on its power states and clocks."),
	REG(STD, PCI_CAP_ID_EXP, PCI_EXP_SLTCTL, 2, EVERY, LOCK, NONE, FABRIC,
	    "Power and events of the slot are not the device's."),
	REG(STD, PCI_CAP_ID_EXP, PCI_EXP_RTCTL, 2, EVERY, LOCK, NONE, ERRORS,
	    "Root control decides which errors raise SERR."),
	REG(STD, PCI_CAP_ID_EXP, PCI_EXP_DEVCTL2, 2, PCI_EXP_DEVCTL2_ARI, LOCK, NONE, IDENTITY,
	    "Forwarding by ARI changes whom a request is for."),
	REG(STD, PCI_CAP_ID_EXP, PCI_EXP_DEVCTL2, 2, PATH_DEVCTL2, LOCK, NONE, FABRIC,
	    "Atomics, large tags, LTR, OBFF, prefixes: every port on the way must consent."),
	REG(STD, PCI_CAP_ID_EXP, PCI_EXP_LNKCTL2, 2, EVERY, LOCK, NONE, FABRIC,
	    "Speed and compliance modes belong to both ends of the link."),

	REG(STD, PCI_CAP_ID_PCIX, PCI_X_CMD, 2, PCI_X_CMD_DPERR_E, LOCK, NONE, ERRORS,
	    "Whether parity errors are reported or recovered is the host's choice."),
	REG(STD, PCI_CAP_ID_AF, PCI_AF_CTRL, 1, PCI_AF_CTRL_FLR, ACT, FLR, ABORT,
	    "A reset loses BARs and interrupts: the module resets and restores them."),
};

const struct blp_cap_row *blp_cap_row(u32 index)
{
	return index < ARRAY_SIZE(caps) ? &caps[index] : NULL;
}

const struct blp_reg_row *blp_reg_row(u32 index)
{
	return index < ARRAY_SIZE(regs) ? &regs[index] : NULL;
}
