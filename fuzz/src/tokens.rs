//! Tokens. Nothing is accepted that was not signed by a key of ours, and of what was signed only what its claims allow.
//!
//! Input: what is done, and then
//! - 0: a token, as it stands;
//! - 1, 2: a header, a zero byte and claims, which are signed with the secret (1) or the private key (2);
//! - 3, 4: places and bytes, by which a good token of that key is changed.

use std::path::Path;
use std::sync::LazyLock;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use moorline::{Identity, Timestamp};
use moorline_server::testing::{LEEWAY, Tokens};
use serde_json::Value;

const NOW_S: u64 = 1_800_000_000;
const SECRET: &[u8] = include_bytes!("../keys/hs");
/// RFC 6979, section A.2.5.
const PRIVATE: &str = "ya-p2EW6dRZrXCFXZ7HWk05Qw9s26JsSe4piKxIPZyE";
const POINT: [&str; 2] =
    ["YP7UuiVanTHJYet0xjVtaMBJuJI7Yfps5mliLmDyn7Y", "eQP-EAi4vJmkGunpVii8ZPLxsgwtfp9Rd6PClNRGIpk"];
const GOOD: &str = r#"{"sub":"ann","iat":1800000000,"exp":1800000060,"aud":"moorline"}"#;

static TOKENS: LazyLock<Tokens> = LazyLock::new(|| {
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("keys");
    let now = || Timestamp(NOW_S * 1000);
    Tokens::load(keys.join("hs"), keys.join("set.json"), now).expect("the keys are good")
});

static PAIR: LazyLock<EcdsaKeyPair> = LazyLock::new(|| {
    let point = [vec![4], bytes(POINT[0]), bytes(POINT[1])].concat();
    let pair = EcdsaKeyPair::from_private_key_and_public_key(
        &ECDSA_P256_SHA256_FIXED_SIGNING,
        &bytes(PRIVATE),
        &point,
    );
    pair.expect("a pair")
});

#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Secret,
    Private,
}

pub(crate) fn run(input: &[u8]) {
    let Some((&what, rest)) = input.split_first() else { return };
    match what {
        0 => as_it_stands(rest),
        1 => signed(Key::Secret, rest),
        2 => signed(Key::Private, rest),
        3 => changed(Key::Secret, rest),
        4 => changed(Key::Private, rest),
        _ => {}
    }
}

/// Nobody who does not have the keys makes one. (What our own tests sign stands in no corpus.)
fn as_it_stands(token: &[u8]) {
    let Ok(token) = std::str::from_utf8(token) else { return };
    assert!(TOKENS.check(token).is_err(), "forged: {token}");
}

fn signed(key: Key, input: &[u8]) {
    let mut parts = input.splitn(2, |&byte| byte == 0);
    let (header, claims) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if let Ok(identity) = TOKENS.check(&key.sign(header, claims)) {
        key.check_header(header);
        check_claims(claims, &identity);
    }
}

fn changed(key: Key, edits: &[u8]) {
    let good = key.sign(key.header().as_bytes(), GOOD.as_bytes());
    assert!(TOKENS.check(&good).is_ok(), "a good token is refused");
    let mut token = good.clone().into_bytes();
    for edit in edits.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % (token.len() + 1);
        match edit[2] {
            0 => token.truncate(at),
            byte if at == token.len() || edit[1] >= 128 => token.insert(at, byte),
            byte => token[at] = byte,
        }
    }
    let Ok(token) = String::from_utf8(token) else { return };
    assert!(token == good || TOKENS.check(&token).is_err(), "forged: {token} of {good}");
}

impl Key {
    const fn header(self) -> &'static str {
        match self {
            Self::Secret => r#"{"typ":"JWT","alg":"HS256","kid":"hs"}"#,
            Self::Private => r#"{"typ":"JWT","alg":"ES256","kid":"es"}"#,
        }
    }

    fn sign(self, header: &[u8], claims: &[u8]) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = match self {
            Self::Secret => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
                hmac::sign(&key, signed.as_bytes()).as_ref().to_vec()
            }
            Self::Private => {
                let signature = PAIR.sign(&SystemRandom::new(), signed.as_bytes());
                signature.expect("it signs").as_ref().to_vec()
            }
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The header names this key and its algorithm, and nothing that is refused.
    fn check_header(self, header: &[u8]) {
        let header: Value = serde_json::from_slice(header).expect("an accepted header is JSON");
        let wanted: Value = serde_json::from_str(self.header()).expect("JSON");
        assert_eq!((&header["alg"], &header["kid"]), (&wanted["alg"], &wanted["kid"]));
        for name in ["crit", "jwk", "jku", "x5u", "x5c", "enc", "zip", "cty", "b64"] {
            assert!(header.get(name).is_none(), "{header}");
        }
    }
}

fn check_claims(claims: &[u8], identity: &Identity) {
    let claims: Value = serde_json::from_slice(claims).expect("accepted claims are JSON");
    assert_eq!(Some(claims["sub"].as_str()), identity.user.as_ref().map(|user| Some(user.as_str())));
    let audience = &claims["aud"];
    let is_ours = |one: &Value| one == "moorline";
    assert!(
        is_ours(audience) || audience.as_array().is_some_and(|all| all.iter().any(is_ours)),
        "{audience}"
    );
    let [exp, iat] = ["exp", "iat"].map(|name| claims[name].as_f64().expect("a time"));
    let (now, leeway) = (1_800_000_000.0, LEEWAY.as_secs_f64());
    assert!(exp + leeway > now && iat <= now + leeway && exp - iat <= 86_400.0, "{claims}");
    if let Some(nbf) = claims["nbf"].as_f64() {
        assert!(nbf <= now + leeway, "{claims}");
    }
}

fn bytes(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).expect("base64url")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "forged")]
    fn a_token_that_is_accepted_as_it_stands_is_told() {
        let good = Key::Private.sign(Key::Private.header().as_bytes(), GOOD.as_bytes());
        run(&[b"\0", good.as_bytes()].concat());
    }

    #[test]
    #[should_panic(expected = "assertion")]
    fn a_claim_that_should_have_been_refused_is_told() {
        let user = moorline::UserId::new("ann").expect("an id");
        check_claims(GOOD.replace("ann", "eve").as_bytes(), &Identity::user(user));
    }
}
