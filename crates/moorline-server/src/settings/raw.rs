//! Every setting, as it is written: one table, from which everything else about them comes.

use std::net::SocketAddr;

use toml::Value;

use super::LogFormat;
use super::bound::{self, Any, Between, BetweenAnd, Bound, Cookie, List, OffTo, Text, Words, ZeroOr};
use super::kind::{File, JwksTable, KeyTable, Kind, RuleTable};
use super::layers::Layers;
use super::table::{Row, Section, name, reloadable, settings};

pub(super) const HOUR: u64 = 3_600_000;
pub(super) const DAY: u64 = 24 * HOUR;
pub(super) const GIB: u64 = 1 << 30;
const MILLION: u64 = 1_000_000;
pub(super) const HTTP_CONNECTIONS: u64 = 8_192;
pub(super) const UNESTABLISHED: u64 = 4_096;

settings! {
    /// The HTTP server, which WebSocket connections come in through too.
    http: Http {
        /// The address and port to listen on. Another than a loopback one is reachable from other machines: use TLS, here
        /// or in a proxy before it.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8080)), Any("an address and a port, like 127.0.0.1:8080 or [::]:443");
        /// Whose pages may connect with a cookie, beside the server's own: origins like "https://app.example.com".
        origins: Vec<String> = Vec::new(), List(0, 256, "origins", bound::origin), reload;
        /// Proxies whose X-Forwarded-For, -Host and -Proto are believed: addresses, or networks like "10.0.0.0/8".
        trusted_proxies: Vec<String> = Vec::new(), List(0, 256, "addresses or networks", bound::network);
        /// The largest head of a request, in bytes; a larger one is answered by 431.
        head_max_bytes: u64 = 16_384, Between(8_192, 1_048_576);
        /// The largest body of a request, in bytes; a larger one is answered by 413. Bounds a batch of publishes.
        body_max_bytes: u64 = 1_048_576, Between(1_024, 67_108_864);
        /// How long a client may take to send a request's head, in milliseconds. Clears away connections that only wait.
        head_timeout_ms: u64 = 10_000, Between(100, 600_000);
        /// How long a request's body and its answer may take together, in milliseconds; then 408.
        request_timeout_ms: u64 = 30_000, Between(100, 600_000);
    }
    /// When to ping a client, and when to give it up.
    heartbeat: Heartbeat {
        /// How often a client is pinged, in milliseconds. Keep it below the idle timeouts of proxies, often 60 s.
        interval_ms: u64 = 30_000, Between(100, HOUR);
        /// How long a client may be silent before its connection is closed, in milliseconds. Well above the interval.
        idle_timeout_ms: u64 = 90_000, Between(100, DAY);
        /// How long the answer to a ping may take, in milliseconds; 0 waits for the idle timeout alone.
        pong_timeout_ms: u64 = 0, ZeroOr(100, DAY);
        /// The JSON ping's type; some clients know it as "heartbeat".
        frame: String = "ping".to_owned(), Text(1, 64);
    }
    /// Sessions: what a client resumes when it comes back.
    session: Session {
        /// How long a session outlives its connection, in milliseconds.
        lifetime_ms: u64 = HOUR, Between(0, 7 * DAY);
        /// How long a client may take to say hello, in milliseconds.
        hello_timeout_ms: u64 = 10_000, Between(100, 600_000);
        /// Rooms that one session may be in.
        rooms_max: u64 = 128, Between(1, 10_000);
        /// Connected sessions of one user; one more is refused.
        per_user_max: u64 = 5, Between(1, 100_000);
        /// Absent sessions of one user; beyond it the one that is away longest expires.
        absent_per_user_max: u64 = 20, Between(1, 100_000);
        /// What all absent sessions may take, in bytes as reckoned (1 KiB each, 800 bytes per room, their metadata).
        absent_max_bytes: u64 = 268_435_456, Between(1_048_576, 1024 * GIB);
        /// A session's own metadata, in bytes of JSON.
        metadata_max_bytes: u64 = 4_096, Between(2, 65_536);
    }
    /// Single connections.
    connection: Connection {
        /// The largest message from a client, in bytes; a larger one closes its connection with 1009.
        message_max_bytes: u64 = 65_536, Between(256, 16_777_216);
        /// What may wait for one slow client, in bytes; beyond it the client lags and is served from the log.
        pending_max_bytes: u64 = 131_072, Between(1_024, 67_108_864);
        /// How long a client may take nothing while something waits for it, in milliseconds; then it is closed.
        stall_timeout_ms: u64 = 30_000, Between(100, HOUR);
        /// Frames of one connection that wait for their answers; one more is refused.
        in_flight_max: u64 = 1_024, Between(1, 65_536);
    }
    /// Compression of messages, for clients that offer permessage-deflate. Connections keep what they agreed on.
    compression: Compression {
        /// Whether messages are compressed: text becomes shorter, for more work of both ends. A message that has a secret beside
        /// what a stranger wrote tells something about the secret by its compressed length.
        enabled: bool = false, Any("true or false");
        /// Shorter messages are sent as they are, in bytes: compressing them costs more than it saves.
        threshold_bytes: u64 = 1_024, Between(64, 16_777_216);
        /// How hard to compress: 1 is fastest, 9 shortest. Above 2 JSON becomes little shorter for much more time.
        level: u64 = 2, Between(1, 9);
    }
    /// What rooms keep for those who come back. The oldest records go first; who missed one is told.
    retention: Retention {
        /// Records that a named room keeps.
        room_records: u64 = 1_000, Between(1, MILLION);
        /// Bytes that a room keeps.
        room_bytes: u64 = 4_194_304, Between(1_024, GIB);
        /// How long a named room keeps a record, in milliseconds; no shorter than sessions live.
        room_age_ms: u64 = HOUR, Between(1_000, 7 * DAY);
        /// Records that a session's or a user's own room keeps. There are many of these.
        own_records: u64 = 100, Between(1, MILLION);
        /// How long an own room keeps a record, in milliseconds.
        own_age_ms: u64 = HOUR, Between(1_000, 7 * DAY);
        /// What all rooms keep together, in bytes: the bound on the memory for messages.
        total_bytes: u64 = 268_435_456, Between(1_048_576, 1024 * GIB);
        /// Other bounds for named rooms whose names begin in some way; the longest prefix counts, and what a rule leaves
        /// out is as for other rooms. Write them as tables:
        ///
        /// [[retention.rule]]
        /// prefix = "log:"
        /// records = 100
        /// age_ms = 60000
        rule: Vec<RuleTable> = Vec::new(), List(0, 64, "tables of prefix, records?, bytes?, age_ms?", bound::rule);
    }
    /// The store on disk: what messages and sessions outlive the process by.
    store: Store {
        /// The directory that messages and sessions are kept in; it is made where it is missing, for its owner alone. Where
        /// this is empty they are kept in memory and end with the process, as `moorline dev` does unless told otherwise.
        directory: File = File::new("moorline-data"), Any("a directory's path, or empty");
        /// The least time between the beginnings of two commits to disk, in milliseconds: what comes meanwhile is kept by one.
        /// Longer spares the disk, and publishes wait for it.
        commit_every_ms: u64 = 2, Between(0, 1_000);
    }
    /// Publishes with an id, of which each counts once however often it is sent.
    publish: Publish {
        /// How long an id is remembered, in milliseconds.
        id_age_ms: u64 = 300_000, Between(1_000, DAY);
        /// What all ids may take, in bytes (160 each); beyond it publishes with an id are refused.
        id_max_bytes: u64 = 16_777_216, Between(1_024, GIB);
    }
    /// How the server ends.
    drain: Drain {
        /// How long clients are given to go, in milliseconds. Below the patience of what stops the server.
        timeout_ms: u64 = 10_000, Between(100, HOUR);
        /// Over how long clients are told to spread their returns, in milliseconds.
        spread_ms: u64 = 5_000, Between(0, HOUR);
    }
    /// Whose tokens let clients in, and what they say.
    auth: Auth {
        /// Keys that sign tokens, each in a file of its own: for HS256, HS384 and HS512 the secret itself, for RS256, ES256
        /// and EdDSA a PEM key. `id` is the token's `kid`. Write them as tables:
        ///
        /// [[auth.key]]
        /// algorithm = "HS256"
        /// file = "token.secret"
        key: Vec<KeyTable> = Vec::new(), List(0, 64, "tables of id?, algorithm, file", bound::key), reload;
        /// Key sets of an identity provider, from a `url` or a `file`, and the algorithms that their keys may be used for:
        ///
        /// [[auth.jwks]]
        /// url = "https://id.example.com/.well-known/jwks.json"
        /// algorithms = ["RS256"]
        jwks: Vec<JwksTable> = Vec::new(), List(0, 16, "tables of url or file, algorithms", bound::jwks), reload;
        /// How often key sets are fetched again, in milliseconds. A key that was withdrawn works until then.
        jwks_refresh_ms: u64 = 300_000, Between(1_000, DAY);
        /// Names of this server, of which a token must have one in `aud`: a token for somebody else lets nobody in here.
        audience: Vec<String> = vec!["moorline".to_owned()], List(1, 16, "names", |name: &String| bound::text(name)), reload;
        /// Who may have issued a token (`iss`); anyone with a key, where it is empty.
        issuer: Vec<String> = Vec::new(), List(0, 16, "names", |name: &String| bound::text(name)), reload;
        /// The claim that names the user.
        user_claim: String = "sub".to_owned(), Text(1, 128);
        /// The claim that holds what the token allows.
        grants_claim: String = "moorline".to_owned(), Text(1, 128);
        /// Rooms that a token without `join` allows to join: patterns like "chat:*" or "home:{user}".
        join: Vec<String> = Vec::new(), List(0, 64, "patterns", bound::pattern), reload;
        /// Rooms that a token without `publish` allows to publish to: patterns.
        publish: Vec<String> = Vec::new(), List(0, 64, "patterns", bound::pattern), reload;
        /// The cookie that may hold the token; none where it is empty. It counts from the server's own pages and from those
        /// of http.origins.
        cookie: String = String::new(), Cookie;
        /// How far clocks may differ, in milliseconds: tolerated at each of a token's times.
        leeway_ms: u64 = 30_000, Between(0, 300_000);
        /// How long before its token ends a client is told, in milliseconds.
        notice_ms: u64 = 60_000, Between(0, HOUR);
        /// How long a token may live, from `iat` to `exp`, in milliseconds; so long a revocation is kept in memory.
        lifetime_max_ms: u64 = DAY, Between(60_000, 31_536_000_000);
    }
    /// API keys: what backends call the HTTP interface with.
    keys: Keys {
        /// The file of API keys, as `moorline keys create` writes it; none where it is empty.
        file: File = File::default(), Any("a file's path"), reload;
    }
    /// The server's own certificate; without it connections are not encrypted here.
    tls: Tls {
        /// A PEM file with the certificate and the chain behind it; no TLS where it is empty.
        certificate: File = File::default(), Any("a file's path"), reload;
        /// The PEM file of its private key.
        key: File = File::default(), Any("a file's path"), reload;
    }
    /// How much clients may do in a time: `per_s` on average, `burst` at once after a pause; 0 per second switches a limit off.
    limits: Limits {
        /// Frames of one connection, per second; beyond it `rate_limited`.
        connection_messages_per_s: u64 = 50, OffTo(MILLION), reload;
        /// Frames of one connection, at once.
        connection_messages_burst: u64 = 200, Between(1, MILLION), reload;
        /// Bytes of one connection's frames, per second.
        connection_bytes_per_s: u64 = 262_144, OffTo(GIB), reload;
        /// Bytes of one connection's frames, at once.
        connection_bytes_burst: u64 = 1_048_576, BetweenAnd(Between(1_024, GIB), "connection.message_max_bytes"), reload;
        /// Frames of one user, all its connections together, per second.
        user_messages_per_s: u64 = 200, OffTo(MILLION), reload;
        /// Frames of one user, at once.
        user_messages_burst: u64 = 800, Between(1, MILLION), reload;
        /// Frames of one address (an IPv6 /64), per second. Many users may share one.
        address_messages_per_s: u64 = 0, OffTo(MILLION), reload;
        /// Frames of one address, at once.
        address_messages_burst: u64 = 1_000, Between(1, MILLION), reload;
        /// Handshakes of one address, per second; beyond it 429.
        address_handshakes_per_s: u64 = 20, OffTo(MILLION), reload;
        /// Handshakes of one address, at once.
        address_handshakes_burst: u64 = 200, Between(1, MILLION), reload;
        /// Handshakes of one user, per second; beyond it close 1013.
        user_handshakes_per_s: u64 = 5, OffTo(MILLION), reload;
        /// Handshakes of one user, at once.
        user_handshakes_burst: u64 = 50, Between(1, MILLION), reload;
        /// Requests with one API key, per second; beyond it 429.
        key_requests_per_s: u64 = 0, OffTo(MILLION), reload;
        /// Requests with one API key, at once.
        key_requests_burst: u64 = 1_000, Between(1, MILLION), reload;
        /// TCP connections that are being accepted or speak HTTP, all together; one more is closed at once. At most half of
        /// the files that the process may have open.
        http_connections_max: u64 = HTTP_CONNECTIONS, Between(1, MILLION);
        /// Those of one address (an IPv6 /64), http.trusted_proxies apart; at most a quarter of all.
        address_http_connections_max: u64 = 256, Between(1, MILLION);
        /// Connections that have not said who they are yet, all together: each holds memory.
        unestablished_max: u64 = UNESTABLISHED, Between(1, MILLION), reload;
        /// Those of one address.
        address_unestablished_max: u64 = 64, Between(1, MILLION), reload;
        /// Named rooms with members, in each shard (one for each core); beyond it a join is refused.
        rooms_max: u64 = MILLION, Between(1, 100 * MILLION);
    }
    /// What the server says about itself, on standard error.
    log: Log {
        /// "text" for people, "json" for one object a line.
        format: LogFormat = LogFormat::Text, Any("text or json");
        /// The least important level that is shown. The variable RUST_LOG wins, which can tell modules apart.
        level: String = "info".to_owned(), Words(&["error", "warn", "info", "debug", "trace"]);
    }
}
