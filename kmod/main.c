// SPDX-License-Identifier: GPL-2.0-only
/*
 * The module: parameters, numbers of nodes, the file system that holds the address
 * spaces of mappings.
 */
#include <linux/fs.h>
#include <linux/idr.h>
#include <linux/init.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pseudo_fs.h>
#include <linux/suspend.h>

#include "internal.h"

/* The policy and the ABI name the same things. */
#define BL_SAME(policy, abi) static_assert((int)(policy) == (int)(abi))
BL_SAME(BLP_BOUND, BARLINE_STATE_BOUND);
BL_SAME(BLP_MASTER, BARLINE_STATE_MASTER);
BL_SAME(BLP_WOKEN_ATTACHED, BARLINE_STATE_WOKEN_ATTACHED);
BL_SAME(BLP_REVOKED, BARLINE_STATE_REVOKED);
BL_SAME(BLP_WHY_PASS, BARLINE_WHY_NONE);
BL_SAME(BLP_WHY_LIST, BARLINE_WHY_LIST);
BL_SAME(BLP_WHY_UNKNOWN, BARLINE_WHY_UNKNOWN);
BL_SAME(BLP_ACT_COMMAND, BARLINE_ACT_COMMAND);
BL_SAME(BLP_ACT_FLR, BARLINE_ACT_FLR);
BL_SAME(BLP_CAP_GAP, BARLINE_CFG_GAP);
BL_SAME(BLP_REGION_SHIFT, BARLINE_REGION_SHIFT);
BL_SAME(BLP_IRQ_DATA_NONE, BARLINE_SET_DATA_NONE);
BL_SAME(BLP_IRQ_DATA_BOOL, BARLINE_SET_DATA_BOOL);
BL_SAME(BLP_IRQ_DATA_EVENTFD, BARLINE_SET_DATA_EVENTFD);
BL_SAME(BLP_IRQ_MASK, BARLINE_SET_MASK);
BL_SAME(BLP_IRQ_UNMASK, BARLINE_SET_UNMASK);
BL_SAME(BLP_IRQ_TRIGGER, BARLINE_SET_TRIGGER);

#define BL_MINORS		(MINORMASK + 1)

unsigned int bl_max_vectors = BLP_IRQ_MAX;
module_param_named(max_vectors, bl_max_vectors, uint, 0444);
MODULE_PARM_DESC(max_vectors, "Most MSI-X vectors of a device");

unsigned int bl_unplug_grace_ms = 1000;
module_param_named(unplug_grace_ms, bl_unplug_grace_ms, uint, 0644);
MODULE_PARM_DESC(unplug_grace_ms, "How long an unbind waits for the process before it revokes");

unsigned int bl_pm_grace_ms = 1000;
module_param_named(pm_grace_ms, bl_pm_grace_ms, uint, 0644);
MODULE_PARM_DESC(pm_grace_ms, "How long a suspend waits for the processes");

unsigned int bl_max_maps = 65536;
module_param_named(max_maps, bl_max_maps, uint, 0444);
MODULE_PARM_DESC(max_maps, "Most mappings of an address space");

bool bl_reset_on_open;
module_param_named(reset_on_open, bl_reset_on_open, bool, 0644);
MODULE_PARM_DESC(reset_on_open, "Reset at open even if the device is as it was left");

bool bl_allow_unsafe_interrupts;
module_param_named(allow_unsafe_interrupts, bl_allow_unsafe_interrupts, bool, 0444);
MODULE_PARM_DESC(allow_unsafe_interrupts,
		 "Bind where interrupts are not remapped: a device can then raise any interrupt");

bool bl_allow_noreset;
module_param_named(allow_noreset, bl_allow_noreset, bool, 0444);
MODULE_PARM_DESC(allow_noreset,
		 "Bind a device that cannot be reset: it keeps state from one process to the next");

#ifdef BARLINE_FAULTS
static atomic_t bl_fail_left = ATOMIC_INIT(0);

static int bl_fail_set(const char *text, const struct kernel_param *param)
{
	int n, err = kstrtoint(text, 0, &n);

	if (!err)
		atomic_set(&bl_fail_left, n);
	return err;
}

static int bl_fail_get(char *buf, const struct kernel_param *param)
{
	return sysfs_emit(buf, "%d\n", atomic_read(&bl_fail_left));
}

static const struct kernel_param_ops bl_fail_ops = { .set = bl_fail_set, .get = bl_fail_get };

