/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * A PCI function in the hands of a process: the ABI of barline.ko
 *
 *    process                                   kernel                       hardware
 *   +-------------------------+
 *   | packet pool             |--- MAP ----> /dev/barline/iommu             +-------+
 *   |  (huge pages)           |              one I/O address space (IOAS):  | IOMMU |
 *   |                         |              iova -> pinned pages ========> |  page |
 *   |                         |                   ^                         | tables|
 *   |                         |                   | ATTACH (device fd)      +-------+
 *   |                         |                   |                             ^ DMA
 *   | driver  <-- eventfds ---|--- SET_IRQS > /dev/barline/0000:01:00.0         |
 *   |         --- pread ------|-------------> region 7: configuration      +---------+
 *   |         === mmap =======|=============> region 0-5: BARs ==========> | device  |
 *   +-------------------------+                                            +---------+
 *
 * Order of use
 *
 *   ioas = open("/dev/barline/iommu")        an empty address space, no IOMMU behind it yet
 *   dev = open("/dev/barline/0000:01:00.0")  exclusive: a second open is EBUSY; pass the fd
 *                                            instead
 *   DEV_INFO, REGION_INFO, IRQ_INFO          legal at any time; so are reads of configuration
 *                                            space
 *   DEV_ATTACH(dev, ioas)                    its group's DMA now lands there, and nowhere else
 *   IOAS_INFO(ioas)                          aperture, reserved ranges (an attach can narrow
 *                                            them)
 *   IOAS_MAP(ioas)                           any process with the fd may map its own memory
 *   mmap(dev), pread(dev), pwrite(dev)       BARs, at the offset that REGION_INFO gives
 *   SET_IRQS(dev), BUS_MASTER(dev)           interrupts, then DMA
 *   close(dev), close(ioas)                  in any order; a killed process has the same effect
 *
 * Ownership
 *
 *   - An address space is owned by its fd and by each attached device: it lives until the last of
 *     them goes. Each mapping is charged to RLIMIT_MEMLOCK of the process that made it, and given
 *     back to the same, whoever unmaps.
 *   - The device is owned by its fd; a mapping of a BAR holds the fd. close() happens after the
 *     last munmap().
 *   - The kernel may take the device back (unbind, hot unplug, suspend). It says so through the
 *     eventfds REQ and PM, waits a bounded time, and then revokes: mappings of BARs fault
 *     (SIGBUS, or read as all ones when mapped with BARLINE_MMAP_REVOKE_ONES), every call is
 *     ENODEV, poll() is POLLHUP | POLLERR.
 *   - The device never masters the bus outside of an attached address space. Bus mastering is off
 *     after open, after attach, after reset and after a resume: only the owner switches it on.
 *
 * Versions
 *
 *   - Every structure begins with argsz, its size as the caller knows it. The kernel accepts a
 *     larger one if all that it does not know is zero (else E2BIG), and a smaller one down to the
 *     first version of the structure (else EINVAL). It fills in what fits, and sets argsz to the
 *     size that it knows.
 *   - Unknown flags and reserved fields that are not zero are EINVAL, so that they can get a
 *     meaning later.
 *   - BARLINE_ABI rises when something is added. Nothing is ever removed or changed.
 *
 * Errors
 *
 *   ENOTTY     no such ioctl on this fd
 *   E2BIG      the caller wants something newer than this kernel has
 *   EINVAL     a field is wrong
 *   EOVERFLOW  start + length wraps
 *   ERANGE     outside of the aperture, or in a reserved range
 *   EEXIST     overlaps a mapping
 *   ENOENT     nothing is mapped there
 *   ENXIO      there is no device attached yet
 *   ENOMEM     RLIMIT_MEMLOCK, or out of memory
 *   ENOSPC     max_maps mappings exist, or too few interrupt vectors are left
 *   EBUSY      in use (the device, its group, an interrupt mode), or asleep until PM_ACK
 *   EPERM      not without an address space; the MSI-X table where interrupts are not remapped
 *   ENODEV     the device is gone, or was revoked
 */
#ifndef _UAPI_BARLINE_H
#define _UAPI_BARLINE_H

#include <linux/ioctl.h>
#include <linux/types.h>
#ifdef __KERNEL__
#include <linux/build_bug.h>
#else
#include <assert.h>
#endif

