/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The objects of the module, and the locks that guard them.
 *
 * Locks, outer to inner:
 *
 *   device_lock(pdev)         the driver core's: bind, unbind, power; taken for all that resets
 *   bl_ioas.map_lock          one MAP or UNMAP at a time
 *     mmap_lock               the kernel's: pinning, charging, page faults, mmap()
 *       bl_dev.lock           state, interrupts, configuration shadow
 *         bl_dev.memory_lock  write: zap, reset, power, decoding; read: use of BARs, page faults
 *         bl_groups_lock      which group is in which address space
 *           bl_ioas.lock      the domain, the tree of mappings
 *
 * A process can hold up pinning, and whatever touches its memory, for as long as it likes. So there
 * is no copy_to_user(), no pinning and no wait for a process under bl_dev.lock and what is inside
 * of it, and nobody but MAP, UNMAP and the end of an address space takes map_lock: attach, detach
 * and unbind do not wait for a process. The last reference to an address space is dropped outside
 * of bl_dev.lock, because that unpins.
 *
 * No lock of a hot-plug slot is among them, and none may be: pciehp holds its reset_lock while it
 * asks for pci_rescan_remove_lock, under which bind and unbind run, and these want the locks above.
 * A reset through a slot takes reset_lock, so there is none: see bl_in_slot().
 */
#ifndef BARLINE_INTERNAL_H
#define BARLINE_INTERNAL_H

#include <linux/cdev.h>
#include <linux/completion.h>
#include <linux/device.h>
#include <linux/interrupt.h>
#include <linux/interval_tree.h>
#include <linux/iommu.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/pci_hotplug.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/wait.h>

#include "compat.h"
#include "include/uapi/barline.h"
#include "policy/cfgperm.h"
#include "policy/irq.h"
#include "policy/msix.h"
#include "policy/range.h"
#include "policy/state.h"

struct eventfd_ctx;

/*
 * Bytes of a read request at code 0 of DEVCTL's field, PCIe 6.0 section 7.5.3.4; each next one
 * doubles.
 */
#define BL_READRQ_UNIT		128

/* Magic number of the file system ("barl"); it is never mounted where a process could see it. */
#define BL_FS_MAGIC		0x6261726c

/* A byte of a register that nobody answers for. */
#define BL_ONES			0xff

/* Reserved ranges that an address space can know; more of them is an odd machine, and ENOSPC. */
#define BL_MAX_RESERVED		64

/* An I/O address space: the file of /dev/barline/iommu, and what its devices are attached to. */
struct bl_ioas {
	struct kref kref;
	struct mutex map_lock;		/* MAP and UNMAP, see above */
	struct mutex lock;		/* domain, tree, counts, ranges; never held for long */
	struct iommu_domain *domain;	/* from the first attach to the end */
	bool snoop_enforced;		/* the IOMMU snoops whatever a device asks for */
	struct rb_root_cached maps;	/* written under both locks, read under either */
	u64 nr_maps;
	u64 nr_pages;
	u64 map_calls;
	u64 largest_run;
	struct blp_aperture aperture;
	struct blp_span *reserved;	/* [BL_MAX_RESERVED] */
	void *scratch;			/* one page, under map_lock */
};

/* One MAP call. */
struct bl_map {
	struct interval_tree_node node;	/* IOVAs */
	struct mm_struct *mm;		/* was charged */
	bool writable;
	bool ready;			/* false while it is being pinned */
};

struct bl_vector {
	struct eventfd_ctx *trigger;
	char *name;			/* while its interrupt is requested */
	bool fresh;			/* requested by the call under way */
};

struct bl_irqs {
	int index;			/* enum barline_irq of the mode in use, or -1 */
	u32 count;			/* vectors allocated */
	struct bl_vector *vectors;
	atomic_t masked;		/* INTx */
	bool was_masked;		/* before a reset or a suspend */
	bool intx_shared;		/* the function can mask its own line (PCI 2.3) */
	spinlock_t events_lock;		/* events; signalled under it */
	struct eventfd_ctx *events[BARLINE_IRQ_COUNT]; /* ERR, REQ, PM */
};

/* A bound function: from probe until the last reference to its node is gone. */
struct bl_dev {
	struct device dev;
	struct cdev cdev;
	struct pci_dev *pdev;
	struct iommu_group *group;
	struct inode *inode;		/* its i_mapping is that of every mapping of a BAR */
	struct list_head link;		/* bl_devs, under bl_devs_lock */
	bool isolated;			/* interrupts are remapped */
	bool resettable;
	bool unclean;			/* the last reset failed: try again before the next open */
	u32 reset_methods;
	u16 command;			/* COMMAND at rest */
	struct pci_saved_state *saved;	/* as it was at probe, after a reset */
	struct blp_msix msix;

	struct mutex lock;		/* state, and all down to memory_lock */
	u32 state;			/* enum blp_state */
	bool opened;			/* somebody holds the fd */
	bool removing;			/* remove() holds device_lock() and waits, see bl_lock() */
	bool regions;			/* BARs requested: while open */
	u32 pm_event;			/* enum barline_pm_event that waits for its PM_ACK */
	bool pm_told;			/* of a suspend that has not ended yet */
	struct bl_ioas *ioas;		/* while attached */
	struct bl_ioas *parting;	/* detached from, see bl_part() */
	struct bl_irqs irqs;
	struct blp_cfg *cfg;		/* while open */
	void __iomem *bar[PCI_STD_NUM_BARS]; /* mapped at the first read() or write() */
	struct page *ones;		/* what is mapped instead of registers after a revoke */

	struct rw_semaphore memory_lock;
	bool live;			/* registers may be reached */
	bool decodes;			/* COMMAND.MEM, as the process has set it */
	bool powered;			/* in D0 */
	bool resetting;			/* by somebody else, or in error recovery */

