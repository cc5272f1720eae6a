//! The address to listen on, and the key sets that have to be fetched.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, SystemTime};

use reqwest::header::{DATE, HeaderMap};
use reqwest::{Client, Url, redirect};

use super::{Check, clock};

/// How long a key set may take; the server waits no longer either.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn listen(address: SocketAddr) -> Check {
    let name = "http.listen";
    match TcpListener::bind(address) {
        Ok(_free_again) => Check::ok(name, format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Check::warn(
            name,
            format!("{address} is in use"),
            "fine where it is this server that runs there; else choose another one, or stop who has it",
        ),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Check::bad(
            name,
            format!("{address}: {error}"),
            "take a port from 1024 on, or AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit",
        ),
        Err(error) => Check::bad(name, format!("{address}: {error}"), "choose an address of this machine"),
    }
}

/// Fetches each key set once, for its answer and its clock.
pub(super) fn key_sets(urls: &[&str]) -> Vec<Check> {
    if urls.is_empty() {
        return Vec::new();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let client = Client::builder().timeout(FETCH_TIMEOUT).redirect(redirect::Policy::none()).build();
    match (runtime, client) {
        (Ok(runtime), Ok(client)) => {
            urls.iter().flat_map(|url| runtime.block_on(key_set(&client, url))).collect()
        }
        (Err(error), _) => {
            vec![Check::bad("key sets", error.to_string(), "free some of the system's resources")]
        }
        (_, Err(error)) => {
            vec![Check::bad("key sets", error.to_string(), "install the system's root certificates")]
        }
    }
}

async fn key_set(client: &Client, url: &str) -> Vec<Check> {
    // The path and the query may be somebody's secret.
    let host = Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    let name = format!("key set at {host}");
    let asked = SystemTime::now();
    match client.get(url).send().await {
        Err(error) => {
            let mend =
                "tokens are not accepted before it answers: check its name, the firewall, its certificate";
            vec![Check::bad(name, root(&error.without_url()), mend)]
        }
        Ok(answer) if !answer.status().is_success() => {
            let mend = "correct auth.jwks: the URL must answer 200 by itself, redirects are not followed";
            vec![Check::bad(name, format!("it answers {}", answer.status()), mend)]
        }
        Ok(answer) => {
            let mut checks = vec![Check::ok(name, "it answers")];
            checks.extend(date(answer.headers()).map(|theirs| clock::compare(&host, theirs, asked)));
            checks
        }
    }
}

/// The innermost cause: the one that says something.
fn root(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

fn date(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::Verdict;

    #[test]
    fn an_address_is_free_in_use_or_not_ours() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(listen(taken.local_addr().unwrap()).verdict, Verdict::Warn);
        let address = taken.local_addr().unwrap();
        drop(taken);
        assert_eq!(listen(address).verdict, Verdict::Ok);
        assert_eq!(listen("192.0.2.1:8080".parse().unwrap()).verdict, Verdict::Bad);
    }

    /// An HTTP server that answers once, and what is said about it.
    fn asked(answer: &'static str) -> Vec<(String, Verdict)> {
        use std::io::{Read as _, Write as _};
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/keys.json?secret=s3cr3t", server.local_addr().unwrap());
        let serving = std::thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let _head = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let checks = key_sets(&[&url]);
        serving.join().unwrap();
        assert!(checks.iter().all(|check| !format!("{check:?}").contains("s3cr3t")), "{checks:?}");
        checks.into_iter().map(|check| (check.check, check.verdict)).collect()
    }

    #[test]
    fn a_key_set_is_fetched_and_its_clock_compared() {
        let (set, clock) = ("key set at 127.0.0.1".to_owned(), "clock, compared with 127.0.0.1".to_owned());
        let good = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        assert_eq!(asked(good), [(set.clone(), Verdict::Ok)]);
        let old = "HTTP/1.1 200 OK\r\nDate: Sat, 01 Jan 2022 00:00:00 GMT\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(asked(old), [(set.clone(), Verdict::Ok), (clock, Verdict::Bad)]);
        let gone = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(asked(gone), [(set.clone(), Verdict::Bad)]);
        assert_eq!(asked(""), [(set, Verdict::Bad)]);
    }
}