/* Version of this file, reported by IOAS_INFO and DEV_INFO. */
#define BARLINE_ABI		1

#define BARLINE_IOC		0xBA
#define BARLINE_IO(nr)		_IO(BARLINE_IOC, (nr))

/* ---- /dev/barline/iommu ------------------------------------------------------------------ */

/* Addresses first to last, both inclusive. */
struct barline_range {
	__aligned_u64 first;
	__aligned_u64 last;
};

/*
 * BARLINE_IOAS_INFO - what can be mapped.
 *
 * In: nr_reserved is the room at reserved_ptr (0: none). Out: the number there is, whether or not
 * it fitted; as many as fit are written; they may overlap. Before the first attach there
 * is no aperture yet: page_sizes is 0.
 */
struct barline_ioas_info {
	__u32 argsz;
	__u32 flags;			/* out: 0 */
	__u32 abi;			/* out: BARLINE_ABI */
	__u32 nr_reserved;		/* in, out */
	__aligned_u64 page_sizes;	/* out: one bit a size; the lowest is the granule of MAP */
	struct barline_range aperture;	/* out */
	__aligned_u64 reserved_ptr;	/* in: struct barline_range[nr_reserved] */
	__aligned_u64 max_maps;		/* out: mappings that may exist at a time */
	__aligned_u64 __reserved;
};

#define BARLINE_IOAS_INFO	BARLINE_IO(0x00)

/*
 * BARLINE_IOAS_MAP - pins size bytes at vaddr of the calling process and maps them at iova.
 *
 * All three are multiples of the granule. All or nothing. Charges RLIMIT_MEMLOCK, unless
 * CAP_IPC_LOCK.
 */
struct barline_ioas_map {
	__u32 argsz;
	__u32 flags;
#define BARLINE_MAP_READ	(1U << 0)	/* the device may read */
#define BARLINE_MAP_WRITE	(1U << 1)	/* the device may write */
	__aligned_u64 vaddr;
	__aligned_u64 iova;
	__aligned_u64 size;
};

#define BARLINE_IOAS_MAP	BARLINE_IO(0x01)

/*
 * BARLINE_IOAS_UNMAP - undoes all mappings inside of [iova, iova + size); one that is covered in
 * part is EINVAL, none is ENOENT. When it returns, no device reaches the pages any more.
 */
struct barline_ioas_unmap {
	__u32 argsz;
	__u32 flags;
#define BARLINE_UNMAP_ALL	(1U << 0)	/* all; iova and size are 0; none is no error */
	__aligned_u64 iova;
	__aligned_u64 size;
	__aligned_u64 unmapped;			/* out: bytes */
};

#define BARLINE_IOAS_UNMAP	BARLINE_IO(0x02)

/* BARLINE_IOAS_STATS - counts since open (maps, pages: now). */
struct barline_ioas_stats {
	__u32 argsz;
	__u32 flags;
	__aligned_u64 maps;		/* out: mappings there are */
	__aligned_u64 pages;		/* out: pages (of PAGE_SIZE) they pin */
	__aligned_u64 iommu_map_calls;	/* out: contiguous runs that were handed to the IOMMU */
	__aligned_u64 largest_run;	/* out: bytes of the longest one */
	__aligned_u64 __reserved;
};

#define BARLINE_IOAS_STATS	BARLINE_IO(0x03)

/* ---- /dev/barline/DDDD:BB:DD.F ----------------------------------------------------------- */

/*
 * The life of a device. OPEN, ATTACHED and MASTER are the normal ones; the machine's suspend leads
 * to SUSPENDED and its resume to WOKEN, which PM_ACK ends; nothing leads out of REVOKED.
 */
enum barline_state {
	BARLINE_STATE_BOUND		= 0,	/* closed: reset, quiet, configuration restored */
	BARLINE_STATE_OPEN		= 1,	/* no DMA, no BARs, no interrupts */
	BARLINE_STATE_ATTACHED		= 2,	/* BARs and interrupts */
	BARLINE_STATE_MASTER		= 3,	/* and DMA */
	BARLINE_STATE_SUSPENDED_OPEN	= 4,
	BARLINE_STATE_SUSPENDED_ATTACHED = 5,
	BARLINE_STATE_WOKEN_OPEN	= 6,
	BARLINE_STATE_WOKEN_ATTACHED	= 7,
	BARLINE_STATE_REVOKED		= 8,
};

