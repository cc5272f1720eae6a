//! Key sets from a server that does what servers do.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use moorline::AuthenticateError;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::support::*;
use crate::auth::Verifier;
use crate::auth::fetch::{FetchError, Source, pause, waits};
use crate::settings::{Algorithm, AuthSettings, JwksPlace, JwksSource};

#[derive(Clone)]
enum Behaviour {
    Set(String),
    Status(&'static str),
    Redirect(String),
    /// A body without a length and without an end.
    Endless,
    Mute,
    /// A head, and then nothing.
    Stuck,
}

struct Server {
    url: String,
    behaviour: Arc<Mutex<Behaviour>>,
    hits: watch::Receiver<usize>,
}

impl Server {
    async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys?secret=1", listener.local_addr().unwrap());
        let behaviour = Arc::new(Mutex::new(behaviour));
        let (count, hits) = watch::channel(0);
        let shared = Arc::clone(&behaviour);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let behaviour = shared.lock().unwrap().clone();
                count.send_modify(|hits| *hits += 1);
                tokio::spawn(answer(stream, behaviour));
            }
        });
        Self { url, behaviour, hits }
    }

    fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    fn hits(&self) -> usize {
        *self.hits.borrow()
    }

    fn settings(&self) -> AuthSettings {
        let algorithms = vec![Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];
        let jwks = vec![JwksSource { from: JwksPlace::Url(self.url.clone()), algorithms }];
        AuthSettings { jwks, jwks_refresh: Duration::from_millis(20), ..settings() }
    }

    fn source(&self) -> Source {
        Source::new(&self.url, &[Algorithm::ES256]).unwrap()
    }
}

/// The client may hang up at any time, so what cannot be written does not matter.
async fn answer(mut stream: TcpStream, behaviour: Behaviour) {
    let _read = stream.read(&mut [0; 4096]).await;
    let head = |status: &str, more: &str| format!("HTTP/1.1 {status}\r\nconnection: close\r\n{more}\r\n");
    match behaviour {
        Behaviour::Set(body) => {
            let length = format!("content-length: {}\r\n", body.len());
            let _sent = stream.write_all((head("200 OK", &length) + &body).as_bytes()).await;
        }
        Behaviour::Status(status) => {
            let _sent = stream.write_all(head(status, "content-length: 0\r\n").as_bytes()).await;
        }
        Behaviour::Redirect(to) => {
            let more = format!("location: {to}\r\ncontent-length: 0\r\n");
            let _sent = stream.write_all(head("302 Found", &more).as_bytes()).await;
        }
        Behaviour::Endless => {
            let _sent = stream.write_all(head("200 OK", "").as_bytes()).await;
            while stream.write_all(&[b' '; 4096]).await.is_ok() {}
        }
        Behaviour::Mute => std::future::pending().await,
        Behaviour::Stuck => {
            let _sent = stream.write_all(head("200 OK", "content-length: 9\r\n").as_bytes()).await;
            std::future::pending().await
        }
    }
}

