use std::path::PathBuf;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::*;

/// A folder of this test's own, gone with it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("moorline-tls-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn settings(&self) -> TlsSettings {
        TlsSettings { certificate: self.0.join("certificate.pem"), key: self.0.join("key.pem") }
    }

    /// Puts a certificate and its key there.
    pub(crate) fn put(&self, pair: &Pair) {
        self.write(&pair.certificate, &pair.key);
    }

    fn write(&self, certificate: &str, key: &str) {
        std::fs::write(self.settings().certificate, certificate).unwrap();
        std::fs::write(self.settings().key, key).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0); // a leftover in the temporary folder fails no test
    }
}

/// A certificate for `localhost` that is its own authority.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) der: Vec<u8>,
}

pub(crate) fn pair(from: i32, to: i32) -> Pair {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Pair { certificate: certificate.pem(), key: key.serialize_pem(), der: certificate.der().to_vec() }
}

fn served(tls: &Tls) -> Vec<u8> {
    tls.current.get().key.end_entity_cert().unwrap().to_vec()
}

fn refused(certificate: &str, key: &str) -> String {
    let folder = Folder::new();
    folder.write(certificate, key);
    Tls::load(&folder.settings()).unwrap_err().to_string()
}

#[test]
fn a_certificate_is_served_and_replaced() {
    let (folder, first, second) = (Folder::new(), pair(2020, 2200), pair(2020, 2200));
    folder.put(&first);
    let tls = Tls::load(&folder.settings()).unwrap();
    assert_eq!(served(&tls), first.der);
    folder.put(&second);
    tls.take_over(&Tls::load(&folder.settings()).unwrap());
    assert_eq!(served(&tls), second.der);
}

#[test]
fn the_certificate_may_stand_beside_its_key_and_its_chain() {
    let (folder, leaf, other) = (Folder::new(), pair(2020, 2200), pair(2020, 2200));
    let all = format!("{}\n{}{}", leaf.key, leaf.certificate, other.certificate);
    folder.write(&all, &all);
    let tls = Tls::load(&folder.settings()).unwrap();
    assert_eq!(served(&tls), leaf.der);
    assert_eq!(tls.current.get().key.cert.len(), 2);
}

#[test]
fn what_cannot_be_served_is_refused_and_the_file_is_named() {
    let (good, other) = (pair(2020, 2200), pair(2020, 2200));
    let encrypted = good.key.replace("PRIVATE", "ENCRYPTED PRIVATE");
    let cut: String = good.key.lines().take(2).collect::<Vec<_>>().join("\n");
    let long = " ".repeat(1_048_577);
    let (expired, later) = (pair(2020, 2021), pair(2199, 2200));
    for (certificate, key, file, what) in [
        ("", good.key.as_str(), "certificate.pem", "no certificate"),
        (good.key.as_str(), &good.key, "certificate.pem", "no certificate"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            &good.key,
            "certificate.pem",
            "X.509",
        ),
        (&long, &good.key, "certificate.pem", "1048576"),
        (&good.certificate, "", "key.pem", "no private key"),
        (&good.certificate, &encrypted, "key.pem", "passphrase"),
        (&good.certificate, &cut, "key.pem", "no end"),
        (&good.certificate, &other.key, "key.pem", "not that of"),
        (&expired.certificate, &expired.key, "certificate.pem", "expired at Fri, 01 Jan 2021"),
        (&later.certificate, &later.key, "certificate.pem", "counts from Tue, 01 Jan 2199"),
    ] {
        let error = refused(certificate, key);
        assert!(error.contains(file) && error.contains(what), "{what}: {error}");
        let secret = good.key.lines().nth(1).unwrap();
        assert!(!error.contains(secret), "{error}");
    }
}

#[test]
fn a_file_that_is_missing_or_a_folder_is_refused() {
    let folder = Folder::new();
    let error = Tls::load(&folder.settings()).unwrap_err().to_string();
    assert!(error.contains("certificate.pem") && error.contains("cannot be read"), "{error}");
    let settings = TlsSettings { certificate: folder.0.clone(), ..folder.settings() };
    assert!(Tls::load(&settings).unwrap_err().to_string().contains("no file"));
}