/* What the PM eventfd announces. */
enum barline_pm_event {
	BARLINE_PM_NONE		= 0,
	BARLINE_PM_SUSPEND	= 1,	/* save its state, then PM_ACK: it loses power */
	BARLINE_PM_RESUME	= 2,	/* PM_ACK, then program it again: it was reset */
};

/* BARLINE_DEV_INFO - what it is. */
struct barline_dev_info {
	__u32 argsz;
	__u32 flags;			/* out */
#define BARLINE_DEV_PCIE	(1U << 0)
#define BARLINE_DEV_MSI_ISOLATED (1U << 1)	/* remapped: it raises only its own interrupts */
#define BARLINE_DEV_RESETTABLE	(1U << 2)	/* else: bound because of allow_noreset */
	__u32 regions;			/* out: BARLINE_REGION_COUNT */
	__u32 irqs;			/* out: BARLINE_IRQ_COUNT */
	__u16 vendor;			/* out */
	__u16 device;			/* out */
	__u16 subsystem_vendor;		/* out */
	__u16 subsystem_device;		/* out */
	__u32 domain;			/* out: PCI segment */
	__u8 bus;			/* out */
	__u8 devfn;			/* out: device << 3 | function */
	__u16 __pad;
	__s32 group;			/* out: IOMMU group */
	__s32 numa_node;		/* out: -1: unknown */
	__u32 reset_methods;		/* out: number of ways to reset it */
	__u32 state;			/* out: enum barline_state */
	__u32 pm_event;			/* out: enum barline_pm_event that waits for PM_ACK */
	__u32 abi;			/* out: BARLINE_ABI */
	__aligned_u64 __reserved;
};

#define BARLINE_DEV_INFO	BARLINE_IO(0x20)

/* Regions; the numbers are VFIO's. */
enum barline_region {
	BARLINE_REGION_BAR0	= 0,	/* to BAR5: 5 */
	BARLINE_REGION_ROM	= 6,	/* read only, not mappable */
	BARLINE_REGION_CONFIG	= 7,	/* under the policy that CFG_POLICY shows */
	BARLINE_REGION_COUNT	= 8,
};

/* Where region n stands in the file. */
#define BARLINE_REGION_SHIFT	40
#define BARLINE_REGION_OFFSET(n) ((__u64)(n) << BARLINE_REGION_SHIFT)

/* Added to an offset for mmap(): once revoked, the mapping reads as all ones, no SIGBUS. */
#define BARLINE_MMAP_REVOKE_ONES (1ULL << 43)

/* A part of a region, in bytes from its start. */
struct barline_area {
	__aligned_u64 offset;
	__aligned_u64 size;
};

/*
 * BARLINE_DEV_REGION_INFO - one region.
 *
 * Size 0: there is none. With BARLINE_REGION_AREAS only the areas can be mapped (the MSI-X table
 * is left out where interrupts are not remapped); nr_areas as nr_reserved of IOAS_INFO. Without
 * it, all of a mappable region can.
 */
struct barline_region_info {
	__u32 argsz;
	__u32 flags;			/* out */
#define BARLINE_REGION_READ	(1U << 0)
#define BARLINE_REGION_WRITE	(1U << 1)
#define BARLINE_REGION_MMAP	(1U << 2)
#define BARLINE_REGION_MSIX	(1U << 3)	/* holds the MSI-X table or PBA */
#define BARLINE_REGION_IO	(1U << 4)	/* I/O ports */
#define BARLINE_REGION_AREAS	(1U << 5)
	__u32 index;			/* in: enum barline_region */
	__u32 nr_areas;			/* in, out */
	__aligned_u64 size;		/* out */
	__aligned_u64 offset;		/* out: in the file */
	__aligned_u64 areas_ptr;	/* in: struct barline_area[nr_areas] */
	__aligned_u64 __reserved;
};

#define BARLINE_DEV_REGION_INFO	BARLINE_IO(0x21)

/* Kinds of interrupts and events. The first five are VFIO's numbers. */
enum barline_irq {
	BARLINE_IRQ_INTX	= 0,
	BARLINE_IRQ_MSI		= 1,
	BARLINE_IRQ_MSIX	= 2,
	BARLINE_IRQ_ERR		= 3,	/* an uncorrectable error (AER) */
	BARLINE_IRQ_REQ		= 4,	/* the host wants the device back: close it soon */
	BARLINE_IRQ_PM		= 5,	/* see enum barline_pm_event */
	BARLINE_IRQ_COUNT	= 6,
};