module_param_cb(fail_nth, &bl_fail_ops, NULL, 0600);
MODULE_PARM_DESC(fail_nth,
		 "Fail the n-th fallible step from now (0: none); reads what is left, 0 once failed");

bool bl_fail(const char *point)
{
	if (atomic_dec_if_positive(&bl_fail_left) != 0)
		return false;
	pr_info("failing: %s\n", point);
	return true;
}
#endif

LIST_HEAD(bl_devs);
/* Guards the list. A suspend holds it while it waits for processes, an unbind waits for that. */
DEFINE_MUTEX(bl_devs_lock);

static DEFINE_IDA(bl_minors);
static dev_t bl_devt;
static struct vfsmount *bl_mnt;
static int bl_mnt_users;

static char *bl_devnode(BL_DEVNODE_CONST struct device *dev, umode_t *mode)
{
	if (mode)
		*mode = 0600;
	return kasprintf(GFP_KERNEL, "barline/%s", dev_name(dev));
}

struct class bl_class = {
	.name = "barline",
	.devnode = bl_devnode,
};

/* Of no value without a device, which is what the permissions of the other nodes are about. */
static struct miscdevice bl_ioas_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "barline-iommu",
	.nodename = "barline/iommu",
	.fops = &bl_ioas_fops,
	.mode = 0666,
};

static int bl_fs_init(struct fs_context *fc)
{
	return init_pseudo(fc, BL_FS_MAGIC) ? 0 : -ENOMEM;
}

/*
 * No owner: bound devices pin it, and they must not keep the module from being unloaded. Who has
 * a device open does.
 */
static struct file_system_type bl_fs = {
	.name = "barline",
	.init_fs_context = bl_fs_init,
	.kill_sb = kill_anon_super,
};

/* An inode of its own, so that one call finds the mappings made through any alias of a node. */
struct inode *bl_inode_new(void)
{
	struct inode *inode;
	int err;

	err = bl_fail("bind: file system") ? -ENOMEM :
	      simple_pin_fs(&bl_fs, &bl_mnt, &bl_mnt_users);
	if (err)
		return ERR_PTR(err);
	inode = bl_fail("bind: inode") ? ERR_PTR(-ENOMEM) : alloc_anon_inode(bl_mnt->mnt_sb);
	if (IS_ERR(inode))
		simple_release_fs(&bl_mnt, &bl_mnt_users);
	return inode;
}

void bl_inode_free(struct inode *inode)
{
	iput(inode);
	simple_release_fs(&bl_mnt, &bl_mnt_users);
}

int bl_minor_get(dev_t *devt)
{
	int minor = bl_fail("bind: minor") ? -ENOSPC :
		    ida_alloc_max(&bl_minors, BL_MINORS - 1, GFP_KERNEL);

	if (minor < 0)
		return minor;
	*devt = MKDEV(MAJOR(bl_devt), minor);
	return 0;
}

void bl_minor_put(dev_t devt)
{
	ida_free(&bl_minors, MINOR(devt));
}

static int __init bl_init(void)
{
	int err;

	bl_max_vectors = clamp_t(unsigned int, bl_max_vectors, 1, BLP_IRQ_MAX);
	err = alloc_chrdev_region(&bl_devt, 0, BL_MINORS, "barline");
	if (err)
		return err;
	err = class_register(&bl_class);
	if (err)
		goto err_region;
	err = misc_register(&bl_ioas_misc);
	if (err)
		goto err_class;
	err = register_pm_notifier(&bl_pm_notifier);
	if (err)
		goto err_misc;
	err = pci_register_driver(&bl_driver);
	if (err)
		goto err_pm;
	return 0;

err_pm:
	unregister_pm_notifier(&bl_pm_notifier);
err_misc:
	misc_deregister(&bl_ioas_misc);
err_class:
	class_unregister(&bl_class);
err_region:
	unregister_chrdev_region(bl_devt, BL_MINORS);
	return err;
}

/* Devices first: their removal uses all the rest. */
static void __exit bl_exit(void)
{
	pci_unregister_driver(&bl_driver);
	unregister_pm_notifier(&bl_pm_notifier);
	misc_deregister(&bl_ioas_misc);
	class_unregister(&bl_class);
	unregister_chrdev_region(bl_devt, BL_MINORS);
	ida_destroy(&bl_minors);
}

module_init(bl_init);
module_exit(bl_exit);

MODULE_DESCRIPTION("A PCI function in the hands of a process");
MODULE_AUTHOR("The barline authors");
MODULE_LICENSE("GPL");
MODULE_VERSION(__stringify(BARLINE_ABI));
