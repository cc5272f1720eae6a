//! Where the server is, and what lets us in: arguments, variables and files.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use reqwest::{Certificate, Url};
use secrecy::SecretString;

use crate::exit::UsageError;

const OPTION: &str = "--url";
const URL: &str = "MOORLINE_URL";
const KEY: &str = "MOORLINE_KEY";
const DEFAULT: &str = "http://127.0.0.1:8080";
/// The largest file with a key, a token or certificates, in bytes.
const FILE_MAX: u64 = 1024 * 1024;
/// The longest key or token, in bytes.
const SECRET_MAX: usize = 8192;

/// Which server to talk to. A key is never an argument: others can see those.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerArgs {
    /// Address of the server; else the variable MOORLINE_URL, else http://127.0.0.1:8080
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// File with the API key; else the variable MOORLINE_KEY. Not an argument, since others can see those
    #[arg(long, global = true, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// PEM file with the only certificates to trust, instead of the system's
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// What gave the address, where that was not `--url`.
    #[arg(skip)]
    named: Option<&'static str>,
}

impl ServerArgs {
    /// The same, for the server at that address, which errors call by that name.
    pub(crate) fn at(&self, url: String, named: &'static str) -> Self {
        Self { url: Some(url), named: Some(named), ..self.clone() }
    }

    /// The address as it was given, and by what; none where it was not.
    ///
    /// # Errors
    /// The variable is not text.
    pub(crate) fn given(&self) -> Result<Option<(String, &'static str)>, UsageError> {
        match &self.url {
            Some(url) => Ok(Some((url.clone(), self.named.unwrap_or(OPTION)))),
            None => Ok(variable(URL)?.map(|url| (url, URL))),
        }
    }

    /// The address that all paths are below, and what gives another one.
    pub(super) fn base(&self) -> Result<(Url, &'static str), UsageError> {
        let (text, named) = self.given()?.unwrap_or_else(|| (DEFAULT.to_owned(), OPTION));
        let wrong = |why| UsageError::new(format!("{named} {why}: it is like {DEFAULT}"));
        Ok((base(&text).map_err(wrong)?, named))
    }

    /// The certificates to trust; none for the system's. Over plain HTTP there is nothing to trust, and a system
    /// without any certificates will do.
    pub(super) fn certificates(&self, base: &Url) -> Result<Option<Vec<Certificate>>, UsageError> {
        let Some(path) = &self.ca else {
            return Ok((base.scheme() == "http").then(Vec::new));
        };
        let wrong = |why: String| UsageError::new(format!("--ca {}: {why}", path.display()));
        let pem = read(path).map_err(wrong)?;
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| wrong(error.to_string()))?;
        if certificates.is_empty() {
            return Err(wrong("has no certificate in PEM (-----BEGIN CERTIFICATE-----)".to_owned()));
        }
        Ok(Some(certificates))
    }

    pub(super) fn key(&self) -> Result<Option<SecretString>, UsageError> {
        secret(self.key_file.as_deref(), "--key-file", KEY)
    }
}

fn base(text: &str) -> Result<Url, String> {
    // The text is not repeated where it may hold a password.
    let url = Url::parse(text).map_err(|error| format!("is not a URL ({error})"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must begin with http:// or https://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or password".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not have a query or fragment".to_owned());
    }
    Ok(url)
}

/// A secret of a file or else of a variable; a newline at its end is not part of it.
///
/// # Errors
/// Names the place, never the secret.
pub(super) fn secret(
    file: Option<&Path>,
    option: &str,
    name: &str,
) -> Result<Option<SecretString>, UsageError> {
    let (text, place) = match file {
        Some(path) => {
            let place = format!("{option} {}", path.display());
            let bytes = read(path).map_err(|why| UsageError::new(format!("{place}: {why}")))?;
            (String::from_utf8_lossy(&bytes).into_owned(), place)
        }
        None => match variable(name)? {
            Some(text) => (text, format!("the variable {name}")),
            None => return Ok(None),
        },
    };
    let secret = text.trim_ascii();
    if secret.is_empty() || secret.len() > SECRET_MAX || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        let why = format!("{place}: must hold one line of 1 to {SECRET_MAX} visible ASCII characters");
        return Err(UsageError::new(why));
    }
    Ok(Some(secret.into()))
}

/// The variable's text; an empty one counts as none.
fn variable(name: &str) -> Result<Option<String>, UsageError> {
    match std::env::var(name) {
        Ok(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(UsageError::new(format!("the variable {name} is not UTF-8")))
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(format!("is larger than {FILE_MAX} bytes"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_is_refused_without_repeating_it() {
        for good in ["http://127.0.0.1:8080", "https://ws.example.com/below/", "http://[::1]:1"] {
            assert!(base(good).is_ok(), "{good}");
        }
        for wrong in
            ["", "localhost:8080", "ws://a", "http://", "http://u:hunter2@a", "http://a/?token=hunter2"]
        {
            let why = base(wrong).unwrap_err();
            assert!(!why.contains("hunter2"), "{why}");
        }
    }
}