/* BARLINE_DEV_IRQ_INFO - one kind. */
struct barline_irq_info {
	__u32 argsz;
	__u32 flags;			/* out */
#define BARLINE_IRQ_EVENTFD	(1U << 0)
#define BARLINE_IRQ_MASKABLE	(1U << 1)
#define BARLINE_IRQ_AUTOMASKED	(1U << 2)	/* masked when it fires; UNMASK once served */
	__u32 index;			/* in: enum barline_irq */
	__u32 count;			/* out: vectors, 0: the device has none of this kind */
};

#define BARLINE_DEV_IRQ_INFO	BARLINE_IO(0x22)

/*
 * BARLINE_DEV_SET_IRQS - as VFIO_DEVICE_SET_IRQS: one kind of data, one action.
 *
 *   TRIGGER | EVENTFD   s32[count]: an eventfd, or -1 for none. A descriptor that is no eventfd
 *                       fails the call and leaves all vectors as they were. The first call with
 *                       MSI-X or MSI allocates all vectors; from then on each can be set, changed
 *                       and cleared without touching another.
 *   TRIGGER | NONE      count 0: switches the kind off. Else signals the eventfds, for a test.
 *   TRIGGER | BOOL      u8[count]: signals those that are not 0.
 *   MASK, UNMASK        INTx only, with NONE or BOOL.
 *
 * INTx, MSI and MSI-X exclude each other (EBUSY). They need an attached device; the others an
 * open one.
 */
struct barline_set_irqs {
	__u32 argsz;
	__u32 flags;
#define BARLINE_SET_DATA_NONE	(1U << 0)
#define BARLINE_SET_DATA_BOOL	(1U << 1)
#define BARLINE_SET_DATA_EVENTFD (1U << 2)
#define BARLINE_SET_MASK	(1U << 3)
#define BARLINE_SET_UNMASK	(1U << 4)
#define BARLINE_SET_TRIGGER	(1U << 5)
	__u32 index;			/* enum barline_irq */
	__u32 start;
	__u32 count;
	__u32 __pad;
	__aligned_u64 data_ptr;
};

#define BARLINE_DEV_SET_IRQS	BARLINE_IO(0x23)

/*
 * BARLINE_DEV_ATTACH - puts the device's group into an address space.
 *
 * EBUSY: attached already; another device of the group is in another address space; or one has a
 * kernel driver. EINVAL: its IOMMU cannot share page tables with the devices there: use an
 * address space of its own.
 */
struct barline_attach {
	__u32 argsz;
	__u32 flags;
	__s32 ioas_fd;
	__u32 __pad;
};

#define BARLINE_DEV_ATTACH	BARLINE_IO(0x24)

/*
 * Structure of the calls that have no arguments:
 *
 * BARLINE_DEV_DETACH - quiets the device (mappings of BARs fault, bus mastering and interrupts
 * off, reset) and takes it out of the address space. Mappings in the address space stay.
 *
 * BARLINE_DEV_RESET - resets the function. BARs stay mapped (they fault back in), eventfds stay
 * set; bus mastering is off, registers are lost.
 */
struct barline_simple {
	__u32 argsz;
	__u32 flags;
};

#define BARLINE_DEV_DETACH	BARLINE_IO(0x25)
#define BARLINE_DEV_RESET	BARLINE_IO(0x26)

/* BARLINE_DEV_BUS_MASTER - allows DMA or stops it; the same as COMMAND.MASTER in region 7. */
struct barline_bus_master {
	__u32 argsz;
	__u32 flags;
	__u32 on;			/* 0 or 1 */
	__u32 __pad;
};

#define BARLINE_DEV_BUS_MASTER	BARLINE_IO(0x27)

/* BARLINE_DEV_PM_ACK - answers a PM event. EINVAL: not the one that waits. */
struct barline_pm_ack {
	__u32 argsz;
	__u32 flags;
	__u32 event;			/* enum barline_pm_event */
	__u32 __pad;
};

#define BARLINE_DEV_PM_ACK	BARLINE_IO(0x28)

/*
 * Why a register is not passed through: the harm done to the host if it were.
 * See Documentation/config-policy.md.
 */
