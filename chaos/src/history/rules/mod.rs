//! The rules, one file each. Each has tests that plant the defect which it is there to find.

mod acked;
mod connections;
mod lost;
mod meaning;
mod membership;
mod order;
mod phantom;
mod publisher_order;
mod resets;
mod streams;
mod twice;

use super::{Index, Violation};

/// A rule: what in the history breaks it.
type Rule = fn(&Index<'_>) -> Vec<Violation>;

pub(super) const ALL: [Rule; 11] = [
    lost::check,
    twice::check,
    order::check,
    meaning::check,
    publisher_order::check,
    phantom::check,
    membership::check,
    acked::check,
    connections::check,
    resets::check,
    streams::check,
];
