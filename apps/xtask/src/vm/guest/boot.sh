# The machine is what the other scenarios need: IOMMU, interrupt remapping, huge pages, NICs, vfio-pci.
. /lib/guest.sh

iommu_on() {
    [ -e /sys/class/iommu/dmar0 ] && ls /sys/kernel/iommu_groups | grep -q .
}
irq_remapping_on() {
    dmesg | grep -i 'enabled IRQ remapping'
}
loaded() {
    local m
    for m in vfio vfio_iommu_type1 vfio_pci igb; do
        [ -d "/sys/module/$m" ] || { echo "$m is not loaded"; return 1; }
    done
}
own_group() {
    local n
    n=$(ls "/sys/bus/pci/devices/$1/iommu_group/devices" | wc -l)
    echo "group $(nic_group "$1") has $n device"
    [ "$n" = 1 ]
}

check modules loaded
check iommu iommu_on
check irq-remapping irq_remapping_on
check huge-pages huge_pages_all_free
for bdf in $NICS; do
    check "$bdf-kernel-driver" [ "$(nic_driver "$bdf")" = "$NIC_DRIVER" ]
    check "$bdf-netdev" wait_for 60 nic_netdev "$bdf"
    check "$bdf-own-group" own_group "$bdf"
    check "$bdf-bind-vfio" bind "$bdf"
    check "$bdf-node" [ -c "/dev/vfio/$(nic_group "$bdf")" ]
    check "$bdf-rebind" rebind_kernel_driver "$bdf"
done
check no-dma-faults no_dma_faults
say DONE
