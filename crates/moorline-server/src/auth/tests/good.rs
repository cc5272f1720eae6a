use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use moorline::{Grants, Names, Pattern, Timestamp, TokenId, UserId};
use secrecy::SecretSlice;

use super::support::*;
use crate::auth::key::{Key, PublicKey};
use crate::auth::{SignError, TokenRequest};
use crate::settings::{Algorithm, AuthSettings};

fn names(patterns: &[&str]) -> Names {
    Names::Matching(patterns.iter().map(|text| Pattern::new(text).unwrap()).collect())
}

#[test]
fn every_algorithm_is_accepted_with_the_identity_that_the_claims_tell() {
    let folder = Folder::new();
    let verifier = verifier(&folder.settings());
    let more = format!(
        r#","nbf":{NOW_S},"jti":"t1","moorline":{{"join":["chat:*"],"session":["{{user}}-*"]}},"x":[1]"#
    );
    for (id, algorithm) in KEYS {
        let identity = verifier.check(&forge(algorithm, &header(algorithm), claims(&more))).unwrap();
        assert_eq!(identity.user, UserId::new("ann").ok(), "{id}");
        assert_eq!(identity.expires_at, Some(Timestamp((NOW_S + 60) * 1000)));
        assert_eq!(identity.issued_at, Some(now()));
        assert_eq!(identity.token, TokenId::new("t1").ok());
        let grants = Grants { join: names(&["chat:*"]), publish: Names::NONE, session: names(&["{user}-*"]) };
        assert_eq!(identity.grants, grants);
    }
}

