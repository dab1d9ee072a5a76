//! The plan of the descriptor map against a table that executes it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::spawn::map::{FdMap, FdOp, plan};
use crate::sys::bits::ToUnsigned;

/// A table: what each number refers to, and whether that closes on exec.
type Table = BTreeMap<i32, (i32, bool)>;

fn execute(table: &mut Table, close_from: u32, ops: &[FdOp]) {
    table.retain(|&fd, _| fd.to_unsigned() < close_from);
    for op in ops {
        match *op {
            FdOp::Dup { from, to, cloexec } => {
                assert_ne!(from, to, "dup3 refuses this");
                let (object, _) = table[&from];
                table.insert(to, (object, cloexec));
            }
            FdOp::Inherit(fd) => table.get_mut(&fd).expect("an open descriptor").1 = false,
            FdOp::Close { first, last } => {
                assert!(first <= last);
                table.retain(|&fd, _| !(first..=last).contains(&fd.to_unsigned()));
            }
        }
    }
}

/// All numbers below 40 open, each its own object, closing on exec.
fn parent() -> Table {
    (0..40).map(|fd| (fd, (fd, true))).collect()
}

fn maps() -> impl Strategy<Value = Vec<FdMap>> {
    // Few numbers, so that sources and targets meet.
    prop::collection::btree_map(0..12_i32, 0..12_i32, 0..12).prop_map(|map| {
        map.into_iter()
            .map(|(target, source)| FdMap { source, target })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn a_child_has_its_map_and_nothing_else(
        map in maps(),
        keep in prop::collection::btree_set(0..16_i32, 0..3),
        needed in prop::option::of(0..30_i32),
    ) {
        let keep: Vec<i32> = keep.into_iter().collect();
        let plan = plan(Some(&map), &keep, needed.as_slice()).expect("memory");
        let mut table = parent();
        if let Some(fd) = needed {
            prop_assert!(fd.to_unsigned() < plan.close_from);
        }
        execute(&mut table, plan.close_from, &plan.ops);

        for entry in &map {
            prop_assert_eq!(table.remove(&entry.target), Some((entry.source, false)));
        }
        prop_assert_eq!(keep.len(), plan.kept.len());
        for (fd, at) in keep.iter().zip(&plan.kept) {
            prop_assert_eq!(table.remove(at), Some((*fd, true)));
        }
        prop_assert!(table.is_empty(), "left over: {:?}", table);
    }

    #[test]
    fn without_a_map_the_standard_three_stay(keep in prop::collection::btree_set(0..16_i32, 0..3)) {
        let keep: Vec<i32> = keep.into_iter().collect();
        let plan = plan(None, &keep, &[]).expect("memory");
        prop_assert_eq!(&keep, &plan.kept);
        let mut table = parent();
        execute(&mut table, plan.close_from, &plan.ops);
        let open: BTreeSet<i32> = table.keys().copied().collect();
        let expected: BTreeSet<i32> = (0..3).chain(keep).collect();
        prop_assert_eq!(open, expected);
    }
}

#[test]
fn no_map_is_one_close() {
    let plan = plan(None, &[], &[]).expect("memory");
    assert_eq!((plan.close_from, plan.ops), (3, vec![]));
}

#[test]
fn an_empty_map_closes_all() {
    let plan = plan(Some(&[]), &[], &[]).expect("memory");
    assert_eq!((plan.close_from, plan.ops), (0, vec![]));
}

#[test]
fn three_pipes_are_three_dups_and_one_close() {
    let map = [(10, 0), (12, 1), (14, 2)].map(|(source, target)| FdMap { source, target });
    let plan = plan(Some(&map), &[], &[]).expect("memory");
    assert_eq!(plan.close_from, 15);
    assert_eq!(plan.ops.len(), 4, "{:?}", plan.ops);
}
