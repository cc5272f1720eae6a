//! `moorline keys`: the file of API keys.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use moorline::Timestamp;
use serde_json::{Value, json};

use crate::keys::{self, ApiKey, KeysFile, KeysFileError, KeysLock, NewKey, Scope};
use crate::output::{Format, Out, OutputArgs};
use crate::settings::{self, SettingsError};

/// Create, list and revoke the API keys of the HTTP interface.
#[derive(Debug, Args)]
pub(crate) struct Keys {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a key. Its secret is printed once, and kept nowhere.
    Create(Create),
    /// Show the keys, without their secrets.
    List(Place),
    /// Take a key out of the file.
    Revoke(Revoke),
}

#[derive(Debug, Args)]
struct Create {
    /// Whose key it is; a key that replaces another one has the same name.
    #[arg(long, value_parser = name)]
    name: String,
    /// What it allows; several times for several.
    #[arg(long = "scope", required = true, value_enum)]
    scopes: Vec<Scope>,
    /// How long it counts, like 90d; for ever where it is left out.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    expires: Option<Duration>,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
struct Revoke {
    /// The key's id, as `moorline keys list` shows it.
    id: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
struct Place {
    /// The file of keys.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    /// The settings file, which names the file of keys.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

impl Place {
    fn path(&self) -> Result<PathBuf, SettingsError> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        let settings = settings::load_file(self.config.as_deref())?;
        let missing =
            "which file of keys? Name it with --file, or set keys.file in the file that --config names";
        settings.keys_file.ok_or_else(|| SettingsError::new(missing))
    }
}

/// Runs one of the commands.
pub(crate) fn run(arguments: &Keys) -> anyhow::Result<()> {
    match &arguments.command {
        Command::Create(create) => create.run(),
        Command::List(place) => place.list(),
        Command::Revoke(revoke) => revoke.run(),
    }
}

const HINT: &str = "A running server takes it over at SIGHUP or POST /v1/reload.";

impl Create {
    fn run(&self) -> anyhow::Result<()> {
        let now = now();
        let mut scopes = self.scopes.clone();
        scopes.sort_unstable();
        scopes.dedup();
        let lifetime = |by: Duration| u64::try_from(by.as_millis()).ok().and_then(|ms| now.0.checked_add(ms));
        let expires = self.expires.map(|by| {
            lifetime(by).filter(|end| *end < YEAR_9999).map(Timestamp).ok_or_else(|| {
                SettingsError::new("--expires is too long: leave it out for a key without an end")
            })
        });
        let new = NewKey { name: self.name.clone(), scopes, expires: expires.transpose()? };
        let path = self.place.path()?;
        let (id, secret) = change(&path, |file| file.add(&new, now))?;
        let text = match self.place.output.output {
            Format::Json => {
                json!({"id": id, "name": new.name, "scopes": new.scopes, "secret": secret, "expires": new.expires})
                    .to_string()
            }
            Format::Text => secret,
        };
        print(&text)?;
        if self.place.output.output == Format::Text {
            eprintln!("The key {id} is in {}; its secret above is shown this once. {HINT}", path.display());
        }
        Ok(())
    }
}

impl Revoke {
    fn run(&self) -> anyhow::Result<()> {
        let path = self.place.path()?;
        let removed = change(&path, |file| file.remove(&self.id))?;
        match self.place.output.output {
            Format::Json => print(&shown(&removed).to_string()),
            Format::Text => print(&format!("The key {} ({}) is revoked. {HINT}", removed.id, removed.name)),
        }
    }
}

impl Place {
    fn list(&self) -> anyhow::Result<()> {
        let path = self.path()?;
        let file = KeysFile::read(&path).with_context(|| format!("the file of keys {}", path.display()))?;
        let text = match self.output.output {
            Format::Json => Value::from(file.keys().map(shown).collect::<Vec<_>>()).to_string(),
            Format::Text => file.keys().map(line).collect::<Vec<_>>().join("\n"),
        };
        print(&text)
    }
}

fn change<T>(
    path: &Path,
    change: impl FnOnce(&mut KeysFile) -> Result<T, KeysFileError>,
) -> anyhow::Result<T> {
    let changed = || -> Result<T, KeysFileError> {
        let _held = KeysLock::take(path)?;
        let mut file = KeysFile::read_or_new(path)?;
        let answer = change(&mut file)?;
        file.write(path)?;
        Ok(answer)
    };
    changed().with_context(|| format!("the file of keys {}", path.display()))
}

fn shown(key: &ApiKey) -> Value {
    json!({"id": key.id, "name": key.name, "scopes": key.scopes, "created": key.created, "expires": key.expires,
        "expired": key.has_expired(now())})
}

fn line(key: &ApiKey) -> String {
    let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
    let end = match key.expires {
        Some(at) if key.has_expired(now()) => format!("expired {at}"),
        Some(at) => format!("until {at}"),
        None => "without end".to_owned(),
    };
    format!("{}  {}  {}  since {}  {end}", key.id, key.name, scopes.join(","), key.created)
}

fn name(text: &str) -> Result<String, &'static str> {
    keys::check_name(text).map(|()| text.to_owned())
}

/// To standard output, which may be closed.
fn print(text: &str) -> anyhow::Result<()> {
    Out::new().line(text)
}

/// 9999-12-31, in milliseconds: the last day that can be written.
const YEAR_9999: u64 = 253_402_214_400_000;

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
