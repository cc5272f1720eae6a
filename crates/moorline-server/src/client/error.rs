//! What goes wrong between the command line and a server.

use moorline_proto::error::ErrorCode;
use reqwest::{Response, StatusCode, header};
use serde::Deserialize;

/// Why a request brought nothing. Says what to do about it where we know; holds no secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// No answer, or no whole one.
    #[error("cannot reach {base}: {advice}")]
    Unreachable {
        base: String,
        advice: String,
        #[source]
        source: reqwest::Error,
    },
    /// An answer that says why not.
    #[error("{0}")]
    Refused(Box<Refusal>),
    #[error("{base} does not answer as a Moorline server does ({why}): {named} says where one is")]
    Stranger { base: String, why: &'static str, named: &'static str },
    #[error("the answer is larger than {max} bytes: ask for less with --limit")]
    AnswerTooBig { max: usize },
    #[error("`{0}` cannot stand in the path of a URL")]
    NoPath(String),
    #[error("the key or token cannot stand in a header")]
    Secret,
    #[error("the system gives no random numbers")]
    Random(#[source] getrandom::Error),
}

const NO_TOKEN: &str = "there is no token and no API key, and every server but `moorline dev` wants one: set MOORLINE_KEY (an API \
     key with the scope `tokens`), or give a token with --token-file FILE or the variable MOORLINE_TOKEN";

/// What a request showed to be let in, or could have shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Credential {
    Key,
    NoKey,
    Token,
    NoToken,
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
    shown: Credential,
    /// What gave the server's address.
    named: &'static str,
}

#[derive(Deserialize)]
struct Problem {
    code: String,
    detail: String,
    retry_in_ms: Option<u64>,
}

impl Refusal {
    pub(super) fn of_head(response: &Response, named: &'static str) -> Self {
        let header = |name: &str| response.headers().get(name)?.to_str().ok().map(ToOwned::to_owned);
        Self {
            status: response.status(),
            code: None,
            retry_in_ms: None,
            detail: None,
            request_id: header("x-request-id"),
            location: header(header::LOCATION.as_str()),
            shown: Credential::NoKey,
            named,
        }
    }

    pub(super) fn with_problem(self, text: &str, shown: Credential) -> Self {
        match serde_json::from_str::<Problem>(text) {
            Ok(Problem { code, detail, retry_in_ms }) => {
                Self { code: Some(code), detail: Some(detail), retry_in_ms, shown, ..self }
            }
            Err(_) => Self { shown, ..self },
        }
    }

    /// Whether the same request may succeed later.
    pub(super) fn may_pass(&self) -> bool {
        self.status.is_server_error()
            || matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
    }

    fn hint(&self) -> Option<String> {
        match (&self.code, &self.location) {
            (Some(code), _) => match self.advice(code) {
                Some(advice) => Some(advice.to_owned()),
                None => self.retry_in_ms.map(|wait| format!("try again in {wait} ms")),
            },
            (None, Some(location)) if self.status.is_redirection() => {
                Some(format!("it leads on to {location}: give that server's address with {}", self.named))
            }
            (None, _) => Some(format!("a Moorline server says why: {} says where one is", self.named)),
        }
    }

    /// Whether a token is what was missing; said first, since the server says what else it made of the request.
    fn wants_token(&self) -> bool {
        let is_for_who =
            matches!(self.status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        let is_said = self.code.as_deref().is_some_and(|code| code != ErrorCode::NoAuthenticator.as_str());
        is_for_who && is_said && self.shown == Credential::NoToken
    }

    /// What to show instead.
    fn advice(&self, code: &str) -> Option<&'static str> {
        if code == ErrorCode::NoAuthenticator.as_str() {
            return Some(
                "a server for development checks no tokens: unset MOORLINE_KEY (leave --key-file out); one that cannot \
                 sign tokens wants yours: --token-file FILE or the variable MOORLINE_TOKEN",
            );
        }
        match (self.status, self.shown) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Credential::Token) => {
                Some("give another token with --token-file FILE or the variable MOORLINE_TOKEN")
            }
            (StatusCode::UNAUTHORIZED, Credential::Key) => {
                Some("give another API key with --key-file FILE or the variable MOORLINE_KEY")
            }
            (StatusCode::UNAUTHORIZED, Credential::NoKey) => {
                Some("give an API key with --key-file FILE or the variable MOORLINE_KEY")
            }
            (StatusCode::FORBIDDEN, Credential::Key) => Some("use an API key with the scope that this needs"),
            _ => None,
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.wants_token() {
            write!(f, "{NO_TOKEN}; the server says ")?;
        }
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
    /// What the server refused it with: the code, and the code with its words. None where it did not refuse, or not so.
    pub(crate) fn said(&self) -> Option<(String, String)> {
        match self {
            Self::Refused(refusal) => {
                let code = refusal.code.clone()?;
                let said = format!("{code}: {}", refusal.detail.as_deref().unwrap_or_default());
                Some((code, said))
            }
            _ => None,
        }
    }

    /// How long the server asks to be left alone.
    pub(crate) fn retry_in_ms(&self) -> Option<u64> {
        match self {
            Self::Refused(refusal) => refusal.retry_in_ms,
            _ => None,
        }
    }

    /// Whether the same may succeed later, with nothing changed on our side.
    pub(crate) fn may_pass(&self) -> bool {
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

    fn refusal(status: StatusCode, text: &str, shown: Credential) -> String {
        let mut answer = http::Response::new(String::new());
        *answer.status_mut() = status;
        answer.headers_mut().insert("x-request-id", http::HeaderValue::from_static("r-1"));
        Refusal::of_head(&answer.into(), "--url").with_problem(text, shown).to_string()
    }

    #[test]
    fn a_problem_is_said_with_its_code_request_and_what_to_do() {
        let problem = r#"{"code":"not_authenticated","detail":"no API key","status":401}"#;
        let said = refusal(StatusCode::UNAUTHORIZED, problem, Credential::NoKey);
        assert!(said.starts_with("not_authenticated: no API key (request r-1); give an API key"), "{said}");
        let said = refusal(StatusCode::UNAUTHORIZED, problem, Credential::Key);
        assert!(said.contains("; give another API key with --key-file FILE or the variable MOORLINE_KEY"));
        let limited = r#"{"code":"rate_limited","detail":"slow down","retry_in_ms":250}"#;
        let said = refusal(StatusCode::TOO_MANY_REQUESTS, limited, Credential::NoToken);
        assert!(said.ends_with("try again in 250 ms"), "{said}");
        let page = refusal(StatusCode::BAD_GATEWAY, "<html>", Credential::Key);
        assert!(page.starts_with("the server answered 502 Bad Gateway (request r-1); "), "{page}");
    }

    #[test]
    fn who_has_no_token_or_needs_none_is_told_so() {
        let wrong = r#"{"code":"bad_frame","detail":"no"}"#;
        for status in [StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN] {
            let said = refusal(status, wrong, Credential::NoToken);
            assert!(said.starts_with("there is no token and no API key"), "{said}");
            assert!(said.contains("set MOORLINE_KEY") && said.contains("bad_frame: no (request"), "{said}");
        }
        assert!(refusal(StatusCode::BAD_REQUEST, wrong, Credential::Token).ends_with("(request r-1)"));
        assert!(refusal(StatusCode::NOT_FOUND, wrong, Credential::NoToken).ends_with("(request r-1)"));
        let unchecked = r#"{"code":"no_authenticator","detail":"no"}"#;
        assert!(refusal(StatusCode::BAD_REQUEST, unchecked, Credential::Key).contains("unset MOORLINE_KEY"));
    }
}
