//! Which keys are good enough.

use super::support::*;
use crate::auth::Verifier;
use crate::settings::{Algorithm, AuthSettings, JwksPlace, JwksSource};

/// A public RSA key of 1024 bits, which is too few.
const WEAK_RSA: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDYN0cEF4GnAzhsCa953X1vlHJj
jFUMRvZV41e4cvFZHYcteaLT8cZPDjfwSNNi+xdw8YdcYhP93yDMsqaZSdSeYYq9
H1Ljf6kDHrgP6M+PVoObfQEoE1CjKMthSnoqQ8aRpHbCTkPScK2bdLyYV7M/l/Fo
PdxhqsmIZ9DYQzfqVQIDAQAB
-----END PUBLIC KEY-----
";
/// A public key of a curve that no algorithm here uses.
const P384: &str = "-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAELaceJ+5sAcpXeketzSafITxOKbu/d7W5
a+aadud9KPbvdHIELXYvxu1OUFJo+UEGUncIepIBHpez7/knQ5glGAYOThy7KswK
qfyJCFZmxeJfIbNSvARiIX2EuxcRq9Gi
-----END PUBLIC KEY-----
";

fn refused(settings: &AuthSettings) -> String {
    Verifier::load(settings).map(|_verifier| ()).unwrap_err().to_string()
}

#[test]
fn keys_that_are_good_enough_are_taken() {
    let folder = Folder::new();
    for (algorithm, content) in [
        (Algorithm::HS256, "s".repeat(32)),
        (Algorithm::HS256, format!("{}\n", "s".repeat(32))),
        (Algorithm::HS512, "s".repeat(64)),
        (Algorithm::RS256, RSA.private.clone()),
        (Algorithm::RS256, RSA.public.clone()),
        (Algorithm::ES256, EC.private.clone()),
        (Algorithm::ES256, EC.public.clone()),
        (Algorithm::EdDSA, ED.private.clone()),
        (Algorithm::EdDSA, ED.public.clone()),
    ] {
        Verifier::load(&folder.one(Some("k"), algorithm, &content)).map(|_verifier| ()).unwrap();
    }
}

#[test]
fn keys_that_are_not_are_refused_with_what_to_do() {
    let folder = Folder::new();
    let cut = &RSA.public[..200];
    for (algorithm, content, why) in [
        (Algorithm::HS256, "s".repeat(31), "at least 32 bytes"),
        (Algorithm::HS256, format!("{}\n", "s".repeat(31)), "at least 32 bytes"),
        (Algorithm::HS384, "s".repeat(47), "at least 48 bytes"),
        (Algorithm::HS512, "s".repeat(63), "at least 64 bytes"),
        (Algorithm::HS256, String::new(), "at least 32 bytes"),
        (Algorithm::HS256, RSA.public.clone(), "PEM"),
        (Algorithm::RS256, WEAK_RSA.to_owned(), "1024"),
        (Algorithm::RS256, EC.public.clone(), "RS256"),
        (Algorithm::RS256, ED.private.clone(), "RS256"),
        (Algorithm::RS256, cut.to_owned(), "RS256"),
        (Algorithm::RS256, "s".repeat(64), "no PEM"),
        (Algorithm::RS256, String::new(), "no PEM"),
        (Algorithm::ES256, RSA.private.clone(), "ES256"),
        (Algorithm::ES256, P384.to_owned(), "not a key of this algorithm"),
        (Algorithm::ES256, old_ec_private(), "openssl pkcs8"),
        (Algorithm::EdDSA, EC.private.clone(), "EdDSA"),
        (Algorithm::EdDSA, RSA.public.clone(), "EdDSA"),
        (Algorithm::EdDSA, "x".repeat(70_000), "longer than"),
    ] {
        let error = refused(&folder.one(Some("k"), algorithm, &content));
        assert!(error.contains(why), "{why}: {error}");
        assert!(!error.contains("sss") && !error.contains("MII"), "{error}");
    }
    let mut gone = folder.one(None, Algorithm::HS256, "");
    gone.keys[0].file = folder.path().join("not there");
    assert!(refused(&gone).contains("not there"));
}

