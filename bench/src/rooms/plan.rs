//! Who is a member of what, and how often each room is published to.

/// Sessions that are members of many rooms each: every room has the same number of members, and no two sessions need share more than one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) sessions: usize,
    /// Memberships of each session. Rooms lie in as many blocks, one membership in each.
    pub(crate) per_session: usize,
    /// Members of each room; a divisor of the sessions.
    pub(crate) per_room: usize,
}

impl Plan {
    pub(crate) fn rooms(self) -> usize {
        self.per_session * self.block()
    }

    pub(crate) fn memberships(self) -> usize {
        self.sessions * self.per_session
    }

    fn block(self) -> usize {
        self.sessions / self.per_room
    }

    /// The room of a session's membership, and whether the session is its first member.
    pub(crate) fn room(self, session: usize, slot: usize) -> (usize, bool) {
        let place = session * self.stride(slot) % self.sessions;
        (slot * self.block() + place / self.per_room, place.is_multiple_of(self.per_room))
    }

    /// Which of a session's memberships a room is.
    pub(crate) fn slot(self, room: usize) -> usize {
        room / self.block()
    }

    /// For each slot another number without a common divisor with the sessions: it shuffles them.
    fn stride(self, slot: usize) -> usize {
        let coprime = (1..).filter(|number| divisor(*number, self.sessions) == 1);
        coprime.take(slot + 1).last().unwrap_or(1)
    }
}

fn divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { divisor(b, a % b) }
}

/// Rooms drawn so that the n-th is drawn 1/n times as often as the first.
#[derive(Debug)]
pub(crate) struct Zipf {
    /// Of each room and those before it, in parts of the whole.
    sums: Vec<f64>,
    state: u64,
}

impl Zipf {
    pub(crate) fn new(rooms: usize, seed: u64) -> Self {
        let mut sum = 0.0;
        let mut sums: Vec<f64> = (1..=rooms)
            .map(|rank| {
                sum += 1.0 / rank as f64;
                sum
            })
            .collect();
        sums.iter_mut().for_each(|part| *part /= sum);
        Self { sums, state: seed }
    }

    pub(crate) fn draw(&mut self) -> usize {
        // 53 bits are what an f64 holds.
        let share = (mixed(&mut self.state) >> 11) as f64 / (1_u64 << 53) as f64;
        self.sums.partition_point(|sum| *sum <= share).min(self.sums.len().saturating_sub(1))
    }
}

/// SplitMix64.
fn mixed(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn every_room_has_its_members_and_one_of_them_is_first() {
        let plan = Plan { sessions: 200, per_session: 50, per_room: 10 };
        let (mut members, mut firsts) = (BTreeMap::<usize, usize>::new(), BTreeMap::<usize, usize>::new());
        for session in 0..plan.sessions {
            let rooms: BTreeSet<usize> = (0..plan.per_session)
                .map(|slot| {
                    let (room, is_first) = plan.room(session, slot);
                    assert_eq!(plan.slot(room), slot);
                    *members.entry(room).or_default() += 1;
                    *firsts.entry(room).or_default() += usize::from(is_first);
                    room
                })
                .collect();
            assert_eq!(rooms.len(), plan.per_session, "session {session} twice in a room");
        }
        assert_eq!((members.len(), plan.rooms(), plan.memberships()), (1_000, 1_000, 10_000));
        assert!(members.values().all(|count| *count == 10) && firsts.values().all(|count| *count == 1));
    }

    #[test]
    fn rooms_are_drawn_as_often_as_their_rank_says() {
        let seed = 42;
        let mut zipf = Zipf::new(1_000, seed);
        let mut drawn = vec![0_u32; 1_000];
        (0..100_000).for_each(|_| drawn[zipf.draw()] += 1);
        // 1/n over the thousandth harmonic number, 7.485.
        for (rank, expected) in [(1, 13_360.0), (2, 6_680.0), (10, 1_336.0), (100, 133.6)] {
            let ratio = f64::from(drawn[rank - 1]) / expected;
            assert!((0.7..1.3).contains(&ratio), "rank {rank}: {} with seed {seed}", drawn[rank - 1]);
        }
        assert!(drawn[500..].iter().sum::<u32>() > 5_000);
    }
}