	wait_queue_head_t wait;		/* poll(), and who waits for a process */
};

/* main.c */
extern struct list_head bl_devs;
extern struct mutex bl_devs_lock;
extern unsigned int bl_max_vectors;
extern unsigned int bl_unplug_grace_ms;
extern unsigned int bl_pm_grace_ms;
extern unsigned int bl_max_maps;
extern bool bl_reset_on_open;
extern bool bl_allow_unsafe_interrupts;
extern bool bl_allow_noreset;
struct inode *bl_inode_new(void);
void bl_inode_free(struct inode *inode);
int bl_minor_get(dev_t *devt);
void bl_minor_put(dev_t devt);
extern struct class bl_class;

/*
 * Whether this fallible step fails now; @point names it. Only a module built with
 * BARLINE_FAULTS=1 has points, for the test that walks all error paths: the parameter fail_nth
 * makes the n-th point that is passed fail.
 */
#ifdef BARLINE_FAULTS
bool bl_fail(const char *point);
#else
static inline bool bl_fail(const char *point)
{
	return false;
}
#endif

/* bind.c */
extern struct pci_driver bl_driver;

/* reset.c */
bool bl_in_slot(struct pci_dev *pdev);
int bl_reset_function(struct bl_dev *bd);
int bl_verify(struct bl_dev *bd);
void bl_restore(struct bl_dev *bd);

/* dev.c */
extern const struct file_operations bl_dev_fops;
void bl_slot_restore(struct bl_dev *bd);
struct bl_ioas *bl_part(struct bl_dev *bd);
int bl_event(struct bl_dev *bd, u32 event, struct bl_ioas *ioas);
int bl_event_locked(struct bl_dev *bd, u32 event);
int bl_event_check(struct bl_dev *bd, u32 event);
void bl_update_live(struct bl_dev *bd);
void bl_drop_hardware(struct bl_dev *bd);

/* ioctl.c */
long bl_dev_ioctl(struct file *file, unsigned int cmd, unsigned long arg);
int bl_copy_in(void *to, size_t size, const void __user *from);
int bl_copy_out(void __user *to, void *from, size_t size);

/* ioas.c, dma.c, pin.c, group.c */
extern const struct file_operations bl_ioas_fops;
struct bl_ioas *bl_ioas_get_fd(int fd);
void bl_ioas_put(struct bl_ioas *ioas); /* also of NULL */
int bl_ioas_map(struct bl_ioas *ioas, const struct barline_ioas_map *arg);
int bl_ioas_unmap(struct bl_ioas *ioas, struct barline_ioas_unmap *arg);
void bl_ioas_unmap_all(struct bl_ioas *ioas);
int bl_pin_and_map(struct bl_ioas *ioas, const struct barline_ioas_map *arg);
void bl_unmap_range(struct bl_ioas *ioas, u64 iova, u64 size, bool dirty);
int bl_group_attach(struct bl_dev *bd, struct bl_ioas *ioas);
void bl_group_detach(struct bl_dev *bd);

/* irq.c, intx.c, events.c */
void bl_irqs_init(struct bl_dev *bd);
u32 bl_irq_count(struct bl_dev *bd, u32 index);
int bl_irqs_set(struct bl_dev *bd, const struct barline_set_irqs *arg);
void bl_irqs_off(struct bl_dev *bd);
irqreturn_t bl_intx_handler(int irq, void *arg);
void bl_intx_mask(struct bl_dev *bd);
void bl_intx_unmask(struct bl_dev *bd);
void bl_irqs_mask(struct bl_dev *bd);
void bl_irqs_rearm(struct bl_dev *bd);
int bl_irqs_apply(struct bl_dev *bd, const struct barline_set_irqs *arg,
		  const struct blp_irq_request *request, struct eventfd_ctx **ctxs,
		  const u8 *bools);
void bl_event_signal(struct bl_dev *bd, u32 index);
void bl_event_set(struct bl_dev *bd, u32 index, struct eventfd_ctx *ctx);
void bl_events_off(struct bl_dev *bd);

/* config.c */
int bl_config_init(struct bl_dev *bd);
int bl_config_attached(struct bl_dev *bd);
void bl_config_free(struct bl_dev *bd);
ssize_t bl_config_read(struct bl_dev *bd, char __user *buf, size_t count, u64 offset);
ssize_t bl_config_write(struct bl_dev *bd, const char __user *buf, size_t count, u64 offset);
int bl_config_bus_master(struct bl_dev *bd, bool on);
void bl_config_power_up(struct bl_dev *bd);
u16 bl_config_decode_on(struct bl_dev *bd);
void bl_config_decode_back(struct bl_dev *bd, u16 command);
int bl_config_policy(struct bl_dev *bd, struct barline_cfg_policy *arg);

/* rdwr.c */
ssize_t bl_dev_read(struct file *file, char __user *buf, size_t count, loff_t *ppos);
ssize_t bl_dev_write(struct file *file, const char __user *buf, size_t count, loff_t *ppos);
void bl_bars_unmap(struct bl_dev *bd);

/* mmap.c */
int bl_dev_mmap(struct file *file, struct vm_area_struct *vma);
u32 bl_bar_areas(struct bl_dev *bd, u32 bar, struct blp_area areas[BLP_AREAS]);
u64 bl_bar_size(struct bl_dev *bd, u32 bar);
void bl_zap(struct bl_dev *bd);

/* pm.c */
extern const struct pci_error_handlers bl_err_handlers;
extern const struct dev_pm_ops bl_pm_ops;
extern struct notifier_block bl_pm_notifier;
int bl_pm_ack(struct bl_dev *bd, u32 event);

#endif /* BARLINE_INTERNAL_H */
