//! What one connection got, held against what a room promises: everything, once, in order.

use std::collections::BTreeSet;

/// Ids that one connection may lack and still be told apart when they come. Beyond that a loss is counted, and one that
/// comes after all is taken for a duplicate: the run has failed either way.
const MISSING_MAX: usize = 1_000;

/// What a delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// As it should be.
    New,
    /// It should have come earlier, or its sender's numbers went back.
    Disordered,
    /// It came before.
    Duplicate,
}

/// What was wrong with the deliveries to one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Faults {
    /// Never came, and nothing was said.
    pub(super) lost: u64,
    /// The server said by a `reset` that it will not come.
    pub(super) announced: u64,
    pub(super) duplicates: u64,
    pub(super) disordered: u64,
    /// Was not for this connection.
    pub(super) strays: u64,
    /// May have come or not: the connection was lost before.
    pub(super) unchecked: u64,
}

impl Faults {
    pub(super) fn add(&mut self, other: Self) {
        self.lost += other.lost;
        self.announced += other.announced;
        self.duplicates += other.duplicates;
        self.disordered += other.disordered;
        self.strays += other.strays;
        self.unchecked += other.unchecked;
    }
}

/// One connection's place in its room, checked with every delivery.
#[derive(Debug)]
pub(super) struct Watch {
    /// The highest message id that came.
    last: u64,
    /// The lowest id that came, where the room was empty when we joined: only then is it not known beforehand which one is the
    /// first. None where the position says it.
    first: Option<u64>,
    /// The room was empty, and nothing came yet.
    is_unknown: bool,
    /// The sender's number of the message with the highest id.
    number: Option<u64>,
    /// Ids below `last` that did not come.
    missing: BTreeSet<u64>,
    faults: Faults,
}

impl Watch {
    /// Joined there: the next message is the one behind it. At 0 the room is empty, and its first message may have any id: a
    /// server that once had a room of that name leaves numbers out.
    pub(super) fn new(position: u64) -> Self {
        Self {
            last: position,
            first: None,
            is_unknown: position == 0,
            number: None,
            missing: BTreeSet::new(),
            faults: Faults::default(),
        }
    }

    /// A message with this id in the room, the sender's message of that number. One sender's numbers grow with the ids.
    pub(super) fn delivered(&mut self, id: u64, number: u64) -> Delivery {
        let delivery = self.judge(id, number);
        match delivery {
            Delivery::New => {}
            Delivery::Disordered => self.faults.disordered += 1,
            Delivery::Duplicate => self.faults.duplicates += 1,
        }
        delivery
    }

    fn judge(&mut self, id: u64, number: u64) -> Delivery {
        if self.is_unknown {
            self.is_unknown = false;
            (self.first, self.last) = (Some(id), id.saturating_sub(1));
        }
        if let Some(first) = self.first.filter(|first| id < *first) {
            self.first = Some(id);
            self.lack(id, first - 1);
            return Delivery::Disordered;
        }
        if id <= self.last {
            return if self.missing.remove(&id) { Delivery::Disordered } else { Delivery::Duplicate };
        }
        self.lack(self.last, id - 1);
        self.last = id;
        let before = self.number.replace(number);
        if before.is_some_and(|before| number <= before) { Delivery::Disordered } else { Delivery::New }
    }

    /// A `reset`: what lies behind the position, up to and including `to`, will not come.
    pub(super) fn reset(&mut self, to: u64) {
        let later = self.missing.split_off(&to.saturating_add(1));
        self.faults.announced += to.saturating_sub(self.last) + self.missing.len() as u64;
        self.missing = later;
        // Another history may have lower numbers; what is missing in it is counted by those.
        self.last = to;
        self.is_unknown = false;
    }

    /// Something that is not of this room.
    pub(super) fn stray(&mut self) {
        self.faults.strays += 1;
    }

    /// Messages of the room behind the last one that came, where the room's have these ids, the first and the last.
    pub(super) fn unchecked(&self, all: Option<(u64, u64)>) -> u64 {
        let Some((first, head)) = all else { return 0 };
        head.saturating_sub(if self.is_unknown { first.saturating_sub(1) } else { self.last })
    }

    /// What was wrong, where the room's messages have these ids, the first and the last; none where the connection did not
    /// last to the end, so that only gaps count.
    pub(super) fn faults(mut self, all: Option<(u64, u64)>) -> Faults {
        if let Some((first, head)) = all {
            if self.is_unknown {
                self.last = first.saturating_sub(1);
            }
            if let Some(own) = self.first {
                self.faults.lost += own.saturating_sub(first);
            }
            self.lack(self.last, head);
        }
        self.faults.lost += self.missing.len() as u64;
        self.faults
    }

