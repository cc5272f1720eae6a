//! Who calls: an API key with the scope that the resource wants, checked before anything of the body is read.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, header};
use moorline::{ErrorCode, Timestamp};

use super::bearer::bearer;
use super::problem::Problem;
use super::rates::KeyRates;
use crate::app::{App, Mode};
use crate::keys::{ApiKey, ApiKeys, Scope};

/// The caller without keys: every one is the same.
const DEVELOPMENT: &str = "development";

/// Who calls, by the name of its API key. Publish ids are unique within it.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) name: Arc<str>,
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| Problem::of(ErrorCode::Internal, "nobody checked who calls"))
    }
}

/// What stands before the resources that want a scope.
pub(crate) struct Gate {
    app: App,
    rates: KeyRates<ApiKeys>,
}

impl Gate {
    pub(crate) fn new(app: &App) -> Self {
        Self { app: app.clone(), rates: KeyRates::default() }
    }

    /// Whose key the request has.
    fn identify(&self, headers: &HeaderMap) -> Result<Arc<ApiKey>, Problem> {
        let presented = bearer(headers).map_err(|why| not_authenticated(why.to_string()))?;
        let presented = presented
            .ok_or_else(|| not_authenticated("send `Authorization: Bearer` and an API key".to_owned()))?;
        let key = self.app.keys().verify(presented, now());
        key.ok_or_else(|| not_authenticated("the API key is unknown, expired or revoked".to_owned()))
    }

    fn admit(&self, key: &ApiKey, scope: Scope) -> Result<(), Problem> {
        self.rates.count(self.app.key_requests(), &self.app.keys(), &key.id)?;
        if key.allows(scope) {
            return Ok(());
        }
        let why = format!("the API key lacks the scope {}", scope.as_str());
        Err(Problem::of(ErrorCode::Forbidden, why))
    }
}

/// Lets a request through whose key has the scope, with its [`Caller`] in the extensions of request and answer.
pub(crate) async fn check(
    State((gate, scope)): State<(Arc<Gate>, Scope)>,
    mut request: Request,
    next: Next,
) -> Response {
    let (caller, admitted) = match gate.app.mode() {
        Mode::Development => (Caller { name: DEVELOPMENT.into() }, Ok(())),
        Mode::Serving => match gate.identify(request.headers()) {
            Ok(key) => (Caller { name: key.name.as_str().into() }, gate.admit(&key, scope)),
            Err(problem) => return problem.into_response(),
        },
    };
    let mut response = match admitted {
        Ok(()) => {
            request.extensions_mut().insert(caller.clone());
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    };
    response.extensions_mut().insert(caller);
    response
}

fn not_authenticated(why: String) -> Problem {
    let challenge = (header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    Problem::of(ErrorCode::NotAuthenticated, why).with_headers(HeaderMap::from_iter([challenge]))
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
