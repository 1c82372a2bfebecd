//! The rings' index arithmetic, for every index there is.

use barline::ring::index::{MAX_CAPACITY, Shape};
use proptest::prelude::*;

fn shape() -> impl Strategy<Value = Shape> {
    (0u32..=31).prop_map(|shift| Shape::new(1 << shift).expect("a power of two"))
}

/// Any index, and those around the places where indices wrap.
fn index() -> impl Strategy<Value = u32> {
    prop_oneof![
        any::<u32>(),
        0u32..70,
        (u32::MAX - 70)..=u32::MAX,
        (1u32 << 31) - 70..(1 << 31) + 70
    ]
}

proptest! {
    #[test]
    fn only_powers_of_two(capacity in prop_oneof![any::<usize>(), 0usize..5000]) {
        let good = capacity.is_power_of_two() && capacity <= MAX_CAPACITY;
        prop_assert_eq!(Shape::new(capacity).map(|shape| shape.capacity() as usize), good.then_some(capacity));
    }

    #[test]
    fn positions_are_inside(shape in shape(), index in index()) {
        prop_assert!(shape.position(index) < shape.capacity() as usize);
        prop_assert_eq!(shape.position(index) as u64, u64::from(index) % u64::from(shape.capacity()));
    }

    #[test]
    fn used_and_free_make_the_whole(shape in shape(), head in index(), used in any::<u32>()) {
        let used = used % shape.capacity().saturating_add(1);
        let tail = head.wrapping_add(used);
        prop_assert_eq!(shape.used(head, tail), Some(used));
        prop_assert_eq!(shape.free(head, tail), Some(shape.capacity() - used));
    }

    #[test]
    fn counts_never_pass_the_capacity(shape in shape(), head in index(), tail in index()) {
        let (used, free) = (shape.used(head, tail), shape.free(head, tail));
        prop_assert_eq!(used.is_some(), free.is_some());
        prop_assert_eq!(used.is_some(), tail.wrapping_sub(head) <= shape.capacity());
        if let (Some(used), Some(free)) = (used, free) {
            prop_assert!(used <= shape.capacity());
            prop_assert_eq!(used + free, shape.capacity());
        }
    }

    #[test]
    fn runs_are_the_positions_in_order(shape in shape(), index in index(), n in any::<u32>()) {
        let runs = shape.runs(index, n);
        let (capacity, whole) = (shape.capacity() as usize, n.min(shape.capacity()) as usize);
        prop_assert_eq!(runs.first + runs.second, whole);
        prop_assert!(runs.start + runs.first <= capacity);
        prop_assert!(runs.second == 0 || runs.start + runs.first == capacity);
        prop_assert!(runs.second <= runs.start);
        prop_assert_eq!(runs.start, shape.position(index));
        for i in (0..whole).step_by(1 + whole / 50) {
            let at = if i < runs.first { runs.start + i } else { i - runs.first };
            prop_assert_eq!(at, shape.position(index.wrapping_add(i as u32)));
        }
    }
}
