// SPDX-License-Identifier: GPL-2.0-only
/*
 * An I/O address space: the file of /dev/barline/iommu and its calls.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/slab.h>

#include "internal.h"

static void bl_ioas_release_ref(struct kref *kref)
{
	struct bl_ioas *ioas = container_of(kref, struct bl_ioas, kref);

	/* No device is attached any more: each holds a reference. */
	bl_ioas_unmap_all(ioas);
	if (ioas->domain)
		iommu_domain_free(ioas->domain);
	free_page((unsigned long)ioas->scratch);
	kfree(ioas->reserved);
	mutex_destroy(&ioas->lock);
	mutex_destroy(&ioas->map_lock);
	kfree(ioas);
}

void bl_ioas_put(struct bl_ioas *ioas)
{
	if (ioas)
		kref_put(&ioas->kref, bl_ioas_release_ref);
}

/* The address space behind a descriptor of a process, with a reference. */
struct bl_ioas *bl_ioas_get_fd(int fd)
{
	struct bl_ioas *ioas = ERR_PTR(-EINVAL);
	struct file *file = fget(fd);

	if (!file)
		return ERR_PTR(-EBADF);
	if (file->f_op == &bl_ioas_fops) {
		ioas = file->private_data;
		kref_get(&ioas->kref);
	}
	fput(file);
	return ioas;
}

static struct bl_ioas *bl_ioas_new(void)
{
	struct bl_ioas *ioas;

	ioas = bl_fail("ioas: new") ? NULL : kzalloc(sizeof(*ioas), GFP_KERNEL_ACCOUNT);
	if (!ioas)
		return NULL;
	ioas->reserved = bl_fail("ioas: reserved") ? NULL :
			 kcalloc(BL_MAX_RESERVED, sizeof(*ioas->reserved), GFP_KERNEL_ACCOUNT);
	if (!ioas->reserved)
		goto err_free;
	ioas->scratch = bl_fail("ioas: scratch") ? NULL :
			(void *)__get_free_page(GFP_KERNEL_ACCOUNT);
	if (!ioas->scratch)
		goto err_reserved;
	kref_init(&ioas->kref);
	mutex_init(&ioas->map_lock);
	mutex_init(&ioas->lock);
	ioas->maps = RB_ROOT_CACHED;
	ioas->aperture.reserved = ioas->reserved;
	return ioas;

err_reserved:
	kfree(ioas->reserved);
err_free:
	kfree(ioas);
	return NULL;
}

static int bl_ioas_open(struct inode *inode, struct file *file)
{
	struct bl_ioas *ioas = bl_ioas_new();

	if (!ioas)
		return -ENOMEM;
	file->private_data = ioas;
	return 0;
}

static int bl_ioas_release(struct inode *inode, struct file *file)
{
	bl_ioas_put(file->private_data);
	return 0;
}

/* Copies as many reserved spans as there is room for; the number there is goes into the answer. */
static int bl_copy_reserved(struct bl_ioas *ioas, struct barline_ioas_info *info)
{
	struct blp_span *spans;
	u32 room = min_t(u32, info->nr_reserved, BL_MAX_RESERVED);
	int err = 0;

	static_assert(sizeof(*spans) == sizeof(struct barline_range));
	spans = kcalloc(BL_MAX_RESERVED, sizeof(*spans), GFP_KERNEL_ACCOUNT);
	if (!spans)
		return -ENOMEM;
	mutex_lock(&ioas->lock);
	info->nr_reserved = ioas->aperture.nr_reserved;
	info->aperture.first = ioas->aperture.span.first;
	info->aperture.last = ioas->aperture.span.last;
	info->page_sizes = ioas->domain ? ioas->domain->pgsize_bitmap & PAGE_MASK : 0;
	memcpy(spans, ioas->reserved, info->nr_reserved * sizeof(*spans));
	mutex_unlock(&ioas->lock);
	/* Not under the lock: writing to the process can take for ever. */
	if (copy_to_user(u64_to_user_ptr(info->reserved_ptr), spans,
			 min(room, info->nr_reserved) * sizeof(*spans)))
		err = -EFAULT;
	kfree(spans);
	return err;
}

static int bl_ioas_info(struct bl_ioas *ioas, void __user *uarg)
{
	struct barline_ioas_info info;
	int err = bl_copy_in(&info, sizeof(info), uarg);

	if (err)
		return err;
	if (info.flags || info.__reserved)
		return -EINVAL;
	info.abi = BARLINE_ABI;
	info.max_maps = bl_max_maps;
	err = bl_copy_reserved(ioas, &info);
	return err ?: bl_copy_out(uarg, &info, sizeof(info));
}

static int bl_ioas_map_call(struct bl_ioas *ioas, void __user *uarg)
{
	struct barline_ioas_map arg;
	int err = bl_copy_in(&arg, sizeof(arg), uarg);

	if (err)
		return err;
	if (!arg.flags || arg.flags & ~(BARLINE_MAP_READ | BARLINE_MAP_WRITE))
		return -EINVAL;
	return bl_ioas_map(ioas, &arg);
}

static int bl_ioas_unmap_call(struct bl_ioas *ioas, void __user *uarg)
{
	struct barline_ioas_unmap arg;
	int err = bl_copy_in(&arg, sizeof(arg), uarg);

	if (err)
		return err;
	if (arg.flags & ~BARLINE_UNMAP_ALL)
		return -EINVAL;
	if (arg.flags && (arg.iova || arg.size))
		return -EINVAL;
	/* First, so that an argument that cannot be written changes nothing. */
	arg.unmapped = 0;
	if (bl_copy_out(uarg, &arg, sizeof(arg)))
		return -EFAULT;
	err = bl_ioas_unmap(ioas, &arg);
	return err ?: bl_copy_out(uarg, &arg, sizeof(arg));
}

static int bl_ioas_stats(struct bl_ioas *ioas, void __user *uarg)
{
	struct barline_ioas_stats stats;
	int err = bl_copy_in(&stats, sizeof(stats), uarg);

	if (err)
		return err;
	if (stats.flags || stats.__reserved)
		return -EINVAL;
	mutex_lock(&ioas->lock);
	stats.maps = ioas->nr_maps;
	stats.pages = ioas->nr_pages;
	stats.iommu_map_calls = ioas->map_calls;
	stats.largest_run = ioas->largest_run;
	mutex_unlock(&ioas->lock);
	return bl_copy_out(uarg, &stats, sizeof(stats));
}

static long bl_ioas_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct bl_ioas *ioas = file->private_data;
	void __user *uarg = (void __user *)arg;

	switch (cmd) {
	case BARLINE_IOAS_INFO:
		return bl_ioas_info(ioas, uarg);
	case BARLINE_IOAS_MAP:
		return bl_ioas_map_call(ioas, uarg);
	case BARLINE_IOAS_UNMAP:
		return bl_ioas_unmap_call(ioas, uarg);
	case BARLINE_IOAS_STATS:
		return bl_ioas_stats(ioas, uarg);
	default:
		return -ENOTTY;
	}
}

const struct file_operations bl_ioas_fops = {
	.owner = THIS_MODULE,
	.open = bl_ioas_open,
	.release = bl_ioas_release,
	.unlocked_ioctl = bl_ioas_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};
