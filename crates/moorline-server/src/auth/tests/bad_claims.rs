//! Tokens with a right signature over claims that do not count.

use moorline::AuthenticateError;

use super::support::*;
use crate::settings::{Algorithm, AuthSettings};

const HS: Algorithm = Algorithm::HS256;

fn refuse(settings: &AuthSettings, cases: &[(&str, Vec<u8>, &str)]) {
    let verifier = verifier(settings);
    for (name, claims, why) in cases {
        match verifier.check(&forge(HS, &header(HS), claims)) {
            Err(AuthenticateError::Refused(text)) => {
                assert!(text.contains(why), "{name}: {text}");
                assert!(!text.contains("SECRET"), "{name}: {text}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn times() {
    let folder = Folder::new();
    let case = |name: &'static str, claim: &str, value: Option<String>, why: &'static str| {
        (name, claims_with(claim, value.as_deref()).into_bytes(), why)
    };
    let some = |number: u64| Some(number.to_string());
    let text = |value: &str| Some(value.to_owned());
    refuse(
        &folder.settings(),
        &[
            case("expired", "exp", some(NOW_S - 3600), "expired"),
            case("expired just now", "exp", some(NOW_S - 30), "expired"),
            case("expired in 1970", "exp", some(0), "expired"),
            case("exp missing", "exp", None, "exp is missing"),
            case("exp null", "exp", text("null"), "exp is not a time"),
            case("exp a string", "exp", text("\"1800000060\""), "exp is not a time"),
            case("exp negative", "exp", text("-1"), "exp is not a time"),
            case("exp negative, with a fraction", "exp", text("-1.5"), "exp is not a time"),
            case("exp huge", "exp", text("1e300"), "exp is not a time"),
            case("exp beyond any float", "exp", text("1e999"), "exp is not a time"),
            case("exp with 30 digits", "exp", text("999999999999999999999999999999"), "exp is not a time"),
            case("exp the largest integer", "exp", some(u64::MAX), "exp is not a time"),
            case("exp in milliseconds", "exp", some((NOW_S + 60) * 1000), "exp is not a time"),
            case("exp a boolean", "exp", text("true"), "exp is not a time"),
            case("exp an array", "exp", text("[1800000060]"), "exp is not a time"),
            case("exp too far", "exp", some(NOW_S + 24 * 3600 + 1), "exp is further"),
            case("exp near and iat too long ago", "iat", some(NOW_S + 59 - 24 * 3600), "exp is further"),
            case("issued in 1970", "iat", some(0), "exp is further"),
            case("iat missing", "iat", None, "iat is missing"),
            case("exp NaN", "exp", text("NaN"), "not a JSON object"),
            case("exp infinite", "exp", text("Infinity"), "not a JSON object"),
            case("nbf in the future", "nbf", some(NOW_S + 31), "nbf lies in the future"),
            case("nbf a string", "nbf", text("\"0\""), "nbf is not a time"),
            case("nbf null", "nbf", text("null"), "nbf is not a time"),
            case("iat in the future", "iat", some(NOW_S + 31), "iat lies in the future"),
            case("iat negative", "iat", text("-5"), "iat is not a time"),
            case("iat an object", "iat", text("{}"), "iat is not a time"),
        ],
    );
}

#[test]
fn names() {
    let folder = Folder::new();
    let case = |name: &'static str, claim: &str, value: Option<&str>, why: &'static str| {
        (name, claims_with(claim, value).into_bytes(), why)
    };
    let long = format!("\"{}\"", "u".repeat(129));
    refuse(
        &folder.settings(),
        &[
            case("aud missing", "aud", None, "aud is missing"),
            case("aud wrong", "aud", Some("\"SECRET\""), "aud is not meant"),
            case("aud ours in part", "aud", Some("\"moorline2\""), "aud is not meant"),
            case("aud in capitals", "aud", Some("\"Moorline\""), "aud is not meant"),
            case("aud an array without ours", "aud", Some(r#"["a","b"]"#), "aud is not meant"),
            case("aud an empty array", "aud", Some("[]"), "aud is not meant"),
            case("aud empty", "aud", Some("\"\""), "aud is not meant"),
            case("aud a number", "aud", Some("1"), "aud is not a string"),
            case("aud null", "aud", Some("null"), "aud is not a string"),
            case("aud an object", "aud", Some(r#"{"moorline":true}"#), "aud is not a string"),
            case("aud with a number", "aud", Some(r#"["moorline",1]"#), "aud is not a string"),
            case("aud nested", "aud", Some(r#"[["moorline"]]"#), "aud is not a string"),
            case("iss wrong", "iss", Some("\"https://SECRET.example\""), "iss is not meant"),
            case("iss missing", "iss", None, "iss is missing"),
            case("iss an array", "iss", Some(r#"["https://issuer.example"]"#), "iss is not a string"),
            case("sub missing", "sub", None, "sub is missing"),
            case("sub a number", "sub", Some("7"), "sub is not a string"),
            case("sub null", "sub", Some("null"), "sub is not a string"),
            case("sub empty", "sub", Some("\"\""), "sub is not an id"),
            case("sub with a control character", "sub", Some(r#""a\u0000n""#), "sub is not an id"),
            case("sub too long", "sub", Some(&long), "sub is not an id"),
            case("sub with half a character", "sub", Some(r#""\ud800""#), "sub is not a string"),
            case("jti empty", "jti", Some("\"\""), "jti is not an id"),
            case("jti a number", "jti", Some("1"), "jti is not a string"),
            case("jti null", "jti", Some("null"), "jti is not a string"),
            case("jti too long", "jti", Some(&long), "jti is not an id"),
        ],
    );
}

#[test]
fn kinds_are_checked_where_the_settings_ask_for_nothing() {
    let folder = Folder::new();
    let settings = AuthSettings { issuer: Vec::new(), ..folder.settings() };
    refuse(&settings, &[("iss a number", claims_with("iss", Some("1")).into(), "iss is not a string")]);
    let token = forge(HS, &header(HS), claims_with("iss", None));
    assert!(verifier(&settings).check(&token).is_ok());
}

#[test]
fn grants() {
    let folder = Folder::new();
    let case = |name: &'static str, grants: &str, why: &'static str| {
        (name, claims(&format!(r#","moorline":{grants}"#)).into_bytes(), why)
    };
    let list = |count: usize| format!(r#"{{"join":[{}]}}"#, vec!["\"a\""; count].join(","));
    refuse(
        &folder.settings(),
        &[
            case("an unknown name", r#"{"joins":["SECRET"]}"#, "moorline has a name"),
            case("an array", r#"["join"]"#, "moorline is not a JSON object"),
            case("null", "null", "moorline is not a JSON object"),
            case("a string", "\"*\"", "moorline is not a JSON object"),
            case("join twice", r#"{"join":[],"join":["*"]}"#, "moorline has a name twice"),
            case("join twice, once escaped", r#"{"join":[],"\u006aoin":["*"]}"#, "moorline has a name twice"),
            case("join a string", r#"{"join":"*"}"#, "moorline has a grant"),
            case("join null", r#"{"join":null}"#, "moorline has a grant"),
            case("join of numbers", r#"{"join":[1]}"#, "moorline has a grant"),
            case("join nested", r#"{"join":[["*"]]}"#, "moorline has a grant"),
            case("65 patterns", &list(65), "moorline has a grant"),
            case("9 stars", r#"{"join":["*********"]}"#, "more than 8 stars"),
            case("an empty pattern", r#"{"publish":[""]}"#, "is empty"),
            case("a control character", r#"{"session":["a\n"]}"#, "control character"),
            case("a long pattern", &format!(r#"{{"session":["{}"]}}"#, "p".repeat(256)), "longer than"),
        ],
    );
    let token = forge(HS, &header(HS), claims(&format!(r#","moorline":{}"#, list(64))));
    assert!(verifier(&folder.settings()).check(&token).is_ok());
}

#[test]
fn json() {
    let folder = Folder::new();
    let good = claims("");
    let deep = claims(&format!(r#","x":{}{}"#, "[".repeat(150), "]".repeat(150)));
    let deep_object = claims(&format!(r#","x":{}1{}"#, "{\"a\":".repeat(150), "}".repeat(150)));
    let mut latin = good.clone().into_bytes();
    latin[9] = 0xe4;
    refuse(
        &folder.settings(),
        &[
            ("empty", Vec::new(), "not a JSON object"),
            ("an array", b"[]".to_vec(), "not a JSON object"),
            ("a string", b"\"SECRET\"".to_vec(), "not a JSON object"),
            ("null", b"null".to_vec(), "not a JSON object"),
            ("not UTF-8", latin, "not a"),
            ("bytes", vec![0xff, 0xfe, 0x00], "not a JSON object"),
            ("something behind", format!("{good}x").into(), "not a JSON object"),
            ("an object behind", format!("{good}{good}").into(), "not a JSON object"),
            ("a NUL behind", format!("{good}\0").into(), "not a JSON object"),
            ("a byte order mark", format!("\u{feff}{good}").into(), "not a JSON object"),
            ("a comma too many", claims(",").into(), "not a JSON object"),
            ("single quotes", good.replace('"', "'").into(), "not a JSON object"),
            ("deep arrays", deep.into(), "deep"),
            ("deep objects", deep_object.into(), "deep"),
            ("sub twice", claims(r#","sub":"bob""#).into(), "twice"),
            ("exp twice", claims(r#","exp":1"#).into(), "twice"),
            ("exp twice, once escaped", claims(r#","e\u0078p":1"#).into(), "twice"),
            ("aud twice, the same", claims(r#","aud":"moorline""#).into(), "twice"),
            ("something unknown twice", claims(r#","x":1,"x":1"#).into(), "twice"),
        ],
    );
}

#[test]
fn other_names_for_the_user_and_the_grants() {
    let folder = Folder::new();
    let settings = AuthSettings {
        user_claim: "https://app.example/user".to_owned(),
        grants_claim: "rights".to_owned(),
        ..folder.settings()
    };
    let ours = verifier(&settings);
    let token = forge(
        HS,
        &header(HS),
        claims(r#","https://app.example/user":"bob","rights":{"join":["b"]},"moorline":7"#),
    );
    assert_eq!(ours.check(&token).unwrap().user.unwrap().as_str(), "bob");
    refuse(
        &settings,
        &[("the user by another name", claims("").into(), "https://app.example/user is missing")],
    );
    for (user, grants) in [("exp", "moorline"), ("sub", "sub"), ("", "moorline"), ("sub", "aud")] {
        let settings = AuthSettings {
            user_claim: user.to_owned(),
            grants_claim: grants.to_owned(),
            ..folder.settings()
        };
        assert!(crate::auth::Verifier::load(&settings).is_err(), "{user} {grants}");
    }
}