fn set(keys: &[(&str, &Made)]) -> Behaviour {
    let keys: Vec<String> =
        keys.iter().map(|(id, made)| format!(r#"{{"kid":"{id}",{}}}"#, made.jwk)).collect();
    Behaviour::Set(format!(r#"{{"keys":[{}]}}"#, keys.join(",")))
}

fn token(algorithm: Algorithm, id: &str) -> String {
    forge(algorithm, &format!(r#"{{"alg":"{algorithm:?}","kid":"{id}"}}"#), claims(""))
}

fn is_unavailable(verifier: &Verifier, token: &str) -> bool {
    matches!(verifier.check(token), Err(AuthenticateError::Unavailable { .. }))
}

#[tokio::test]
async fn keys_of_a_fetched_set_count_and_rotate() {
    let server = Server::start(set(&[("r", &RSA), ("e", &EC), ("d", &ED)])).await;
    let verifier = verifier(&server.settings());
    assert!(is_unavailable(&verifier, &token(Algorithm::ES256, "e")));
    let missing = verifier.missing();
    assert!(missing[0].contains("/keys") && !missing[0].contains("secret"), "{missing:?}");
    verifier.fetch().await;
    assert!(verifier.missing().is_empty());
    for (algorithm, id) in [(Algorithm::RS256, "r"), (Algorithm::ES256, "e"), (Algorithm::EdDSA, "d")] {
        assert!(verifier.check(&token(algorithm, id)).is_ok());
    }
    server.behave(set(&[("e2", &EC)]));
    verifier.fetch().await;
    assert!(verifier.check(&token(Algorithm::ES256, "e2")).is_ok());
    assert!(verifier.check(&token(Algorithm::ES256, "e")).is_err());
}

#[tokio::test]
async fn no_token_makes_us_fetch() {
    let server = Server::start(set(&[("e", &EC)])).await;
    let ours = verifier(&server.settings());
    let header = format!(r#"{{"alg":"ES256","kid":"x","jku":"{}"}}"#, server.url);
    for token in [token(Algorithm::ES256, "unknown"), forge(Algorithm::ES256, &header, claims(""))] {
        assert!(ours.check(&token).is_err());
    }
    assert_eq!(server.hits(), 0);
    ours.fetch().await;
    for number in 0..100 {
        assert!(ours.check(&token(Algorithm::ES256, &number.to_string())).is_err());
    }
    assert_eq!(server.hits(), 1);
}

#[tokio::test]
async fn a_failed_fetch_keeps_the_keys_there_are() {
    let server = Server::start(set(&[("e", &EC)])).await;
    let verifier = verifier(&server.settings());
    verifier.fetch().await;
    let elsewhere = Server::start(set(&[("e3", &EC)])).await;
    let many: Vec<String> = (0..65).map(|id| id.to_string()).collect();
    let many: Vec<(&str, &Made)> = many.iter().map(|id| (id.as_str(), &*EC)).collect();
    for failing in [
        Behaviour::Status("500 Internal Server Error"),
        Behaviour::Status("204 No Content"),
        Behaviour::Redirect(elsewhere.url.clone()),
        Behaviour::Endless,
        Behaviour::Set("garbage".to_owned()),
        Behaviour::Set("{}".to_owned()),
        Behaviour::Set(r#"{"keys":{}}"#.to_owned()),
        Behaviour::Set(r#"{"keys":[],"keys":[]}"#.to_owned()),
        Behaviour::Set("[".repeat(1000)),
        set(&[("same", &EC), ("same", &RSA)]),
        set(&many),
    ] {
        server.behave(failing);
        verifier.fetch().await;
        assert!(verifier.check(&token(Algorithm::ES256, "e")).is_ok());
    }
    assert_eq!((server.hits(), elsewhere.hits()), (12, 0));
}

#[tokio::test]
async fn each_failure_has_its_name() {
    let server = Server::start(Behaviour::Endless).await;
    let mut quick = server.source();
    quick.timeout = Duration::from_millis(100);
    assert!(matches!(server.source().fetch().await, Err(FetchError::TooBig)));
    for slow in [Behaviour::Mute, Behaviour::Stuck] {
        server.behave(slow);
        assert!(matches!(quick.fetch().await, Err(FetchError::Timeout)));
    }
    server.behave(Behaviour::Redirect(server.url.clone()));
    assert!(matches!(server.source().fetch().await, Err(FetchError::Status(_))));
    server.behave(Behaviour::Set("null".to_owned()));
    assert!(matches!(server.source().fetch().await, Err(FetchError::Jwks(_))));
    let closed = Source::new("http://127.0.0.1:1/keys?secret=1", &[]).unwrap().fetch().await;
    let Err(FetchError::Unreachable(error)) = closed else { panic!("{closed:?}") };
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
}

#[tokio::test]
async fn the_task_fetches_again_and_again_until_it_is_stopped() {
    let server = Server::start(Behaviour::Status("503 Service Unavailable")).await;
    let verifier = Arc::new(verifier(&server.settings()));
    let stopped = CancellationToken::new();
    let task = tokio::spawn(Arc::clone(&verifier).refresh(stopped.clone()));
    let mut hits = server.hits.clone();
    hits.wait_for(|hits| *hits >= 2).await.unwrap();
    assert!(is_unavailable(&verifier, &token(Algorithm::ES256, "e")));
    server.behave(set(&[("e", &EC)]));
    let seen = server.hits();
    hits.wait_for(|hits| *hits >= seen + 3).await.unwrap();
    assert!(verifier.check(&token(Algorithm::ES256, "e")).is_ok());
    let other = Server::start(set(&[("e2", &EC)])).await;
    verifier.take_over(&super::support::verifier(&other.settings()));
    other.hits.clone().wait_for(|hits| *hits >= 3).await.unwrap();
    assert!(verifier.check(&token(Algorithm::ES256, "e2")).is_ok());
    assert!(verifier.check(&token(Algorithm::ES256, "e")).is_err());
    stopped.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn a_reload_keeps_what_was_fetched_and_changes_nothing_where_it_fails() {
    let folder = Folder::new();
    let server = Server::start(set(&[("e", &EC)])).await;
    let verifier = verifier(&server.settings());
    verifier.fetch().await;
    let more = AuthSettings { keys: folder.settings().keys, ..server.settings() };
    verifier.take_over(&super::support::verifier(&more));
    let ours = forge(Algorithm::HS256, &header(Algorithm::HS256), claims(""));
    assert!(verifier.check(&token(Algorithm::ES256, "e")).is_ok() && verifier.check(&ours).is_ok());
    let broken = AuthSettings { keys: folder.one(None, Algorithm::RS256, "nothing").keys, ..settings() };
    assert!(Verifier::load(&broken).is_err());
    assert!(verifier.check(&token(Algorithm::ES256, "e")).is_ok() && verifier.check(&ours).is_ok());
    assert_eq!(server.hits(), 1);
}

#[tokio::test]
async fn a_fetched_key_never_replaces_one_of_ours() {
    let folder = Folder::new();
    let server = Server::start(set(&[("rs", &OTHER_RSA), ("new", &RSA)])).await;
    let verifier = verifier(&AuthSettings { keys: folder.settings().keys, ..server.settings() });
    verifier.fetch().await;
    assert!(verifier.check(&token(Algorithm::RS256, "rs")).is_ok());
    assert!(verifier.check(&token(Algorithm::RS256, "new")).is_ok());
}

/// The only key is not known before every set has arrived.
#[tokio::test]
async fn a_token_without_kid_waits_for_the_sets() {
    let folder = Folder::new();
    let server = Server::start(set(&[("e", &EC)])).await;
    let bare = forge(Algorithm::ES256, r#"{"alg":"ES256"}"#, claims(""));
    let verifier = verifier(&server.settings());
    assert!(is_unavailable(&verifier, &bare));
    verifier.fetch().await;
    assert!(verifier.check(&bare).is_ok());
    let named = AuthSettings { keys: folder.settings().keys, ..server.settings() };
    verifier.take_over(&super::support::verifier(&named));
    assert!(matches!(verifier.check(&bare), Err(AuthenticateError::Refused(_))));
}

#[test]
fn only_safe_urls_are_fetched() {
    for url in [
        "https://issuer.example/keys",
        "http://localhost:1/keys",
        "http://127.0.0.2/keys",
        "http://[::1]:1/keys",
    ] {
        assert!(Source::new(url, &[]).is_ok(), "{url}");
    }
    for url in [
        "http://issuer.example/keys",
        "http://127.0.0.1.example/keys",
        "http://localhost.example/keys",
        "http://169.254.169.254/keys",
        "http://[::]/keys",
        "http://0.0.0.0/keys",
        "ftp://localhost/keys",
        "file:///keys",
        "https://name:SECRET@issuer.example/keys",
        "https://SECRET@issuer.example/keys",
        "keys",
        "",
    ] {
        let error = Source::new(url, &[]).unwrap_err().to_string();
        assert!(!error.contains("SECRET"), "{error}");
    }
}

#[test]
fn waits_grow_and_stay_bounded() {
    let waits: Vec<Duration> = waits(Duration::from_secs(3600)).take(50).collect();
    assert!(waits[0] >= Duration::from_millis(500) && waits[0] <= Duration::from_secs(1));
    assert!(waits[20] >= Duration::from_secs(30));
    assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(60)));
    let pause = pause(Duration::from_secs(100));
    assert!(pause > Duration::from_secs(90) && pause <= Duration::from_secs(100));
}
