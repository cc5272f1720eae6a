//! What goes wrong between the command line and a server.

use reqwest::{Response, StatusCode, header};
use serde::Deserialize;

/// Why a request brought nothing. Says what to do about it where we know; holds no secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// No answer, or no whole one.
    #[error("cannot reach {base}: is the server running there? (--url says where)")]
    Unreachable {
        base: String,
        #[source]
        source: reqwest::Error,
    },
    /// An answer that says why not.
    #[error("{0}")]
    Refused(Box<Refusal>),
    #[error("{base} does not answer as a Moorline server does ({why}): --url says where one is")]
    Stranger { base: String, why: &'static str },
    #[error("the answer is larger than {max} bytes: ask for less with --limit")]
    AnswerTooBig { max: usize },
    #[error("`{0}` cannot stand in the path of a URL")]
    NoPath(String),
    #[error("the key or token cannot stand in a header")]
    Secret,
    #[error("the system gives no random numbers")]
    Random(#[source] getrandom::Error),
}

/// What an answer with another status than 2xx says.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// The code of spec/errors.md; none where the answer is not one of ours.
    pub(crate) code: Option<String>,
    pub(crate) retry_in_ms: Option<u64>,
    detail: Option<String>,
    request_id: Option<String>,
    location: Option<String>,
    had_key: bool,
}

#[derive(Deserialize)]
struct Problem {
    code: String,
    detail: String,
    retry_in_ms: Option<u64>,
}

impl Refusal {
    pub(super) fn of_head(response: &Response) -> Self {
        let header = |name: &str| response.headers().get(name)?.to_str().ok().map(ToOwned::to_owned);
        Self {
            status: response.status(),
            code: None,
            retry_in_ms: None,
            detail: None,
            request_id: header("x-request-id"),
            location: header(header::LOCATION.as_str()),
            had_key: false,
        }
    }

    pub(super) fn with_problem(self, text: &str, had_key: bool) -> Self {
        match serde_json::from_str::<Problem>(text) {
            Ok(Problem { code, detail, retry_in_ms }) => {
                Self { code: Some(code), detail: Some(detail), retry_in_ms, had_key, ..self }
            }
            Err(_) => Self { had_key, ..self },
        }
    }

    /// Whether the same request may succeed later.
    pub(super) fn may_pass(&self) -> bool {
        self.status.is_server_error()
            || matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
    }

    fn hint(&self) -> Option<String> {
        match (self.status, &self.code, &self.location) {
            (StatusCode::UNAUTHORIZED, Some(_), _) if self.had_key => Some(
                "the API key may have expired or been revoked: give another one with --key-file".to_owned(),
            ),
            (StatusCode::UNAUTHORIZED, Some(_), _) => {
                Some("give an API key with --key-file FILE or the variable MOORLINE_KEY".to_owned())
            }
            (StatusCode::FORBIDDEN, Some(_), _) if self.had_key => {
                Some("use an API key with the scope that this needs".to_owned())
            }
            (status, None, Some(location)) if status.is_redirection() => {
                Some(format!("it leads on to {location}: give that server's address with --url"))
            }
            (_, None, _) => Some("a Moorline server says why: --url says where one is".to_owned()),
            _ => self.retry_in_ms.map(|wait| format!("try again in {wait} ms")),
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.code, &self.detail) {
            (Some(code), Some(detail)) => write!(f, "{code}: {detail}")?,
            _ => write!(f, "the server answered {}", self.status)?,
        }
        if let Some(id) = &self.request_id {
            write!(f, " (request {id})")?;
        }
        self.hint().map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

impl ClientError {
    /// How long the server asks to be left alone.
    pub(super) fn retry_in_ms(&self) -> Option<u64> {
        match self {
            Self::Refused(refusal) => refusal.retry_in_ms,
            _ => None,
        }
    }

    /// Whether the same may succeed later, with nothing changed on our side.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(refusal) => refusal.may_pass(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: StatusCode, text: &str, had_key: bool) -> String {
        let mut answer = http::Response::new(String::new());
        *answer.status_mut() = status;
        answer.headers_mut().insert("x-request-id", http::HeaderValue::from_static("r-1"));
        Refusal::of_head(&answer.into()).with_problem(text, had_key).to_string()
    }

    #[test]
    fn a_problem_is_said_with_its_code_request_and_what_to_do() {
        let problem = r#"{"code":"not_authenticated","detail":"no API key","status":401}"#;
        let said = refusal(StatusCode::UNAUTHORIZED, problem, false);
        assert!(said.starts_with("not_authenticated: no API key (request r-1); give an API key"), "{said}");
        assert!(refusal(StatusCode::UNAUTHORIZED, problem, true).contains("revoked"));
        let limited = r#"{"code":"rate_limited","detail":"slow down","retry_in_ms":250}"#;
        assert!(refusal(StatusCode::TOO_MANY_REQUESTS, limited, true).ends_with("try again in 250 ms"));
        let page = refusal(StatusCode::BAD_GATEWAY, "<html>", true);
        assert!(page.starts_with("the server answered 502 Bad Gateway (request r-1); "), "{page}");
    }
}
