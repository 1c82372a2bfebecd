use super::*;
use crate::bus::scan::fake::Machine;
use proptest::prelude::*;

const NIC: &str = "0000:01:00.0";

fn window(first: u64, last: u64) -> Window {
    Window { first, last }
}

proptest! {
    #[test]
    fn windows_are_what_is_not_reserved(
        first in 0u64..64,
        len in 0u64..64,
        holes in proptest::collection::vec((0u64..128, 0u64..32), 0..8),
    ) {
        let aperture = window(first, first + len);
        let holes: Vec<Window> = holes.iter().map(|(at, len)| window(*at, at + len)).collect();
        let windows = windows(aperture, &holes);
        let within = |list: &[Window], at| list.iter().any(|w| w.first <= at && at <= w.last);
        for at in 0..200 {
            prop_assert_eq!(within(&windows, at), within(&[aperture], at) && !within(&holes, at), "{}", at);
        }
        prop_assert!(windows.windows(2).all(|pair| pair[0].last < pair[1].first));
    }
}

#[test]
fn a_vtd_machine_has_two_windows() {
    let found = windows(window(0, u64::MAX), &[window(0xfee0_0000, 0xfeef_ffff)]);
    assert_eq!(found, [window(0, 0xfedf_ffff), window(0xfef0_0000, u64::MAX)]);
    assert!(windows(window(0, u64::MAX), &[window(0, u64::MAX)]).is_empty());
}

#[test]
fn without_the_module_the_command_that_loads_it_is_told() {
    let error = Ioas::with_roots(Machine::new().roots).unwrap_err();
    assert!(matches!(error, KmodError::NoModule { .. }));
    assert!(error.to_string().ends_with("sudo modprobe barline"), "{error}");
}

#[test]
fn a_file_that_is_not_the_modules_is_refused() {
    let machine = Machine::new();
    std::fs::create_dir_all(machine.roots.dev.join("barline")).unwrap();
    std::fs::write(machine.roots.dev.join("barline/iommu"), "").unwrap();
    let error = Ioas::with_roots(machine.roots.clone()).unwrap_err();
    assert!(matches!(error, KmodError::Os { .. }), "{error}");
}

#[test]
fn a_device_of_another_driver_is_told_with_the_commands_that_move_it() {
    let machine = Machine::new();
    machine.add(NIC, Some("vfio-pci"), Some(12));
    let error = locate(&machine.roots, NIC.parse().unwrap()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("held by the driver vfio-pci"), "{text}");
    assert!(text.contains("echo barline | sudo tee"), "{text}");
    machine.add("0000:02:00.0", Some("barline"), Some(13));
    let place = locate(&machine.roots, "0000:02:00.0".parse().unwrap()).unwrap();
    assert_eq!(place.group, 13);
}

#[test]
fn errors_of_open_name_the_remedy() {
    let nobody = Roots {
        proc: "/nonexistent".into(),
        ..Roots::default()
    };
    let told = |errno: Errno| {
        let path = PathBuf::from("/dev/barline/0000:01:00.0");
        not_opened(&nobody, path, NIC.parse().ok(), errno.into()).to_string()
    };
    assert!(told(Errno::ENOENT).ends_with("--device /dev/barline/0000:01:00.0"));
    assert!(told(Errno::EACCES).ends_with("sudo chown $USER /dev/barline/0000:01:00.0"));
    assert!(told(Errno::EBUSY).ends_with("sudo fuser -v /dev/barline/0000:01:00.0"));
    assert!(told(Errno::ENODEV).starts_with("open a node of barline.ko"));
}

#[test]
fn other_files_are_not_taken_for_the_modules() {
    let other = || OwnedFd::from(File::open("/dev/null").unwrap());
    let error = Ioas::from_fd(other()).unwrap_err();
    assert!(
        matches!(
            &error,
            KmodError::NotPassed {
                what: "address space",
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("/dev/barline"), "{error}");
}
