//! The page for development: static files, compiled in.

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use http::{HeaderName, header};

/// Nothing from elsewhere, and no script but the page's own files.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: ; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

macro_rules! files {
    ($($path:literal => $file:literal, $kind:literal;)*) => {
        /// The page and what it loads.
        pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
            Router::new()$(.route($path, get(|| async { file($kind, include_str!(concat!("../../page/", $file))) })))*
        }
    };
}

files! {
    "/" => "index.html", "text/html; charset=utf-8";
    "/page/page.css" => "page.css", "text/css; charset=utf-8";
    "/page/page.js" => "page.js", "text/javascript; charset=utf-8";
    "/page/typist.js" => "typist.js", "text/javascript; charset=utf-8";
    "/page/connection.js" => "connection.js", "text/javascript; charset=utf-8";
}

fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers: [(HeaderName, &str); 4] = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text)
}
