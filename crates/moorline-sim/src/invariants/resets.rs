//! Resets are true: they cover what is lost, nothing else, and only what a bound, the application or the session's end
//! really removed.

use moorline_proto::id::RoomName;
use moorline_proto::resume::{Formers, ResetReason};

use super::delivery::{App, At};
use crate::truth::Truth;

/// A reset as the application was told it; `cut` is what the log has really removed.
pub struct Told {
    /// Why.
    pub reason: ResetReason,
    /// After what.
    pub from: Option<u64>,
    /// Up to what.
    pub to: u64,
    /// Up to where the log has really removed what it had.
    pub cut: u64,
    /// Up to where the log has forgotten the room with its numbers.
    pub forgotten: u64,
}

impl App {
    /// A reset reached it. Returns what is wrong with that.
    pub fn reset(
        &mut self,
        truth: &Truth,
        room: &RoomName,
        told: &Told,
        former_ended: bool,
    ) -> Option<String> {
        let session = self.session.clone()?;
        let Told { reason, from, to, cut, forgotten } = *told;
        self.texts.anew(room);
        if reason == ResetReason::Expired {
            if room.is_own() || self.rooms.contains_key(room) {
                self.rooms.insert(room.clone(), At::exactly(to));
            }
            return (!former_ended).then(|| format!("{session} lost {room} to an end that never was"));
        }
        let Some(stood) = self.rooms.insert(room.clone(), At::exactly(to)) else {
            return Some(format!("{session} was reset in {room} and is no member"));
        };
        // A position of a room's entry that was forgotten: nobody has the numbers any more.
        if reason == ResetReason::Ahead
            && from.is_none()
            && truth.forgotten(room).max(truth.head(room)) >= stood.low
        {
            return None;
        }
        if matches!(reason, ResetReason::Epoch | ResetReason::Ahead)
            && from.is_none()
            && self.wild.contains(room)
        {
            return None;
        }
        // Another history, and something of the former one is really gone.
        // One that moves nothing says once more what another reset said just before.
        let is_said = stood == At::exactly(to);
        let is_gone = stood.low < cut || is_said || forgotten > 0 || truth.unclean_ends >= Formers::MAX;
        let has_history = truth.unclean_ends > 0 && is_gone;
        if reason == ResetReason::Epoch && from.is_none() && has_history {
            return None;
        }
        let (ResetReason::Retention | ResetReason::Cleared, Some(from)) = (reason, from) else {
            return Some(format!("{session} was reset in {room} by {reason:?} from {from:?}"));
        };
        if from >= to || to > cut {
            return Some(format!("{session} was reset in {room} from {from} to {to}, but only {cut} is cut"));
        }
        // Where a replay was asked for, the reset may come before it or in it.
        let fits = |before: At| self.covers(truth, room, before, (from, to));
        let wrong = fits(stood)?;
        let mut afters = self.replays.get(room).into_iter().flatten();
        let is_replay = afters.any(|after| fits(At::exactly(*after)).is_none());
        (!is_replay).then_some(wrong)
    }

    /// What is wrong with a reset from `from` to `to` for who stood at `before`.
    fn covers(&self, truth: &Truth, room: &RoomName, before: At, (from, to): (u64, u64)) -> Option<String> {
        let session = self.session.as_ref()?;
        if self.unsure.contains_key(room) {
            return None;
        }
        // An own room's position cannot always be named, so its reset may cover what the application has.
        if !room.is_own() && from < before.low {
            let again = truth.owed(room, (from, before.low + 1), session, self.user.as_ref());
            if let Some(again) = again {
                return Some(format!(
                    "{session} in {room} stood at {before:?}; {again} was reset away again"
                ));
            }
        }
        let missing = truth.owed(room, (before.high, from + 1), session, self.user.as_ref())?;
        Some(format!("{session} in {room}: a reset from {from} to {to} does not cover {missing}"))
    }
}
