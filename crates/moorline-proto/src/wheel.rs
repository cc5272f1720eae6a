//! One timing wheel for all of a shard's deadlines: no timer entry and no allocation per session.

use std::time::Duration;

use crate::time::Instant;

/// Deadlines of numbered things, at most one each, to the precision of a tick. What lies beyond the wheel's turn comes
/// up at its end and is scheduled again by its owner, who alone knows the real deadline.
#[derive(Debug)]
pub struct Wheel {
    tick: Duration,
    slots: Vec<Vec<u32>>,
    /// The tick up to and including which everything has come up.
    done: u64,
    /// Where each thing stands, by its number.
    places: Vec<Option<Place>>,
    count: usize,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    slot: u16,
    index: u32,
}

impl Wheel {
    const SLOTS: u16 = 256;

    /// A wheel of 256 ticks.
    #[must_use]
    pub fn new(tick: Duration, now: Instant) -> Self {
        let mut wheel = Self {
            tick,
            slots: vec![Vec::new(); usize::from(Self::SLOTS)],
            done: 0,
            places: Vec::new(),
            count: 0,
        };
        wheel.done = wheel.tick_of(now);
        wheel
    }

    fn tick_of(&self, at: Instant) -> u64 {
        u64::try_from(at.elapsed().as_nanos() / self.tick.as_nanos().max(1)).unwrap_or(u64::MAX)
    }

    /// Lets `thing` come up at `at` or up to a tick later, instead of when it stood to come up before.
    pub fn schedule(&mut self, thing: u32, at: Instant) {
        self.cancel(thing);
        let last = self.done + u64::from(Self::SLOTS) - 1;
        let tick = (self.tick_of(at) + 1).clamp(self.done + 1, last);
        let slot = self.slot(tick);
        let index = u32::try_from(self.slots[usize::from(slot)].len()).unwrap_or(u32::MAX);
        self.slots[usize::from(slot)].push(thing);
        let number = thing as usize;
        if self.places.len() <= number {
            self.places.resize(number + 1, None);
        }
        self.places[number] = Some(Place { slot, index });
        self.count += 1;
    }

    /// Lets `thing` not come up.
    pub fn cancel(&mut self, thing: u32) {
        let Some(place) = self.places.get_mut(thing as usize).and_then(Option::take) else { return };
        let slot = &mut self.slots[usize::from(place.slot)];
        slot.swap_remove(place.index as usize);
        if let Some(&moved) = slot.get(place.index as usize) {
            self.places[moved as usize] = Some(place);
        }
        self.count -= 1;
    }

    /// When something comes up next; none where nothing is scheduled.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        if self.count == 0 {
            return None;
        }
        let turn = u64::from(Self::SLOTS);
        let tick = (self.done + 1..=self.done + turn)
            .find(|&tick| !self.slots[usize::from(self.slot(tick))].is_empty())?;
        let nanos = self.tick.as_nanos() * u128::from(tick);
        Some(Instant::since_start(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))))
    }

    /// Takes what has come up.
    pub fn expire(&mut self, now: Instant, due: &mut Vec<u32>) {
        let until = self.tick_of(now);
        let turn = u64::from(Self::SLOTS);
        for tick in self.done + 1..=until.min(self.done + turn) {
            let slot = self.slot(tick);
            due.append(&mut self.slots[usize::from(slot)]);
        }
        self.done = self.done.max(until);
        for thing in due.iter() {
            if self.places[*thing as usize].take().is_some() {
                self.count -= 1;
            }
        }
    }

    fn slot(&self, tick: u64) -> u16 {
        u16::try_from(tick % u64::from(Self::SLOTS)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const TICK: Duration = Duration::from_millis(10);

    fn at(ms: u64) -> Instant {
        Instant::since_start(Duration::from_millis(ms))
    }

    proptest! {
        /// Against a plain map: everything comes up at its time or up to a tick later (or at the wheel's end), once.
        #[test]
        fn things_come_up_when_they_should(
            steps in proptest::collection::vec((0_u32..20, 0_u64..4000, 0_u64..300, any::<bool>()), 1..200)
        ) {
            let mut wheel = Wheel::new(TICK, at(0));
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            let mut now = 0;
            for (thing, after, step, cancel) in steps {
                if cancel {
                    wheel.cancel(thing);
                    model.remove(&thing);
                } else {
                    wheel.schedule(thing, at(now + after));
                    model.insert(thing, (now + after).min(now + 2540));
                }
                prop_assert_eq!(wheel.next().is_some(), !model.is_empty());
                now += step;
                let mut due = Vec::new();
                wheel.expire(at(now), &mut due);
                for thing in due {
                    let deadline = model.remove(&thing);
                    prop_assert!(deadline.is_some_and(|deadline| deadline <= now));
                }
                prop_assert!(model.values().all(|&deadline| deadline + 20 > now), "{model:?} at {now}");
            }
        }
    }
}
