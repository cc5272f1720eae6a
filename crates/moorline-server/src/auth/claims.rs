//! What a token claims, and whether it counts here and now.

use std::time::Duration;

use moorline::{Grants, Identity, Names, Pattern, Timestamp, TokenId, UserId};
use serde_json::Number;

use super::object::Object;
use super::refusal::{ClaimFault, Refusal, claim};
use crate::settings::AuthSettings;

/// The last moment that is a time: the year 9999, in seconds.
const TIME_MAX_S: u64 = 253_402_300_799;

/// What claims are held against.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) audience: Vec<String>,
    pub(super) issuer: Vec<String>,
    pub(super) user_claim: String,
    pub(super) grants_claim: String,
    join: Names,
    publish: Names,
    leeway: Duration,
    pub(super) lifetime_max: Duration,
}

impl Rules {
    pub(super) fn of(settings: &AuthSettings) -> Self {
        Self {
            audience: settings.audience.clone(),
            issuer: settings.issuer.clone(),
            user_claim: settings.user_claim.clone(),
            grants_claim: settings.grants_claim.clone(),
            join: settings.join.clone(),
            publish: settings.publish.clone(),
            leeway: settings.leeway,
            lifetime_max: settings.lifetime_max,
        }
    }

    /// Whom claims speak for. Their signature has been checked.
    ///
    /// # Errors
    /// They are malformed, or do not count here or now.
    pub(super) fn check(&self, claims: &[u8], now: Timestamp) -> Result<Identity, Refusal> {
        let claims = Object::parse(claims).map_err(Refusal::Claims)?;
        let (expires_at, issued_at) = self.check_times(&claims, now)?;
        self.check_audience(&claims)?;
        self.check_issuer(&claims)?;
        let user =
            string(&claims, &self.user_claim)?.ok_or_else(|| claim(&self.user_claim, ClaimFault::Missing))?;
        let user = UserId::new(&user).map_err(|_name| claim(&self.user_claim, ClaimFault::NotAnId))?;
        let token = string(&claims, "jti")?.map(|id| TokenId::new(&id)).transpose();
        let grants = self.grants(&claims).map_err(|fault| claim(&self.grants_claim, fault))?;
        Ok(Identity {
            user: Some(user),
            grants,
            expires_at: Some(expires_at),
            issued_at: Some(issued_at),
            token: token.map_err(|_name| claim("jti", ClaimFault::NotAnId))?,
        })
    }

    /// `exp` and `iat`. A token lives no longer than a revocation of it is kept, counted from `iat`: counted from now, one that
    /// lives longer would come back when its revocation is forgotten.
    fn check_times(&self, claims: &Object<'_>, now: Timestamp) -> Result<(Timestamp, Timestamp), Refusal> {
        let expires_at = time(claims, "exp")?.ok_or_else(|| claim("exp", ClaimFault::Missing))?;
        if later(expires_at, self.leeway) <= now {
            return Err(Refusal::Expired);
        }
        let [not_before, issued_at] = ["nbf", "iat"].map(|name| {
            let at = time(claims, name)?;
            let is_future = at.is_some_and(|at| at > later(now, self.leeway));
            if is_future { Err(claim(name, ClaimFault::Future)) } else { Ok(at) }
        });
        not_before?;
        let issued_at = issued_at?.ok_or_else(|| claim("iat", ClaimFault::Missing))?;
        if expires_at > later(issued_at, self.lifetime_max) {
            return Err(claim("exp", ClaimFault::TooFar));
        }
        Ok((expires_at, issued_at))
    }

    fn check_audience(&self, claims: &Object<'_>) -> Result<(), Refusal> {
        let text = claims.text("aud").ok_or_else(|| claim("aud", ClaimFault::Missing))?;
        let one = serde_json::from_str(text).map(|one: String| vec![one]);
        let audience: Vec<String> = one
            .or_else(|_several| serde_json::from_str(text))
            .map_err(|_kind| claim("aud", ClaimFault::NotStrings))?;
        let is_ours = audience.iter().any(|one| self.audience.contains(one));
        is_ours.then_some(()).ok_or_else(|| claim("aud", ClaimFault::NotOurs))
    }

    fn check_issuer(&self, claims: &Object<'_>) -> Result<(), Refusal> {
        let issuer = string(claims, "iss")?;
        if self.issuer.is_empty() {
            return Ok(());
        }
        let issuer = issuer.ok_or_else(|| claim("iss", ClaimFault::Missing))?;
        self.issuer.contains(&issuer).then_some(()).ok_or_else(|| claim("iss", ClaimFault::NotOurs))
    }

    fn grants(&self, claims: &Object<'_>) -> Result<Grants, ClaimFault> {
        let text = claims.text(&self.grants_claim).unwrap_or("{}");
        let object = Object::parse(text.as_bytes())?;
        if !object.names().all(|name| ["join", "publish", "session"].contains(&name)) {
            return Err(ClaimFault::UnknownGrant);
        }
        Ok(Grants {
            join: names(&object, "join")?.unwrap_or_else(|| self.join.clone()),
            publish: names(&object, "publish")?.unwrap_or_else(|| self.publish.clone()),
            session: names(&object, "session")?.unwrap_or(Names::NONE),
        })
    }
}

fn names(grants: &Object<'_>, name: &str) -> Result<Option<Names>, ClaimFault> {
    let Some(list) = grants.value::<Vec<String>, _>(name, ClaimFault::NotPatterns)? else { return Ok(None) };
    if list.len() > Names::PATTERNS_MAX {
        return Err(ClaimFault::NotPatterns);
    }
    let patterns: Result<Vec<Pattern>, _> = list.iter().map(|text| Pattern::new(text)).collect();
    Ok(Some(Names::Matching(patterns?)))
}

fn string(claims: &Object<'_>, name: &str) -> Result<Option<String>, Refusal> {
    claims.value(name, ()).map_err(|()| claim(name, ClaimFault::NotAString))
}

/// A NumericDate (RFC 7519, section 2): seconds, whole or not.
fn time(claims: &Object<'_>, name: &str) -> Result<Option<Timestamp>, Refusal> {
    let number: Option<Number> = claims.value(name, ()).map_err(|()| claim(name, ClaimFault::NotATime))?;
    number.map(|number| moment(&number).ok_or_else(|| claim(name, ClaimFault::NotATime))).transpose()
}

fn moment(seconds: &Number) -> Option<Timestamp> {
    let since = match seconds.as_u64() {
        Some(whole) => Duration::from_secs(whole),
        None => Duration::try_from_secs_f64(seconds.as_f64()?).ok()?,
    };
    let is_time = since.as_secs() <= TIME_MAX_S;
    u64::try_from(since.as_millis()).ok().filter(|_ms| is_time).map(Timestamp)
}

/// That long after it.
pub(super) fn later(at: Timestamp, by: Duration) -> Timestamp {
    Timestamp(at.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
}
