//! The files that the settings name: the certificate, and whatever is secret.

use std::fs::File;
use std::path::Path;
use std::time::SystemTime;

use rustls::crypto::aws_lc_rs;

use super::Check;
use crate::settings::{JwksPlace, Settings, TlsSettings};
use crate::tls::{self, Certificate};

pub(super) fn certificate(settings: &Settings) -> Check {
    let name = "TLS certificate";
    match &settings.tls {
        Some(tls) => loaded(tls),
        None if settings.is_open_and_plain() => Check::warn(
            name,
            format!(
                "none, and other machines can reach {}: connections are not encrypted here",
                settings.listen
            ),
            "let a proxy in front do TLS and listen on 127.0.0.1, or set tls.certificate and tls.key",
        ),
        None => Check::ok(name, "none: a proxy in front has to do TLS"),
    }
}

fn loaded(settings: &TlsSettings) -> Check {
    let now = SystemTime::now();
    match Certificate::load(settings, &aws_lc_rs::default_provider(), now) {
        Err(error) => Check::bad("TLS certificate", error.to_string(), "replace the file, then reload"),
        Ok(certificate) => {
            let left = certificate.left(now);
            let found = format!("it matches its key, {} days left", left.as_secs() / 86_400);
            match left < tls::EXPIRES_SOON {
                true => Check::warn("TLS certificate", found, "renew it, then reload (SIGHUP)"),
                false => Check::ok("TLS certificate", found),
            }
        }
    }
}

/// Every file with a secret in it, and those that must be there beside them.
pub(super) fn secrets(settings: &Settings) -> Vec<Check> {
    let tls = settings.tls.iter().map(|tls| tls.key.as_path());
    let keys = settings.auth.keys.iter().map(|key| key.file.as_path());
    let api_keys = settings.keys_file.iter().map(AsRef::as_ref);
    let secret = tls.chain(keys).chain(api_keys).map(secret);
    let sets = settings.auth.jwks.iter().filter_map(|jwks| match &jwks.from {
        JwksPlace::File(file) => Some(readable(file)),
        JwksPlace::Url(_) => None,
    });
    secret.chain(sets).collect()
}

fn secret(file: &Path) -> Check {
    let check = readable(file);
    if check.mend.is_none() && tls::is_open_to_others(file) {
        let mend = format!("chmod o-rwx {}", file.display());
        return Check::warn(check.check, "every user of this machine has a right to it", mend);
    }
    check
}

fn readable(file: &Path) -> Check {
    let name = format!("file {}", file.display());
    // Opening a pipe would wait for its other end.
    let opened = std::fs::metadata(file).and_then(|metadata| match metadata.is_file() {
        true => File::open(file).map(drop),
        false => Err(std::io::Error::other("it is no file")),
    });
    match opened {
        Ok(()) => Check::ok(name, "readable"),
        Err(error) => Check::bad(name, error.to_string(), "correct the path, or let this user read it"),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::commands::doctor::Verdict;
    use crate::tls::tests::{Folder, pair};

    #[test]
    fn a_secret_that_everybody_may_read_is_told() {
        let folder = Folder::new();
        folder.put(&pair(2020, 2200));
        let key = folder.settings().key;
        for (mode, verdict) in [(0o644, Verdict::Warn), (0o640, Verdict::Ok), (0o600, Verdict::Ok)] {
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(secret(&key).verdict, verdict, "{mode:o}");
        }
        assert_eq!(secret(key.parent().unwrap()).verdict, Verdict::Bad);
        assert_eq!(secret(&key.join("nowhere")).verdict, Verdict::Bad);
    }

    #[test]
    fn a_certificate_is_there_missing_or_about_to_expire() {
        let folder = Folder::new();
        let mut plain = crate::settings::load_file(None).unwrap();
        assert_eq!(certificate(&plain).verdict, Verdict::Ok);
        plain.listen.set_ip([0, 0, 0, 0].into());
        assert_eq!(certificate(&plain).verdict, Verdict::Warn);
        assert_eq!(loaded(&folder.settings()).verdict, Verdict::Bad);
        folder.put(&pair(2020, 2200));
        assert_eq!(loaded(&folder.settings()).verdict, Verdict::Ok);
    }
}