enum barline_why {
	BARLINE_WHY_NONE	= 0,	/* none: passed through */
	BARLINE_WHY_DECODE	= 1,	/* W1: captures accesses meant for others */
	BARLINE_WHY_ABORT	= 2,	/* W2: the CPU's accesses to the BARs abort */
	BARLINE_WHY_IDENTITY	= 3,	/* W3: requests leave as another, or pre-translated */
	BARLINE_WHY_FABRIC	= 4,	/* W4: errors at the upstream port, which hit siblings */
	BARLINE_WHY_IRQ		= 5,	/* W5: the kernel's idea of interrupts goes wrong */
	BARLINE_WHY_ERRORS	= 6,	/* W6: device errors become host errors; stale caches */
	BARLINE_WHY_STORE	= 7,	/* W7: a store that the host shares (VPD) */
	BARLINE_WHY_POWER	= 8,	/* W8: wakes the host */
	BARLINE_WHY_LIST	= 9,	/* ids and pointers of the lists: some are hidden */
	BARLINE_WHY_UNKNOWN	= 10,	/* no register is known there: read-only */
};

/* What the kernel does at a write, besides or instead of writing. */
enum barline_action {
	BARLINE_ACT_NONE	= 0,
	BARLINE_ACT_COMMAND	= 1,	/* MEM, IO off: mappings first; MASTER: the state follows */
	BARLINE_ACT_POWER	= 2,	/* mappings first, configuration restored after D3hot */
	BARLINE_ACT_READRQ	= 3,	/* not below the payload size */
	BARLINE_ACT_FLR		= 4,	/* as DEV_RESET */
};

#define BARLINE_CFG_GAP		0xffff	/* cap of what belongs to no capability */

/*
 * Some bits of configuration space and their rule; every bit is in exactly one row. A read gives
 * the kernel's copy where virt, else the hardware. A write changes bits of write: in the copy where
 * virt, else in the hardware. From offset 0x100 on, cap is an extended capability's id.
 */
struct barline_cfg_row {
	__u16 offset;			/* bytes */
	__u16 size;			/* bytes */
	__u16 cap;			/* capability id; 0: the header */
	__u8 why;			/* enum barline_why */
	__u8 action;			/* enum barline_action */
	__u32 bits;			/* of the register; all ones for a longer range */
	__u32 virt;
	__u32 write;
	__u32 __pad;
};

/* BARLINE_DEV_CFG_POLICY - the live policy; count as nr_reserved of IOAS_INFO. */
struct barline_cfg_policy {
	__u32 argsz;
	__u32 flags;
	__u32 count;			/* in, out */
	__u32 __pad;
	__aligned_u64 rows_ptr;		/* in: struct barline_cfg_row[count] */
};

#define BARLINE_DEV_CFG_POLICY	BARLINE_IO(0x29)

/* ---- layout, the same for 32-bit and 64-bit processes ------------------------------------- */

static_assert(sizeof(struct barline_range) == 16);
static_assert(sizeof(struct barline_ioas_info) == 64);
static_assert(sizeof(struct barline_ioas_map) == 32);
static_assert(sizeof(struct barline_ioas_unmap) == 32);
static_assert(sizeof(struct barline_ioas_stats) == 48);
static_assert(sizeof(struct barline_dev_info) == 64);
static_assert(sizeof(struct barline_area) == 16);
static_assert(sizeof(struct barline_region_info) == 48);
static_assert(sizeof(struct barline_irq_info) == 16);
static_assert(sizeof(struct barline_set_irqs) == 32);
static_assert(sizeof(struct barline_attach) == 16);
static_assert(sizeof(struct barline_simple) == 8);
static_assert(sizeof(struct barline_bus_master) == 16);
static_assert(sizeof(struct barline_pm_ack) == 16);
static_assert(sizeof(struct barline_cfg_row) == 24);
static_assert(sizeof(struct barline_cfg_policy) == 24);
static_assert(__builtin_offsetof(struct barline_ioas_info, aperture) == 24);
static_assert(__builtin_offsetof(struct barline_dev_info, state) == 44);
static_assert(__builtin_offsetof(struct barline_region_info, size) == 16);
static_assert(__builtin_offsetof(struct barline_set_irqs, data_ptr) == 24);

#endif /* _UAPI_BARLINE_H */
