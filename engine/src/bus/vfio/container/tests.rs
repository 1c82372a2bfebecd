use super::*;
use crate::bus::scan::fake::Machine;

#[test]
fn without_the_module_the_command_that_loads_it_is_told() {
    let error = Container::with_roots(Machine::new().roots).unwrap_err();
    assert!(matches!(error, VfioError::NoVfio { .. }));
    assert!(error.to_string().ends_with("sudo modprobe vfio-pci"), "{error}");
}

#[test]
fn a_file_that_is_not_vfio_is_refused() {
    let machine = Machine::new();
    std::fs::create_dir_all(machine.roots.dev.join("vfio")).unwrap();
    std::fs::write(machine.roots.dev.join("vfio/vfio"), "").unwrap();
    let error = Container::with_roots(machine.roots.clone()).unwrap_err();
    assert!(matches!(error, VfioError::Os { .. }), "{error}");
}
