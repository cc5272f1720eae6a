//! Tokens that are refused for their form, their header or their signature.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use moorline::AuthenticateError;
use proptest::prelude::*;
use secrecy::SecretSlice;

use super::support::*;
use crate::auth::key::Key;
use crate::settings::Algorithm;

const HS: Algorithm = Algorithm::HS256;

/// Every token is refused, for the reason that is meant, and the reason holds nothing of it.
fn refuse(cases: Vec<(&str, String, &str)>) {
    let folder = Folder::new();
    let verifier = verifier(&folder.settings());
    for (name, token, why) in cases {
        match verifier.check(&token) {
            Err(AuthenticateError::Refused(text)) => {
                assert!(text.contains(why), "{name}: {text}");
                assert!(text.len() < 200 && !text.contains("SECRET"), "{name}: {text}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

fn with_header(header: &str) -> String {
    forge(HS, header, claims(""))
}

#[test]
fn headers() {
    let deep = format!(r#"{{"alg":"HS256","kid":"hs","x":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    let huge = format!(r#"{{"alg":"HS256","kid":"{}"}}"#, "k".repeat(257));
    let cases = [
        ("none", r#"{"alg":"none"}"#, "alg"),
        ("None", r#"{"alg":"None","kid":"hs"}"#, "alg"),
        ("NONE", r#"{"alg":"NONE","kid":"hs"}"#, "alg"),
        ("nOnE", r#"{"alg":"nOnE","kid":"hs"}"#, "alg"),
        ("alg empty", r#"{"alg":"","kid":"hs"}"#, "alg"),
        ("alg missing", r#"{"kid":"hs"}"#, "alg"),
        ("alg null", r#"{"alg":null,"kid":"hs"}"#, "alg"),
        ("alg a number", r#"{"alg":256,"kid":"hs"}"#, "alg"),
        ("alg an array", r#"{"alg":["HS256"],"kid":"hs"}"#, "alg"),
        ("alg in lower case", r#"{"alg":"hs256","kid":"hs"}"#, "alg"),
        ("alg not offered", r#"{"alg":"PS256","kid":"rs"}"#, "alg"),
        ("alg of another key", r#"{"alg":"HS256","kid":"hs384"}"#, "not the algorithm"),
        ("alg HS256 for an RSA key", r#"{"alg":"HS256","kid":"rs"}"#, "not the algorithm"),
        ("alg twice", r#"{"alg":"none","alg":"HS256","kid":"hs"}"#, "twice"),
        ("alg twice, once escaped", r#"{"alg":"HS256","\u0061lg":"none","kid":"hs"}"#, "twice"),
        ("kid twice", r#"{"alg":"HS256","kid":"hs","kid":"rs"}"#, "twice"),
        ("kid unknown", r#"{"alg":"HS256","kid":"SECRET"}"#, "no key"),
        ("kid as a path", r#"{"alg":"HS256","kid":"../../../../dev/null"}"#, "no key"),
        ("kid as SQL", r#"{"alg":"HS256","kid":"x' UNION SELECT 'k"}"#, "no key"),
        ("kid as a URL", r#"{"alg":"HS256","kid":"https://SECRET.example/k"}"#, "no key"),
        ("kid with a NUL", r#"{"alg":"HS256","kid":"hs\u0000"}"#, "no key"),
        ("kid empty", r#"{"alg":"HS256","kid":""}"#, "kid"),
        ("kid null", r#"{"alg":"HS256","kid":null}"#, "kid"),
        ("kid an array", r#"{"alg":"HS256","kid":["hs"]}"#, "kid"),
        ("kid huge", &huge, "kid"),
        ("kid missing", r#"{"alg":"HS256"}"#, "not just one"),
        ("crit", r#"{"alg":"HS256","kid":"hs","crit":["exp"]}"#, "crit"),
        ("crit empty", r#"{"alg":"HS256","kid":"hs","crit":[]}"#, "crit"),
        ("b64", r#"{"alg":"HS256","kid":"hs","b64":false}"#, "b64"),
        ("jku", r#"{"alg":"HS256","kid":"hs","jku":"https://SECRET.example/"}"#, "jku"),
        ("jwk", r#"{"alg":"HS256","kid":"hs","jwk":{"kty":"oct","k":"AA"}}"#, "jwk"),
        ("x5u", r#"{"alg":"HS256","kid":"hs","x5u":"https://SECRET.example/"}"#, "x5u"),
        ("x5c", r#"{"alg":"HS256","kid":"hs","x5c":["MII"]}"#, "x5c"),
        ("enc", r#"{"alg":"HS256","kid":"hs","enc":"A256GCM"}"#, "enc"),
        ("zip", r#"{"alg":"HS256","kid":"hs","zip":"DEF"}"#, "zip"),
        ("cty", r#"{"alg":"HS256","kid":"hs","cty":"JWT"}"#, "cty"),
        ("typ nonsense", r#"{"alg":"HS256","kid":"hs","typ":"SECRET"}"#, "typ"),
        ("typ of another use", r#"{"alg":"HS256","kid":"hs","typ":"dpop+jwt"}"#, "typ"),
        ("typ a number", r#"{"alg":"HS256","kid":"hs","typ":1}"#, "typ"),
        ("deep", &deep, "deep"),
        ("an array", r#"["HS256"]"#, "object"),
        ("empty", "", "object"),
        ("no JSON", "SECRET", "object"),
        ("a byte order mark", "\u{feff}{\"alg\":\"HS256\",\"kid\":\"hs\"}", "object"),
        ("something behind", r#"{"alg":"HS256","kid":"hs"}x"#, "object"),
    ];
    refuse(cases.map(|(name, header, why)| (name, with_header(header), why)).to_vec());
}

#[test]
fn forms() {
    let good = with_header(&header(HS));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (head, body) = signed.split_once('.').unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let standard = STANDARD_NO_PAD.encode([0xfb, 0xff, 0xbf]);
    refuse(vec![
        ("empty", String::new(), "three parts"),
        ("one part", head.to_owned(), "three parts"),
        ("two parts", signed.to_owned(), "three parts"),
        ("four parts", format!("{good}."), "three parts"),
        ("five parts", format!("{head}..{body}.{signature}.{signature}"), "three parts"),
        ("dots", "..".to_owned(), "object"),
        ("padding", format!("{signed}.{}", URL_SAFE.encode(&bytes)), "base64url"),
        ("padding of the header", format!("{head}==.{body}.{signature}"), "base64url"),
        ("a space before", format!(" {good}"), "base64url"),
        ("a newline behind", format!("{good}\n"), "base64url"),
        ("a space within", format!("{head}.{} {}.{signature}", &body[..4], &body[4..]), "base64url"),
        ("the standard alphabet", format!("{head}.{body}.{standard}"), "base64url"),
        ("bits left over", format!("{head}.{body}.AB"), "base64url"),
        ("Bearer", format!("Bearer {good}"), "base64url"),
        ("too long", format!("{head}.{}.{signature}", "A".repeat(8192)), "8192 bytes"),
        ("no signature", format!("{signed}."), "signature is wrong"),
        ("half a signature", format!("{signed}.{}", part(&bytes[..16])), "signature is wrong"),
        (
            "a longer signature",
            format!("{signed}.{}", part([&bytes[..], &[0]].concat())),
            "signature is wrong",
        ),
        ("other claims", format!("{head}.{}.{signature}", part(claims(r#","x":1"#))), "signature is wrong"),
        (
            "another header",
            format!("{}.{body}.{signature}", part(r#"{"alg":"HS256","kid":"hs"}"#)),
            "signature is wrong",
        ),
    ]);
}

#[test]
fn signatures() {
    let signed = |algorithm| format!("{}.{}", part(header(algorithm)), part(claims("")));
    let with = |algorithm, signature: &[u8]| format!("{}.{}", signed(algorithm), part(signature));
    let from = |algorithm, content: &str| {
        Key::from_file(None, algorithm, &SecretSlice::from(content.as_bytes().to_vec())).unwrap()
    };
    let wrong = "signature is wrong";
    // Nobody takes PEM for a secret here, so the attack is made by hand.
    let by_public_key = |header: &str, secret: &[u8]| {
        let text = format!("{}.{}", part(header), part(claims("")));
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
        format!("{text}.{}", part(aws_lc_rs::hmac::sign(&key, text.as_bytes())))
    };
    let es = key(Algorithm::ES256).sign(signed(Algorithm::ES256).as_bytes()).unwrap();
    let order = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
        0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let mut small_order = [0; 64];
    small_order[0] = 1;
    refuse(vec![
        ("another secret", forge_with(&from(HS, &"x".repeat(32)), &header(HS), claims("")), wrong),
        (
            "another RSA key",
            forge_with(&from(Algorithm::RS256, &OTHER_RSA.private), &header(Algorithm::RS256), claims("")),
            wrong,
        ),
        (
            "HS256 by the RSA key's PEM",
            by_public_key(r#"{"alg":"HS256","kid":"rs"}"#, RSA.public.as_bytes()),
            "not the algorithm",
        ),
        ("RS256, signed by that PEM", by_public_key(&header(Algorithm::RS256), RSA.public.as_bytes()), wrong),
        ("an empty secret", by_public_key(&header(HS), b""), wrong),
        ("ES256: zeros", with(Algorithm::ES256, &[0; 64]), wrong),
        ("ES256: the order", with(Algorithm::ES256, &[order, order].concat()), wrong),
        ("ES256: DER", with(Algorithm::ES256, &der(&es)), wrong),
        ("ES256: r alone", with(Algorithm::ES256, &es[..32]), wrong),
        ("ES256: nothing", with(Algorithm::ES256, &[]), wrong),
        ("EdDSA: zeros", with(Algorithm::EdDSA, &[0; 64]), wrong),
        ("EdDSA: a point of small order", with(Algorithm::EdDSA, &small_order), wrong),
        ("EdDSA: nothing", with(Algorithm::EdDSA, &[]), wrong),
        ("RS256: zeros", with(Algorithm::RS256, &[0; 256]), wrong),
        ("RS256: one", with(Algorithm::RS256, &[&[0; 255][..], &[1]].concat()), wrong),
        ("RS256: nothing", with(Algorithm::RS256, &[]), wrong),
    ]);
}

/// An ECDSA signature in the form that TLS has, and tokens have not.
fn der(fixed: &[u8]) -> Vec<u8> {
    let number = |bytes: &[u8]| [&[2, 33, 0][..], bytes].concat();
    let both = [number(&fixed[..32]), number(&fixed[32..])].concat();
    [&[0x30, u8::try_from(both.len()).unwrap()][..], &both].concat()
}

#[test]
fn a_bit_of_a_signature_matters() {
    let folder = Folder::new();
    let verifier = verifier(&folder.settings());
    for (id, algorithm) in KEYS {
        let token = forge(algorithm, &header(algorithm), claims(""));
        assert!(verifier.check(&token).is_ok());
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        for bit in (0..signature.len() * 8).step_by(20) {
            let mut flipped = signature.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(verifier.check(&format!("{signed}.{}", part(flipped))).is_err(), "{id}: bit {bit}");
        }
        let text = signed.as_bytes();
        for place in (0..text.len()).step_by(7).filter(|place| text[*place] != b'.') {
            let mut changed = text.to_vec();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(
                verifier.check(&format!("{changed}.{}", part(&signature))).is_err(),
                "{id}: byte {place}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_comes_by_chance_is_accepted_or_panics(
        text in ".{0,300}",
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..90), 0..6),
    ) {
        let folder = Folder::new();
        let verifier = verifier(&folder.one(Some("hs"), HS, &secret(HS)));
        let parts = parts.iter().map(part).collect::<Vec<_>>().join(".");
        let signed = forge(HS, &header(HS), &bytes);
        let header = forge(HS, &text, claims(""));
        let lossy = String::from_utf8_lossy(&bytes).into_owned();
        for token in [&text, &parts, &signed, &header, &lossy] {
            prop_assert!(verifier.check(token).is_err());
        }
    }
}