#[test]
fn what_a_token_leaves_out_is_as_the_settings_say() {
    let folder = Folder::new();
    let verifier = verifier(&folder.settings());
    let identity = verifier.check(&forge(Algorithm::HS256, &header(Algorithm::HS256), claims(""))).unwrap();
    assert_eq!(identity.token, None);
    assert_eq!(identity.grants.join, names(&["lobby"]));
    assert_eq!(identity.grants.session, Names::NONE);
    let empty = forge(Algorithm::HS256, &header(Algorithm::HS256), claims(r#","moorline":{"join":[]}"#));
    assert_eq!(verifier.check(&empty).unwrap().grants.join, Names::NONE);
}

#[test]
fn what_is_unusual_but_right_is_accepted() {
    let folder = Folder::new();
    let verifier = verifier(&folder.settings());
    for header in [
        r#"{"alg":"HS256","kid":"hs"}"#,
        r#"{"alg":"HS256","kid":"hs","typ":"at+jwt"}"#,
        r#"{"alg":"HS256","kid":"hs","typ":"application/at+JWT","x5t#S256":"abc","other":1}"#,
        " {\"alg\" : \"HS\\u0032\\u0035\\u0036\" ,\n\"k\\u0069d\":\"hs\"} ",
    ] {
        assert!(verifier.check(&forge(Algorithm::HS256, header, claims(""))).is_ok(), "{header}");
    }
    let ends = NOW_S - 29;
    for claims in [
        claims_with("aud", Some(r#"["x","other"]"#)),
        claims_with("exp", Some(&ends.to_string())),
        claims_with("exp", Some(&format!("{}.5", NOW_S + 60))),
        claims_with("exp", Some("1.80000006e9")),
        claims_with("exp", Some(&(NOW_S + 24 * 3600).to_string())),
        claims_with("iat", Some(&(NOW_S + 60 - 24 * 3600).to_string())),
        claims_with("iat", Some(&format!("{},\"nbf\":{}", NOW_S + 30, NOW_S + 30))),
        claims(r#","nbf":0"#),
        claims(r#","x":{"exp":1,"exp":2}"#),
    ] {
        let token = forge(Algorithm::HS256, &header(Algorithm::HS256), &claims);
        assert!(verifier.check(&token).is_ok(), "{claims}: {:?}", verifier.check(&token));
    }
}

#[test]
fn a_fraction_of_a_second_counts() {
    let folder = Folder::new();
    let claims = claims_with("exp", Some(&format!("{}.5", NOW_S + 1)));
    let identity = verifier(&folder.settings())
        .check(&forge(Algorithm::HS256, &header(Algorithm::HS256), claims))
        .unwrap();
    assert_eq!(identity.expires_at, Some(Timestamp(NOW_S * 1000 + 1500)));
}

/// Of the only key without an id, else of the only key.
#[test]
fn a_token_without_kid_is_of_the_only_key() {
    let folder = Folder::new();
    let bare = r#"{"alg":"HS256"}"#;
    let token = forge(Algorithm::HS256, bare, claims(""));
    let secret = secret(Algorithm::HS256);
    assert!(verifier(&folder.one(Some("a"), Algorithm::HS256, &secret)).check(&token).is_ok());
    assert!(verifier(&folder.one(None, Algorithm::HS256, &secret)).check(&token).is_ok());
    assert!(verifier(&folder.settings()).check(&token).is_err());
    let mut mixed = folder.settings();
    mixed.keys.extend(folder.one(None, Algorithm::HS256, &secret).keys);
    assert!(verifier(&mixed).check(&token).is_ok());
    let named = forge(Algorithm::HS256, r#"{"alg":"HS256","kid":"a"}"#, claims(""));
    assert!(verifier(&folder.one(None, Algorithm::HS256, &secret)).check(&named).is_err());
}

#[test]
fn a_token_that_was_signed_here_is_accepted_here() {
    let folder = Folder::new();
    let patterns = |text: &str| Some(vec![Pattern::new(text).unwrap()]);
    let request = TokenRequest {
        user: UserId::new("ann").unwrap(),
        join: patterns("chat:{user}:*"),
        publish: None,
        session: patterns("s*"),
        ttl: Duration::from_secs(60),
    };
    for (id, algorithm) in KEYS {
        for id in [Some(id), None] {
            let verifier = verifier(&folder.one(id, algorithm, &private(algorithm)));
            let signed = verifier.sign(&request).unwrap();
            let identity = verifier.check(&signed.token).unwrap();
            assert_eq!(identity.user, Some(signed.user.clone()));
            assert_eq!(identity.token.unwrap().as_str(), signed.token_id);
            assert_eq!(identity.expires_at, Some(signed.expires_at));
            assert_eq!(identity.issued_at, Some(now()));
            assert_eq!(identity.grants.join, names(&["chat:{user}:*"]));
            assert!(!format!("{signed:?}").contains(&signed.token));
        }
    }
    let longest = TokenRequest { ttl: settings().lifetime_max, ..request };
    let exact = AuthSettings {
        leeway: Duration::ZERO,
        ..folder.one(None, Algorithm::HS256, &secret(Algorithm::HS256))
    };
    let verifier = verifier(&exact);
    assert!(verifier.check(&verifier.sign(&longest).unwrap().token).is_ok());
}

#[test]
fn what_cannot_be_signed_is_refused() {
    let folder = Folder::new();
    let request = |ttl: u64, patterns: usize, length: usize| TokenRequest {
        user: UserId::new("ann").unwrap(),
        join: Some(vec![Pattern::new(&"x".repeat(length)).unwrap(); patterns]),
        publish: None,
        session: None,
        ttl: Duration::from_millis(ttl),
    };
    let keyless = verifier(&folder.one(None, Algorithm::RS256, &RSA.public));
    assert!(matches!(keyless.sign(&request(60_000, 0, 1)), Err(SignError::NoKey)));
    let verifier = verifier(&folder.one(None, Algorithm::HS256, &secret(Algorithm::HS256)));
    assert!(verifier.sign(&request(60_000, 64, 60)).is_ok());
    assert!(matches!(verifier.sign(&request(999, 0, 1)), Err(SignError::Ttl(_))));
    assert!(matches!(verifier.sign(&request(86_400_001, 0, 1)), Err(SignError::Ttl(_))));
    assert!(matches!(verifier.sign(&request(60_000, 65, 1)), Err(SignError::TooManyPatterns)));
    assert!(matches!(verifier.sign(&request(60_000, 64, 255)), Err(SignError::TooLong)));
}

/// Examples of RFC 7515 (A.1, A.3) and RFC 8037 (A.4), which others made.
#[test]
fn the_signatures_of_the_standards_are_right() {
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let secret =
        bytes("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow");
    let point = PublicKey::P256 {
        x: bytes("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"),
        y: bytes("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"),
    };
    let edwards = PublicKey::Ed25519 { x: bytes("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo") };
    let claims =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    for (key, signed, signature) in [
        (
            Key::from_file(None, Algorithm::HS256, &SecretSlice::from(secret)),
            format!("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{claims}"),
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        ),
        (
            Key::public("es".to_owned(), &point),
            format!("eyJhbGciOiJFUzI1NiJ9.{claims}"),
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        ),
        (
            Key::public("ed".to_owned(), &edwards),
            "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc".to_owned(),
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
        ),
    ] {
        let key = key.unwrap();
        assert!(key.verify(signed.as_bytes(), &bytes(signature)), "{key:?}");
        assert!(!key.verify(signed.to_uppercase().as_bytes(), &bytes(signature)), "{key:?}");
    }
}

/// A default provider of the process, whatever it does, is not asked.
#[test]
fn the_crypto_is_our_own_choice() {
    use jsonwebtoken::crypto::{CryptoProvider, KeyUtils};
    static BROKEN: CryptoProvider = CryptoProvider {
        signer_factory: |_, _| panic!("the default signs"),
        verifier_factory: |_, _| panic!("the default verifies"),
        key_utils: KeyUtils::new_unimplemented(),
    };
    let _only_once = BROKEN.install_default(); // it is the only one here that does, and a second would be as broken
    every_algorithm_is_accepted_with_the_identity_that_the_claims_tell();
    a_token_that_was_signed_here_is_accepted_here();
}