    /// What lies after one id, up to and including the other, is missing.
    fn lack(&mut self, after: u64, to: u64) {
        let gap = to.saturating_sub(after);
        let room = (MISSING_MAX.saturating_sub(self.missing.len())) as u64;
        let kept = gap.min(room);
        self.missing.extend(after + 1..=after + kept);
        self.faults.lost += gap - kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The faults of a connection that joined at 10 and gets these ids, each with the sender's number of its place.
    fn seen(ids: &[u64], head: u64) -> Faults {
        let mut watch = Watch::new(10);
        for id in ids {
            watch.delivered(*id, *id);
        }
        watch.faults(Some((11, head)))
    }

    #[test]
    fn everything_once_in_order_has_no_faults() {
        assert_eq!(seen(&[11, 12, 13], 13), Faults::default());
        assert_eq!(seen(&[], 10), Faults::default());
    }

    #[test]
    fn a_planted_loss_is_seen_at_the_beginning_between_and_at_the_end() {
        for ids in [&[12, 13][..], &[11, 13], &[11, 12]] {
            assert_eq!(seen(ids, 13), Faults { lost: 1, ..Faults::default() }, "{ids:?}");
        }
        assert_eq!(seen(&[], 13).lost, 3);
        assert_eq!(seen(&[5_000], 6_000).lost, 5_989);
    }

    #[test]
    fn what_a_lost_connection_would_have_got_is_unchecked() {
        let mut watch = Watch::new(10);
        watch.delivered(11, 1);
        assert_eq!(watch.unchecked(Some((11, 14))), 3);
        assert_eq!(watch.unchecked(None), 0);
        assert_eq!(Watch::new(0).unchecked(Some((100, 103))), 4);
    }

    #[test]
    fn a_planted_duplicate_is_seen() {
        assert_eq!(seen(&[11, 11, 12], 12), Faults { duplicates: 1, ..Faults::default() });
        assert_eq!(seen(&[11, 12, 11, 12], 12).duplicates, 2);
    }

    #[test]
    fn a_planted_change_of_order_is_seen_and_is_no_loss() {
        assert_eq!(seen(&[12, 11, 13], 13), Faults { disordered: 1, ..Faults::default() });
        let mut watch = Watch::new(0);
        assert_eq!(watch.delivered(1, 7), Delivery::New);
        // The room's order is not the sender's.
        assert_eq!(watch.delivered(2, 6), Delivery::Disordered);
        assert_eq!(watch.delivered(3, 8), Delivery::New);
    }

    /// The faults of a connection that joined an empty room, whose messages have the ids 100 to 103.
    fn seen_from_nothing(ids: &[u64]) -> Faults {
        let mut watch = Watch::new(0);
        for id in ids {
            watch.delivered(*id, *id);
        }
        watch.faults(Some((100, 103)))
    }

    #[test]
    fn an_empty_room_may_begin_with_any_number_and_its_first_messages_are_missed() {
        assert_eq!(seen_from_nothing(&[100, 101, 102, 103]), Faults::default());
        assert_eq!(seen_from_nothing(&[101, 102, 103]), Faults { lost: 1, ..Faults::default() });
        assert_eq!(seen_from_nothing(&[103]).lost, 3);
        assert_eq!(seen_from_nothing(&[]).lost, 4);
        assert_eq!(seen_from_nothing(&[102, 100, 101, 103]), Faults { disordered: 2, ..Faults::default() });
        assert_eq!(
            seen_from_nothing(&[102, 100, 100, 103]),
            Faults { disordered: 1, duplicates: 1, lost: 1, ..Faults::default() }
        );
        let mut watch = Watch::new(0);
        watch.reset(101);
        watch.delivered(102, 1);
        assert_eq!(watch.faults(Some((100, 103))), Faults { announced: 101, lost: 1, ..Faults::default() });
    }

    #[test]
    fn numbers_that_were_refused_are_no_loss() {
        let mut watch = Watch::new(0);
        watch.delivered(1, 0);
        watch.delivered(2, 5);
        assert_eq!(watch.faults(Some((1, 2))), Faults::default());
    }

    #[test]
    fn a_loss_that_the_server_announced_is_counted_as_that() {
        let mut watch = Watch::new(0);
        watch.delivered(1, 0);
        watch.delivered(3, 2);
        watch.reset(6);
        watch.delivered(7, 6);
        assert_eq!(watch.faults(Some((1, 7))), Faults { announced: 4, ..Faults::default() });
    }

    #[test]
    fn who_left_early_lacks_only_what_it_should_have_had() {
        let mut watch = Watch::new(0);
        watch.delivered(1, 0);
        watch.delivered(3, 2);
        assert_eq!(watch.faults(None), Faults { lost: 1, ..Faults::default() });
    }

    #[test]
    fn a_random_disturbance_is_counted_as_it_was_planted() {
        let seed = getrandom::u64().unwrap();
        println!("seed {seed}");
        let mut state = seed;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let (mut watch, mut expected, mut id) = (Watch::new(0), Faults::default(), 1);
        while id < 2_000 {
            match random(10) {
                0 if expected.lost < MISSING_MAX as u64 => expected.lost += 1,
                1 => {
                    watch.delivered(id, id);
                    watch.delivered(id, id);
                    expected.duplicates += 1;
                }
                2 => {
                    watch.delivered(id + 1, id + 1);
                    watch.delivered(id, id);
                    expected.disordered += 1;
                    id += 1;
                }
                _ => drop(watch.delivered(id, id)),
            }
            id += 1;
        }
        assert_eq!(watch.faults(Some((1, id - 1))), expected, "seed {seed}");
    }
}