#[test]
fn ids_are_unique() {
    let folder = Folder::new();
    let twice = |id: Option<&str>| {
        let mut settings = folder.one(id, Algorithm::HS256, &"s".repeat(32));
        settings.keys.extend(folder.one(id, Algorithm::RS256, &RSA.public).keys);
        settings
    };
    assert!(refused(&twice(Some("same"))).contains("same"));
    assert!(refused(&twice(None)).contains("no id"));
    assert!(refused(&folder.one(Some(""), Algorithm::HS256, &"s".repeat(32))).contains("empty"));
}

fn from_file(folder: &Folder, set: &str, algorithms: &[Algorithm]) -> AuthSettings {
    let file = folder.file(&uuid::Uuid::new_v4().to_string(), set);
    let jwks = vec![JwksSource { from: JwksPlace::File(file), algorithms: algorithms.to_vec() }];
    AuthSettings { jwks, ..settings() }
}

#[test]
fn a_set_in_a_file_counts_without_what_cannot_be_used() {
    let folder = Folder::new();
    let point = &EC.jwk;
    let members: Vec<String> = [
        format!(r#""kid":"es",{point},"use":"sig","alg":"ES256","key_ops":["verify"],"x5t":"abc""#),
        format!(r#""kid":"for encryption",{point},"use":"enc""#),
        format!(r#""kid":"for signing alone",{point},"key_ops":["sign"]"#),
        format!(r#""kid":"of another algorithm",{point},"alg":"ES384""#),
        format!(r#""kid":"private",{point},"d":"AAAA""#),
        format!(r#""kid":"twice","kid":"twice",{point}"#),
        format!(r#""kid":7,{point}"#),
        format!(r#""kid":"",{point}"#),
        point.clone(),
        format!(r#""kid":"secret","kty":"oct","k":"{}""#, "A".repeat(43)),
        r#""kid":"no curve","kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA""#.to_owned(),
        format!(r#""kid":"off the curve","kty":"EC","crv":"P-256","x":"{0}","y":"{0}""#, part([7; 32])),
        r#""kid":"another curve","kty":"EC","crv":"secp256k1","x":"AAAA","y":"AAAA""#.to_owned(),
        format!(r#""kid":"weak","kty":"RSA","n":"{}","e":"AQAB""#, part([0xff; 128])),
        format!(r#""kid":"one","kty":"RSA","n":"{}","e":"AQ""#, part([0xff; 256])),
        format!(r#""kid":"not wanted",{}"#, ED.jwk),
        r#""kid":"unknown","kty":"XYZ""#.to_owned(),
    ]
    .iter()
    .map(|members| format!("{{{members}}}"))
    .collect();
    let set = format!(r#"{{"keys":[{}, 7, null, "x"]}}"#, members.join(","));
    let verifier = verifier(&from_file(&folder, &set, &[Algorithm::RS256, Algorithm::ES256]));
    // It is the only key: a token need not name it.
    for header in [r#"{"alg":"ES256"}"#, r#"{"alg":"ES256","kid":"es"}"#] {
        assert!(verifier.check(&forge(Algorithm::ES256, header, claims(""))).is_ok());
    }
    for id in ["for encryption", "private", "of another algorithm", "twice"] {
        let header = format!(r#"{{"alg":"ES256","kid":"{id}"}}"#);
        assert!(verifier.check(&forge(Algorithm::ES256, &header, claims(""))).is_err(), "{id}");
    }
}

#[test]
fn a_set_that_cannot_be_stops_the_start() {
    let folder = Folder::new();
    let good = format!(r#"{{"keys":[{{"kid":"e",{}}}]}}"#, EC.jwk);
    let es = [Algorithm::ES256];
    for (set, algorithms, why) in [
        ("", &es[..], "not a key set"),
        (r#"{"keys":[]}"#, &es, "no key"),
        (&good, &[Algorithm::RS256], "no key"),
        (&good, &[], "some of RS256"),
        (&good, &[Algorithm::HS256], "secrets do not come"),
        (&good, &[Algorithm::ES256, Algorithm::HS512], "secrets do not come"),
        (&" ".repeat(300_000), &es, "longer than"),
    ] {
        let error = refused(&from_file(&folder, set, algorithms));
        assert!(error.contains(why), "{why}: {error}");
    }
    let mut same = folder.one(Some("e"), Algorithm::HS256, &"s".repeat(32));
    same.jwks = from_file(&folder, &good, &es).jwks;
    assert!(refused(&same).contains("the id \"e\""));
}
