//! What goes over the wire, for the OpenAPI document: what the library reads and writes is described here. A test holds
//! these against what it really writes.

use std::borrow::Cow;

use serde_json::{Value, json};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{Object, Schema};
use utoipa::{PartialSchema, ToSchema};

/// No control characters.
const PRINTABLE: &str = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$";
/// The same, and not the server's own.
const NAMED: &str = "^[^@\\u0000-\\u001f\\u007f-\\u009f][^\\u0000-\\u001f\\u007f-\\u009f]*$";

macro_rules! written {
    ($($(#[$doc:meta])* $name:ident = $schema:expr;)*) => {
        $(
            $(#[$doc])*
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

        /// The schemas that are written by hand, by name.
        pub(crate) fn written() -> Vec<(&'static str, Value)> {
            [$((stringify!($name), $schema),)*].into_iter().chain(parts()).collect()
        }
    };
}

written! {
    /// A session's, user's, publish's or token's.
    Id = json!({ "type": "string", "minLength": 1, "maxLength": 128, "pattern": PRINTABLE,
        "description": "An id: 1 to 128 bytes of UTF-8 without control characters" });
    /// A room of the application's.
    Room = json!({ "type": "string", "minLength": 1, "maxLength": 255, "pattern": NAMED,
        "description": "A room's name: 1 to 255 bytes of UTF-8 without control characters, not beginning with `@`" });
    /// Any room.
    AnyRoom = json!({ "type": "string", "minLength": 1, "maxLength": 255, "pattern": PRINTABLE,
        "description": "A room's name, own rooms included: `@session/{id}`, `@user/{id}`, `@all`" });
    Envelope = json!({ "type": "object", "required": ["type", "room", "message_id", "timestamp"],
        "properties": { "type": { "type": "string" }, "room": { "type": "string" },
            "message_id": { "type": "integer", "minimum": 1 }, "timestamp": { "type": "string", "format": "date-time" } },
        "description": "A message as it is delivered" });
    Publish = json!({ "oneOf": [reference("KeptPublish"), reference("EphemeralPublish")],
        "description": "A message and whom it is for" });
    Batch = json!({ "type": "object", "required": ["publishes"], "additionalProperties": false,
        "properties": { "publishes": { "type": "array", "maxItems": 1000,
            "description": "Publishes, up to 1,000 with each session of a list counted; one that is malformed fails alone" } },
        "description": "Several publishes" });
    Results = closed(&["results"], json!({ "results": { "type": "array",
        "items": { "anyOf": [reference("Published"), reference("Refused"), reference("Results")] },
        "description": "One for each, in order" } }));
    PublishAnswer = json!({ "anyOf": [reference("Published"), reference("Results")],
        "description": "Where it stands; for a list of sessions one for each" });
    Session = closed(&["session", "user", "connected", "connected_at", "disconnected_at", "last_activity",
        "last_heartbeat", "reconnection_count", "rooms", "metadata", "liveness"], json!({
        "session": { "type": "string" },
        "user": { "type": ["string", "null"] },
        "connected": { "type": "boolean" },
        "connected_at": time("When this connection began, or the last one"),
        "disconnected_at": time_or_null("When the last one ended"),
        "last_activity": time("When anything was received last"),
        "last_heartbeat": time("The last sign that answered a ping, or the connect"),
        "reconnection_count": { "type": "integer", "minimum": 0 },
        "rooms": { "type": "array", "items": { "type": "string" }, "description": "Its named rooms" },
        "metadata": { "type": "object" },
        "liveness": reference("Liveness"),
    }));
    RoomDetail = closed(&["room", "epoch", "message_id", "oldest", "connected", "absent", "sessions"], json!({
        "room": { "type": "string" },
        "epoch": { "type": "string" },
        "message_id": { "type": "integer", "minimum": 0, "description": "The newest record" },
        "oldest": { "type": ["integer", "null"], "minimum": 1, "description": "The oldest that is kept" },
        "connected": { "type": "integer", "minimum": 0 },
        "absent": { "type": "integer", "minimum": 0 },
        "sessions": ids("The connected ones"),
    }));
    User = closed(&["user", "connected", "absent", "sessions"], json!({
        "user": { "type": "string" },
        "connected": { "type": "integer", "minimum": 0 },
        "absent": { "type": "integer", "minimum": 0 },
        "sessions": ids("All of them, sorted"),
    }));
    Reset = closed(&["reason", "from", "to"], json!({
        "reason": { "enum": ["retention", "cleared", "epoch", "ahead", "expired"] },
        "from": { "type": ["integer", "null"], "minimum": 0 },
        "to": { "type": "integer", "minimum": 0 },
    }));
    Stats = closed(&["connections", "sessions", "absent", "users", "rooms", "records", "log_bytes", "uptime_ms",
        "connections_by_user"], json!({
        "connections": { "type": "integer", "minimum": 0 },
        "sessions": { "type": "integer", "minimum": 0, "description": "Connected and absent" },
        "absent": { "type": "integer", "minimum": 0 },
        "users": { "type": "integer", "minimum": 0 },
        "rooms": { "type": "integer", "minimum": 0, "description": "Named rooms with members" },
        "records": { "type": "integer", "minimum": 0 },
        "log_bytes": { "type": "integer", "minimum": 0 },
        "uptime_ms": { "type": "integer", "minimum": 0 },
        "connections_by_user": counts(),
    }));
    Patch = json!({ "type": "object", "required": ["metadata"], "additionalProperties": false,
        "properties": { "metadata": { "type": "object", "description": "Merged (RFC 7396): null removes a key" } },
        "description": "A change of a session" });
}

/// What those are made of.
fn parts() -> [(&'static str, Value); 8] {
    [
        (
            "KeptPublish",
            publish(
                &["to", "message"],
                json!({
                    "id": { "anyOf": [reference("Id"), { "type": "null" }],
                        "description": "Makes the publish idempotent for 5 minutes within the caller and the room" },
                    "ephemeral": { "const": false },
                    "durability": { "enum": ["memory", "disk", "broker", null],
                        "description": "What the answer waits for; by default the strongest that the node has" },
                }),
            ),
        ),
        (
            "EphemeralPublish",
            publish(
                &["to", "message", "ephemeral"],
                json!({
                    "id": { "type": "null" },
                    "ephemeral": { "const": true, "description": "To who is connected and up to date, never stored" },
                    "durability": { "type": "null" },
                }),
            ),
        ),
        (
            "Message",
            json!({ "type": "object", "required": ["type"], "maxProperties": 256,
        "properties": { "type": { "type": "string", "not": { "enum": moorline_proto::message::RESERVED_TYPES } },
            "room": false, "message_id": false, "timestamp": false },
        "description": "An application's message. It passes through untouched; the server adds `room`, `message_id` and `timestamp`" }),
        ),
        (
            "Target",
            json!({ "oneOf": [
            { "const": "all" },
            only("room", &reference("Room")),
            only("user", &reference("Id")),
            only("session", &reference("Id")),
            only("sessions", &json!({ "type": "array", "items": reference("Id"), "minItems": 1, "maxItems": 100 })),
        ], "description": "Everyone, or one of a room, a user, a session, and up to 100 sessions" }),
        ),
        (
            "Except",
            json!({ "type": ["object", "null"], "additionalProperties": false, "properties": {
            "sessions": { "type": "array", "items": reference("Id"), "maxItems": 128 },
            "users": { "type": "array", "items": reference("Id"), "maxItems": 128 },
        }, "description": "Whom it is not for: up to 256 ids together" }),
        ),
        (
            "Published",
            closed(
                &["room", "reached", "queued"],
                json!({
                    "room": { "type": "string" },
                    "epoch": { "type": "string" },
                    "message_id": { "type": "integer", "minimum": 1, "description": "Absent for an ephemeral one" },
                    "reached": { "type": "integer", "minimum": 0, "description": "Connected members that it is for" },
                    "queued": { "type": "integer", "minimum": 0, "description": "Absent members that it is kept for" },
                    "durability": { "enum": ["memory", "disk", "broker"] },
                    "duplicate": { "const": true, "description": "It stood there before, under the same id" },
                }),
            ),
        ),
        (
            "Refused",
            closed(
                &["error"],
                json!({ "error": closed(&["code", "message"], json!({
        "code": { "type": "string" },
        "message": { "type": "string" },
        "retry_in_ms": { "type": "integer", "minimum": 0 },
    })) }),
            ),
        ),
        (
            "Liveness",
            closed(
                &["alive", "last_ping", "last_pong", "rtt_ms", "missed"],
                json!({
                    "alive": { "type": "boolean" },
                    "last_ping": time_or_null("When it was pinged last"),
                    "last_pong": time_or_null("When it answered last"),
                    "rtt_ms": { "type": ["number", "null"] },
                    "missed": { "type": "integer", "minimum": 0, "description": "Pings since the last sign of life" },
                }),
            ),
        ),
    ]
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn only(key: &str, schema: &Value) -> Value {
    json!({ "type": "object", "required": [key], "additionalProperties": false, "properties": { key: schema } })
}

/// What every publish has, and what this kind has besides.
fn publish(required: &[&str], mut properties: Value) -> Value {
    for (name, schema) in [("to", "Target"), ("message", "Message"), ("except", "Except")] {
        properties[name] = reference(schema);
    }
    closed(required, properties)
}

/// An object without other fields than these.
fn closed(required: &[&str], properties: Value) -> Value {
    json!({ "type": "object", "required": required, "additionalProperties": false, "properties": properties })
}

fn time(what: &str) -> Value {
    json!({ "type": "string", "format": "date-time", "description": what })
}

fn time_or_null(what: &str) -> Value {
    json!({ "type": ["string", "null"], "format": "date-time", "description": what })
}

fn ids(what: &str) -> Value {
    json!({ "type": "array", "items": { "type": "string" }, "maxItems": 1000, "description": format!("{what}, up to 1,000") })
}

/// Connected sessions of each user, for up to 1,000 of them.
fn counts() -> Value {
    json!({ "type": "object", "additionalProperties": { "type": "integer", "minimum": 0 } })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use moorline::{
        Answer, Config, Epoch, Liveness as Health, Node, Publish as Wanted, RoomDetail as Detail, SessionId,
        SessionView, Timestamp, UserId, UserView,
    };
    use serde::Serialize;
    use serde_json::value::RawValue;

    /// The fields that a schema names are those that are written, and those that are always written are required.
    fn holds(name: &str, written: &impl Serialize) {
        let (_, schema) = super::written().into_iter().find(|(other, _)| *other == name).unwrap();
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
