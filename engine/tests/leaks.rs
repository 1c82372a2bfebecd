//! A process that makes pools over and over stays as it was. Alone in its program: it counts what the whole process has.

use barline::mem::{DmaDomain, LocalDomain, PageSize, Source};
use barline::pool::Pool;
use std::fs;
use std::sync::Arc;

#[test]
fn a_thousand_pools_leave_nothing_behind() {
    let count = || {
        (
            fs::read_dir("/proc/self/fd").unwrap().count(),
            fs::read_to_string("/proc/self/maps").unwrap().lines().count(),
        )
    };
    let make = || {
        let source = Source::MemFd(PageSize::Base4K);
        let pool = Pool::builder().packets(5).source(source).build().unwrap();
        let domain: Arc<dyn DmaDomain> = Arc::new(LocalDomain::new());
        drop(pool.map(&domain).unwrap());
        drop(pool.cache());
    };
    make();
    let before = count();
    (0..1000).for_each(|_| make());
    let after = count();
    assert_eq!(before.0, after.0, "file descriptors");
    assert!(after.1 <= before.1 + 3, "mappings: {before:?}, {after:?}");
}
