//! Bugs that the world can be told to have, so that the checks are checked too.

use std::collections::BTreeMap;
use std::sync::Arc;

use moorline_proto::batch::EncodedBatch;
use moorline_proto::id::RoomName;
use moorline_proto::position::{Epoch, Offset};
use moorline_proto::shard::Input;

use crate::wire::FRAMING;
use crate::world::Scenario;
use crate::written::Said;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Planted {
    /// Every 97th message never reaches its client.
    DropDeliveries,
    /// No reset reaches its client.
    SwallowResets,
    /// Announcements say nothing of who is left out.
    ForgetExcept,
    /// Shards are not told that announcements were lost.
    NeverTellLost,
    /// The broker is not given the publishes' ids.
    ForgetPublishIds,
    /// Every third unsubscription is forgotten.
    KeepSubscribed,
    /// Every 97th message reaches its client twice.
    RepeatDeliveries,
    /// The store answers publishes before its commit.
    AckBeforeCommit,
    /// A store that was opened again does not know publish ids any more.
    ForgetIdsAtRestart,
    /// A store whose node crashed goes on in the epoch that it had.
    KeepEpoch,
    /// Sessions are not what was saved last, after a crash.
    ForgetSaves,
    /// What sessions acknowledged is not saved with them: they go on from where their clients say.
    ForgetAcks,
    /// Who reads a log is shown what it is excluded from.
    ForgetExceptOnReplay,
    /// Every 13th piece of a stream's text never reaches its client.
    DropText,
    /// What comes last of a stream's text comes once more behind its end.
    RepeatTextBehindEnd,
    /// Every third end of a stream comes twice.
    RepeatEnds,
    /// Who appends under an old fence is let through.
    IgnoreFences,
    /// Leases run out a second early.
    LapseEarly,
    /// The node has no timer for streams.
    NeverLapse,
    /// Who begins to read where a stream is open is not sent what lies before.
    SkipTexts,
    /// Appends to streams are answered before their commit.
    AcceptBeforeCommit,
    /// Of announcements that come together those of one room are taken to follow each other.
    OverlookHoles,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::DropDeliveries,
        Self::SwallowResets,
        Self::ForgetExcept,
        Self::NeverTellLost,
        Self::ForgetPublishIds,
        Self::KeepSubscribed,
        Self::RepeatDeliveries,
        Self::AckBeforeCommit,
        Self::ForgetIdsAtRestart,
        Self::KeepEpoch,
        Self::ForgetSaves,
        Self::ForgetAcks,
        Self::ForgetExceptOnReplay,
        Self::DropText,
        Self::RepeatTextBehindEnd,
        Self::RepeatEnds,
        Self::IgnoreFences,
        Self::LapseEarly,
        Self::NeverLapse,
        Self::SkipTexts,
        Self::AcceptBeforeCommit,
        Self::OverlookHoles,
    ];

    /// Where it shows.
    #[must_use]
    pub const fn scenario(self) -> Scenario {
        match self {
            Self::AckBeforeCommit | Self::ForgetIdsAtRestart | Self::KeepEpoch | Self::ForgetSaves => {
                Scenario::Model
            }
            Self::ForgetAcks | Self::AcceptBeforeCommit => Scenario::Store,
            _ => Scenario::Network,
        }
    }
}

/// Has what is announced to a room together follow what was announced before, as if nothing lay between.
pub(crate) fn overlook_holes(together: &mut [Input]) {
    let mut reached: BTreeMap<RoomName, (Epoch, Offset)> = BTreeMap::new();
    for input in together {
        let Input::Batch(announced) = input else { continue };
        let mut batch = announced.batch.clone();
        let before = reached.insert(batch.room.clone(), (batch.epoch, batch.last()));
        if let Some((_, last)) = before.filter(|&(epoch, last)| epoch == batch.epoch && last < batch.after) {
            batch.after = last;
            *announced = Arc::new(EncodedBatch::new(batch, &FRAMING));
        }
    }
}

/// What planted bugs make of what clients hear.
#[derive(Debug, Default)]
pub struct Spoiling {
    messages: u64,
    texts: u64,
    ends: u64,
    /// What each client heard last of a stream's text.
    last: BTreeMap<usize, String>,
}

impl Spoiling {
    /// What reaches a client of what it was sent.
    pub fn heard(&mut self, planted: Option<Planted>, client: usize, text: &str) -> Vec<String> {
        let Some(planted) = planted else { return vec![text.to_owned()] };
        let is_message = text.starts_with("{\"type\":\"m\"");
        self.messages += u64::from(is_message);
        let every = is_message && self.messages.is_multiple_of(97);
        let times = match planted {
            Planted::DropDeliveries if every => 0,
            Planted::SwallowResets if text.starts_with("{\"type\":\"reset\"") => 0,
            Planted::RepeatDeliveries if every => 2,
            _ => return self.heard_of_stream(planted, client, text),
        };
        vec![text.to_owned(); times]
    }

    fn heard_of_stream(&mut self, planted: Planted, client: usize, text: &str) -> Vec<String> {
        let said = Said::read(text.as_bytes());
        let is_text = said.as_ref().is_some_and(Said::is_chunk);
        self.texts += u64::from(is_text);
        self.ends += u64::from(said.is_some() && !is_text);
        if is_text && planted == Planted::DropText && self.texts.is_multiple_of(13) {
            return Vec::new();
        }
        if said.as_ref().is_some_and(|said| !said.content.is_empty()) {
            self.last.insert(client, text.to_owned());
        }
        let mut heard = vec![text.to_owned()];
        let is_end = said.is_some() && !is_text;
        match planted {
            Planted::RepeatTextBehindEnd if is_end => heard.extend(self.last.get(&client).cloned()),
            Planted::RepeatEnds if is_end && self.ends.is_multiple_of(3) => heard.push(text.to_owned()),
            _ => {}
        }
        heard
    }
}
