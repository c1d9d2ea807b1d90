//! What readers heard: whether all of it, once and in order, and how late.

use std::{collections::BTreeSet, ops::AddAssign};

/// What must not happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Deliveries that never came.
    pub(crate) lost: u64,
    /// Deliveries that came again.
    pub(crate) doubled: u64,
    /// Deliveries that came after a later one.
    pub(crate) reordered: u64,
}

impl Faults {
    pub(crate) fn none(self) -> bool {
        self == Self::default()
    }
}

impl AddAssign for Faults {
    fn add_assign(&mut self, other: Self) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.reordered += other.reordered;
    }
}

/// One reader of one room whose messages are numbered from 1.
#[derive(Debug, Default)]
pub(crate) struct Ear {
    last: u32,
    /// Numbers before `last` that did not come. Empty, unless something is wrong.
    missing: BTreeSet<u32>,
    doubled: u64,
    reordered: u64,
}

impl Ear {
    /// Notes message `seq`. Whether it is new.
    pub(crate) fn hear(&mut self, seq: u32) -> bool {
        if seq > self.last {
            self.missing.extend(self.last + 1..seq);
            self.last = seq;
            return true;
        }
        let is_new = self.missing.remove(&seq);
        if is_new {
            self.reordered += 1;
        } else {
            self.doubled += 1;
        }
        is_new
    }

    /// What went wrong, if the room's last number is `head`.
    pub(crate) fn faults(&self, head: u32) -> Faults {
        let unheard = u64::from(head.saturating_sub(self.last)) + self.missing.len() as u64;
        Faults { lost: unheard, doubled: self.doubled, reordered: self.reordered }
    }
}

/// The smallest of `sorted` that is at least as large as `permille` of them; 0 if there are none.
pub(crate) fn percentile(sorted: &[u32], permille: usize) -> u32 {
    let rank = (sorted.len() * permille).div_ceil(1000);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// The middle one, or the lower of two; 0 if there are none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_after(seqs: &[u32], head: u32) -> Faults {
        let mut ear = Ear::default();
        for seq in seqs {
            ear.hear(*seq);
        }
        ear.faults(head)
    }

    #[test]
    fn all_once_and_in_order_is_no_fault() {
        assert!(faults_after(&[1, 2, 3], 3).none());
        assert!(faults_after(&[], 0).none());
    }

    #[test]
    fn what_did_not_come_is_lost() {
        assert_eq!(faults_after(&[1, 3], 5), Faults { lost: 3, ..Faults::default() });
    }

    #[test]
    fn what_came_again_is_doubled() {
        assert_eq!(faults_after(&[1, 2, 2, 1], 2), Faults { doubled: 2, ..Faults::default() });
    }

    #[test]
    fn what_came_late_is_reordered_and_not_lost() {
        assert_eq!(faults_after(&[2, 1, 3], 3), Faults { reordered: 1, ..Faults::default() });
    }

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let values: Vec<u32> = (1..=1000).collect();
        assert_eq!(
            [500, 990, 999, 1000].map(|permille| percentile(&values, permille)),
            [500, 990, 999, 1000]
        );
        assert_eq!(percentile(&[7, 9], 500), 7);
        assert_eq!(percentile(&[7, 9], 501), 9);
        assert_eq!(percentile(&[], 500), 0);
    }

    #[test]
    fn the_median_does_not_depend_on_the_order() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!(median(Vec::new()).abs() < f64::EPSILON);
    }
}
