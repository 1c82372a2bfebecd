//! Interrupt requests, against the rules written as a table.

use kmod_policy_tests::*;
use proptest::prelude::*;

const EINVAL: i32 = 22;
const NONE: u32 = 1;
const BOOL: u32 = 2;
const EVENTFD: u32 = 4;
const MASK: u32 = 8;
const UNMASK: u32 = 16;
const TRIGGER: u32 = 32;

/// Every combination that exists: data, action, needs a maskable index.
const COMBINATIONS: [(u32, u32, bool); 7] = [
    (NONE, TRIGGER, false),
    (BOOL, TRIGGER, false),
    (EVENTFD, TRIGGER, false),
    (NONE, MASK, true),
    (BOOL, MASK, true),
    (NONE, UNMASK, true),
    (BOOL, UNMASK, true),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50_000))]

    #[test]
    fn requests(
        flags in prop_oneof![0_u32..128, any::<u32>()],
        start in prop_oneof![0_u32..12, any::<u32>()],
        count in prop_oneof![0_u32..12, any::<u32>()],
        total in prop_oneof![0_u32..12, Just(2048), any::<u32>()],
        maskable: bool,
    ) {
        let result = irq_check(flags, start, count, total, maskable);
        let known = COMBINATIONS.iter().find(|(data, action, _)| data | action == flags);
        let all_off = flags == NONE | TRIGGER && start == 0 && count == 0;
        let in_range = count > 0 && u64::from(start) + u64::from(count) <= u64::from(total);
        let expected = match known {
            Some((_, _, needs)) => (maskable || !needs) && total <= 2048 && (all_off || in_range),
            None => false,
        };
        prop_assert_eq!(result.is_ok(), expected);
        if let Ok(request) = result {
            let size = match request.data { BOOL => 1, EVENTFD => 4, _ => 0 };
            prop_assert_eq!(request.data | request.action, flags);
            prop_assert_eq!(request.bytes, count * size);
            prop_assert_eq!(request.disable, all_off);
        }
    }
}

/// R8: the seed allocated what it was told to, and added two numbers that wrapped.
#[test]
fn r8_vector_counts_are_bounded_by_the_device() {
    assert_eq!(irq_range(u32::MAX, 2, 10), Err(EINVAL));
    assert_eq!(irq_range(0, u32::MAX, 10), Err(EINVAL));
    assert_eq!(irq_range(9, 1, 10), Ok(()));
    assert_eq!(irq_range(9, 2, 10), Err(EINVAL));
    assert_eq!(irq_range(0, 0, 10), Err(EINVAL));
    assert_eq!(
        irq_check(EVENTFD | TRIGGER, 0, u32::MAX, u32::MAX, false),
        Err(EINVAL)
    );
}
