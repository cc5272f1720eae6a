//! What goes over the wire, for the OpenAPI document: what the library reads and writes is described in schemas.json, and
//! named here. A test holds it against what is really written.

use std::borrow::Cow;

use serde_json::{Map, Value};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{Object, Schema};
use utoipa::{PartialSchema, ToSchema};

/// The schemas that are written by hand, by name.
pub(crate) fn written() -> Map<String, Value> {
    // A test reads it.
    serde_json::from_str(include_str!("schemas.json")).unwrap_or_default()
}

macro_rules! names {
    ($($name:ident)*) => {
        $(
            /// Stands for the schema of its name.
            pub(crate) enum $name {}

            impl PartialSchema for $name {
                fn schema() -> RefOr<Schema> {
                    RefOr::T(Schema::Object(Object::default()))
                }
            }

            impl ToSchema for $name {
                fn name() -> Cow<'static, str> {
                    Cow::Borrowed(stringify!($name))
                }
            }
        )*
    };
}

names! { Id Room StreamName StreamOpen StreamOpened StreamAppend StreamAppended StreamEnd StreamEnded AnyRoom Envelope Publish Batch Results PublishAnswer Session RoomDetail User Reset Stats Patch }

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use moorline::{
        Answer, Config, Epoch, Liveness as Health, Node, Offset, Publish as Wanted, RoomDetail as Detail,
        RoomName, SessionId, SessionView, Timestamp, UserId, UserView,
    };
    use moorline_proto::id::StreamName;
    use serde::Serialize;
    use serde_json::value::RawValue;

    /// The fields that a schema names are those that are written, and those that are always written are required.
    fn holds(name: &str, written: &impl Serialize) {
        let schema = &super::written()[name];
        let ours: BTreeSet<String> =
            serde_json::to_value(written).unwrap().as_object().unwrap().keys().cloned().collect();
        let named: BTreeSet<String> = schema["properties"].as_object().unwrap().keys().cloned().collect();
        let required: BTreeSet<String> = serde_json::from_value(schema["required"].clone()).unwrap();
        assert!(ours.is_subset(&named), "{name}: {ours:?}");
        assert!(required.is_subset(&ours), "{name}: {ours:?}");
        assert!(named.difference(&ours).all(|field| !required.contains(field)), "{name}");
    }

    fn session() -> SessionView {
        SessionView {
            session: SessionId::new("s1").unwrap(),
            user: None,
            connected: true,
            connected_at: Timestamp(0),
            disconnected_at: None,
            last_activity: Timestamp(0),
            last_heartbeat: Timestamp(0),
            reconnection_count: 0,
            rooms: Vec::new(),
            metadata: RawValue::from_string("{}".to_owned()).unwrap(),
            liveness: Health { alive: true, last_ping: None, last_pong: None, rtt_ms: None, missed: 0 },
        }
    }

    #[test]
    fn reserved_types_are_named() {
        let named = &super::written()["Message"]["properties"]["type"]["not"]["enum"];
        assert_eq!(*named, serde_json::json!(moorline_proto::message::RESERVED_TYPES));
    }

    #[tokio::test]
    async fn the_schemas_are_what_is_written() {
        let node = Node::in_memory(Config { shards: 1, ..Config::default() }).unwrap();
        holds("Session", &session());
        holds("Liveness", &session().liveness);
        holds("Stats", &node.stats().await);
        let user = UserId::new("ann").unwrap();
        holds("User", &UserView { user, connected: 0, absent: 0, sessions: Vec::new() });
        let publish = |to: &str| {
            let text = format!(r#"{{"to":{to},"message":{{"type":"x"}}}}"#);
            node.publish(Wanted::parse(&text).unwrap(), "test")
        };
        let answer = publish(r#"{"room":"r"}"#).await.unwrap();
        let Answer::Published(published) = &answer else { panic!("{answer:?}") };
        holds("Published", &answer);
        let (stream, at) = (StreamName::new("a").unwrap(), 1);
        holds("StreamOpened", &Answer::Opened { room: RoomName::new("r").unwrap(), stream, fence: 1, at });
        holds("StreamAppended", &Answer::Appended { at, cancel: true });
        holds("StreamAppended", &Answer::Appended { at, cancel: false });
        holds("StreamEnded", &Answer::Ended { message_id: Offset(1) });
        holds("Results", &publish(r#"{"sessions":["a","b"]}"#).await.unwrap());
        let room = published.room.clone();
        let position = published.position.unwrap();
        holds(
            "RoomDetail",
            &Detail {
                room,
                epoch: Epoch(1),
                message_id: position.offset,
                oldest: None,
                connected: 0,
                absent: 0,
                sessions: Vec::new(),
            },
        );
    }
}
