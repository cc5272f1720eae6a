//! What a node counts for whoever watches it (requirement R33). No label names a user, a room, a session or an address.

use metrics::{Counter, counter};
use moorline_proto::close::CloseCode;
use moorline_proto::error::Rejection;
use moorline_proto::resume::ResetReason;

/// The counter that is told of every delivery: asked for once, since it is on the hot path.
#[derive(Clone)]
pub(crate) struct Telemetry {
    deliveries: Counter,
}

impl Telemetry {
    /// With the recorder that is installed now; without one nothing is counted.
    pub(crate) fn start() -> Self {
        Self { deliveries: counter!("moorline_deliveries_total") }
    }

    pub(crate) fn delivered(&self, messages: u64) {
        if messages > 0 {
            self.deliveries.increment(messages);
        }
    }
}

/// A handshake came to its end: `new`, `resumed` or `refused`.
pub(crate) fn handshake(outcome: &'static str) {
    counter!("moorline_handshakes_total", "outcome" => outcome).increment(1);
}

/// A connection ended. Codes that are not ours count as `other`: peers choose them.
pub(crate) fn closed(code: Option<u16>) {
    let label = match code {
        None => "none".to_owned(),
        Some(code) => {
            CloseCode::from_number(code).map_or("other".to_owned(), |code| code.number().to_string())
        }
    };
    counter!("moorline_closes_total", "code" => label).increment(1);
}

/// A frame was received.
pub(crate) fn frame(kind: &'static str, refused: Option<&Rejection>) {
    let outcome = refused.map_or("ok", |rejection| rejection.code.as_str());
    counter!("moorline_frames_total", "type" => kind, "outcome" => outcome).increment(1);
}

/// A message was compressed, frame and all, for all that share its compressed form.
pub(crate) fn compressed(plain_bytes: usize, compressed_bytes: usize) {
    for (form, bytes) in [("plain", plain_bytes), ("compressed", compressed_bytes)] {
        counter!("moorline_compression_bytes_total", "form" => form).increment(bytes as u64);
    }
}

/// A publish was answered.
pub(crate) fn published(refused: Option<&Rejection>) {
    let outcome = refused.map_or("ok", |rejection| rejection.code.as_str());
    counter!("moorline_publishes_total", "outcome" => outcome).increment(1);
}

/// A stream's command (`open`, `append`, `end` or `cancel`) was answered.
pub(crate) fn streamed(command: &'static str, refused: Option<&Rejection>) {
    let outcome = refused.map_or("ok", |rejection| rejection.code.as_str());
    counter!("moorline_stream_commands_total", "command" => command, "outcome" => outcome).increment(1);
}

/// A session was told that it lost something.
pub(crate) fn reset(reason: ResetReason) {
    counter!("moorline_resets_total", "reason" => reason.as_str()).increment(1);
}

/// A token was checked: `accepted`, `refused` or `unavailable`.
pub(crate) fn token(outcome: &'static str) {
    counter!("moorline_tokens_total", "outcome" => outcome).increment(1);
}
