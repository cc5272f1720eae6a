//! What is told of each request: its id in the answer, one line in the log, and its share of the metrics. Neither the
//! path nor the query is told: both may hold what is nobody's business.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{Extensions, HeaderValue, Method, StatusCode};
use moorline::ErrorCode;

use super::caller::Caller;
use super::context;
use super::metrics::Requests;

/// What others ask for every few seconds: its lines would hide those of the rest.
const QUIET: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// One request, as it is told.
struct Told<'a> {
    method: &'static str,
    route: &'a str,
    status: StatusCode,
    took: Duration,
    request_id: &'a str,
    trace_id: Option<&'a str>,
    key: Option<&'a str>,
    /// Why it was refused.
    code: Option<&'static str>,
}

/// Follows a request from its head to the head of its answer.
pub(crate) async fn observe(State(requests): State<Arc<Requests>>, request: Request, next: Next) -> Response {
    let observed = Observed::begin(&request);
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    observed.end(&requests, route.as_ref().map_or("unmatched", MatchedPath::as_str), response)
}

/// A request that is being answered.
pub(crate) struct Observed {
    started: Instant,
    id: HeaderValue,
    trace_id: Option<String>,
    method: &'static str,
}

impl Observed {
    pub(crate) fn begin<B>(request: &http::Request<B>) -> Self {
        let headers = request.headers();
        Self {
            started: Instant::now(),
            id: context::request_id(headers),
            trace_id: context::trace_id(headers).map(str::to_owned),
            method: method(request.method()),
        }
    }

    /// Tells of it, and gives the answer the request's id.
    pub(crate) fn end(self, requests: &Requests, route: &str, mut response: Response) -> Response {
        let told = Told {
            method: self.method,
            route,
            status: response.status(),
            took: self.started.elapsed(),
            request_id: self.id.to_str().unwrap_or_default(),
            trace_id: self.trace_id.as_deref(),
            key: key(response.extensions()),
            code: response.extensions().get::<ErrorCode>().map(|code| code.as_str()),
        };
        requests.count(told.method, told.route, told.status, told.took);
        log(&told);
        response.headers_mut().insert(context::REQUEST_ID, self.id);
        response
    }
}

fn key(extensions: &Extensions) -> Option<&str> {
    extensions.get::<Caller>().map(|caller| &*caller.name)
}

fn log(told: &Told<'_>) {
    let Told { method, route, request_id, trace_id, key, code, .. } = *told;
    let (status, micros) = (told.status.as_u16(), u32::try_from(told.took.as_micros()).unwrap_or(u32::MAX));
    let ms = f64::from(micros) / 1e3;
    if QUIET.contains(&route) {
        tracing::debug!(method, route, status, ms, request_id, trace_id, key, code, "request");
    } else {
        tracing::info!(method, route, status, ms, request_id, trace_id, key, code, "request");
    }
}

/// The method, where it is one of those there are: anyone may invent more.
fn method(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;

    use axum::body::Body;
    use axum::routing::get;
    use axum::{Router, middleware};
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;

    use super::*;
    use crate::http::metrics;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What a request is answered with, what the log says of it, and the metrics after it.
    fn told(request: http::request::Builder) -> (Response, String, String) {
        let recorder = metrics::recorder();
        let (handle, lines) = (recorder.handle(), Lines::default());
        let requests = Arc::new(Requests::new(&handle));
        let router = Router::new()
            .route("/rooms/{room}", get(|| async { "" }))
            .layer(middleware::from_fn_with_state(requests, observe));
        let writer = lines.clone();
        let log = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let answered = TowerToHyperService::new(router).call(request.body(Body::empty()).unwrap());
        let response = ::metrics::with_local_recorder(&recorder, || {
            tracing::subscriber::with_default(log, || runtime.block_on(answered).unwrap())
        });
        let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        (response, lines, handle.render())
    }

    #[test]
    fn a_request_is_told_by_its_route() {
        let request = http::Request::get("/rooms/lobby")
            .header("x-request-id", "r1")
            .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let (response, line, metrics) = told(request);
        assert_eq!(response.headers()["x-request-id"], "r1");
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        let fields = &line["fields"];
        assert_eq!(fields["route"], "/rooms/{room}");
        assert_eq!((&fields["method"], &fields["status"]), (&"GET".into(), &200.into()));
        assert_eq!(
            (&fields["request_id"], &fields["trace_id"]),
            (&"r1".into(), &"4bf92f3577b34da6a3ce929d0e0e4736".into())
        );
        assert!(metrics.contains("{method=\"GET\",route=\"/rooms/{room}\",status=\"200\"} 1"), "{metrics}");
    }

    #[test]
    fn nothing_of_the_path_the_query_or_the_headers_is_told() {
        for uri in ["/rooms/SECRET?token=SECRET", "/SECRET", "/rooms/x?SECRET"] {
            let request = http::Request::builder()
                .method("SECRET")
                .uri(uri)
                .header("authorization", "Bearer SECRET")
                .header("cookie", "auth=SECRET")
                .header("sec-websocket-protocol", "moorline.token.SECRET");
            let (_, line, metrics) = told(request);
            assert!(!line.is_empty() && !line.contains("SECRET"), "{line}");
            assert!(!metrics.contains("SECRET"), "{metrics}");
        }
    }
}
