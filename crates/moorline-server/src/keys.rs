//! API keys.

use std::sync::Arc;

use moorline::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Publish,
    Read,
    Manage,
    Tokens,
    Metrics,
}

impl Scope {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Read => "read",
            Self::Manage => "manage",
            Self::Tokens => "tokens",
            Self::Metrics => "metrics",
        }
    }
}

impl ApiKey {
    pub(crate) fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }
}

pub(crate) struct ApiKey {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) scopes: Vec<Scope>,
}

pub(crate) struct ApiKeys;

impl ApiKeys {
    pub(crate) fn verify(&self, presented: &str, _now: Timestamp) -> Option<Arc<ApiKey>> {
        let scopes = match presented {
            "all" => vec![Scope::Publish, Scope::Read, Scope::Manage, Scope::Tokens, Scope::Metrics],
            "read" => vec![Scope::Read],
            _ => return None,
        };
        Some(Arc::new(ApiKey { id: presented.to_owned(), name: presented.to_owned(), scopes }))
    }
}
