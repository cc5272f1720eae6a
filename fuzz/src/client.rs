//! The client machine, told anything by its server while its application asks for anything.
//!
//! Input: lines. One that begins with a digit is an event or a wish; any other is a text frame of the server's. What the client
//! sends must be a frame, and a message must not come twice.

use std::collections::BTreeMap;
use std::time::Duration;

use moorline_proto::client::{Client, ClientConfig, Event, Input, Output, Publication};
use moorline_proto::codec::decode;
use moorline_proto::id::{PublishId, RoomName};
use moorline_proto::identity::Token;
use moorline_proto::position::Offset;
use moorline_proto::resume::Since;
use moorline_proto::time::Instant;
use serde_json::{Value, json};

/// Lines of one input: more only take longer.
const LINES_MAX: usize = 200;
/// What one line may make the client do, at the most: one thing for each request that waits, and a few.
const OUTPUTS_MAX: usize = 2 * LINES_MAX + 100;

struct Run {
    client: Client,
    now: Duration,
    /// The last message of each room.
    last: BTreeMap<RoomName, Offset>,
    /// Whether the application asked for something again: then it may come twice.
    asked_again: bool,
}

pub(crate) fn run(input: &[u8]) {
    let client = Client::new(ClientConfig { seed: 1, ..ClientConfig::default() }, at(Duration::ZERO));
    let mut run = Run { client, now: Duration::ZERO, last: BTreeMap::new(), asked_again: false };
    run.handle(Input::Opened);
    for line in input.split(|&byte| byte == b'\n').take(LINES_MAX) {
        let Ok(line) = std::str::from_utf8(line) else { continue };
        match line.as_bytes() {
            [wish @ b'0'..=b'9', rest @ ..] => run.wish(*wish, rest.first().copied().unwrap_or_default()),
            _ => run.handle(Input::TextReceived(line.to_owned())),
        }
    }
}

fn at(since: Duration) -> Instant {
    Instant::since_start(since)
}

fn room(number: u8) -> RoomName {
    RoomName::new(["a", "b", "c", "d"][usize::from(number % 4)]).expect("a room")
}

impl Run {
    fn wish(&mut self, wish: u8, detail: u8) {
        let room = room(detail);
        let input = match wish {
            b'0' => Input::Opened,
            b'1' => Input::Closed(None),
            b'2' => Input::Closed(Some([1000, 1001, 1008, 1012, 4000][usize::from(detail % 5)])),
            b'3' => Input::Join { room, since: if detail & 4 == 0 { Since::Now } else { Since::Start } },
            b'4' => Input::Leave { room },
            b'5' => Input::Replay { room, after: Offset(u64::from(detail)) },
            b'6' => Input::Publish(publication(&room)),
            b'7' => Input::Authenticate { token: Token::presented("token") },
            b'8' => Input::Shutdown,
            _ => return self.wait(Duration::from_secs(u64::from(detail))),
        };
        self.asked_again |= matches!(input, Input::Replay { .. } | Input::Join { .. });
        self.handle(input);
    }

    fn wait(&mut self, by: Duration) {
        self.now += by;
        self.client.handle_timeout(at(self.now));
        self.outputs();
    }

    fn handle(&mut self, input: Input) {
        self.client.handle(at(self.now), input);
        self.outputs();
    }

    fn outputs(&mut self) {
        let mut count = 0;
        while let Some(output) = self.client.poll_output() {
            count += 1;
            match output {
                Output::SendText(text) => {
                    let frame = decode(&text).frame;
                    assert!(frame.is_ok(), "the server would not take {text}: {frame:?}");
                }
                Output::Event(event) => self.event(event),
                Output::Connect | Output::Close(_) => {}
            }
        }
        assert!(count <= OUTPUTS_MAX, "{count} outputs at once");
        assert!(self.client.unanswered() <= Client::REQUESTS_MAX);
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Message { room, message_id: Some(offset), text } => {
                // A chunk may bear the number of one before it.
                let is_chunk = serde_json::from_str::<Value>(&text).is_ok_and(|text| text["type"] == "chunk");
                if is_chunk || self.asked_again {
                    return;
                }
                let last = self.last.insert(room.clone(), offset);
                assert!(last.is_none_or(|last| last < offset), "{offset:?} of {room:?} after {last:?}");
            }
            // Its numbers begin anew.
            Event::Reset { room, .. } | Event::Joined { room, .. } | Event::Left { room } => {
                self.last.remove(&room);
            }
            Event::Established { .. } => self.last.clear(),
            _ => {}
        }
    }
}

fn publication(room: &RoomName) -> Publication {
    Publication {
        to: json!({ "room": room.as_str() }),
        message: r#"{"type":"m"}"#.to_owned(),
        except: None,
        id: PublishId::new("id").expect("an id"),
    }
}
