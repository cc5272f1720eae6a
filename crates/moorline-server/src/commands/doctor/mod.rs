//! `moorline doctor`: looks at the machine, the settings and the files that they name, and says how to mend what is wrong.

mod clock;
mod files;
mod network;
mod store;
mod system;

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::app::Mode;
use crate::assemble::Files;
use crate::output::{Format, Out, OutputArgs};
use crate::settings::{self, JwksPlace, Settings, Sources};

/// Looks, changes nothing, and may run beside a server.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// The configuration file to check.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// As it should be, or not to be found out here.
    Ok,
    /// It works, not always or not for long.
    Warn,
    /// A server would not start, or not serve.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    check: String,
    verdict: Verdict,
    /// What was found.
    found: String,
    /// How to mend it, where there is something to mend.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

impl Check {
    fn ok(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self { check: check.into(), verdict: Verdict::Ok, found: found.into(), mend: None }
    }

    fn warn(check: impl Into<String>, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, mend: Some(mend.into()), ..Self::ok(check, found) }
    }

    fn bad(check: impl Into<String>, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { verdict: Verdict::Bad, ..Self::warn(check, found, mend) }
    }
}

/// Checks everything.
///
/// # Errors
/// Something is bad.
pub(crate) fn run(arguments: &Doctor) -> anyhow::Result<()> {
    let settings = settings::load_file(arguments.config.as_deref());
    let mut checks = vec![match &settings {
        Ok(_) => Check::ok("settings", "they load"),
        Err(error) => Check::bad("settings", error.to_string(), "correct the setting; nothing starts before"),
    }];
    checks.extend(system::checks());
    checks.push(clock::year());
    checks.push(clock::synchronised());
    if let Ok(settings) = &settings {
        checks.extend(of_settings(settings));
    }
    if let Some(file) = &arguments.config {
        checks.push(serves(file));
    }
    let report = match arguments.output.output {
        Format::Text => text(&checks),
        Format::Json => format!("{}\n", serde_json::json!({ "ok": is_well(&checks), "checks": checks })),
    };
    Out::new().bytes(report.as_bytes())?;
    anyhow::ensure!(is_well(&checks), "this would not serve: mend what is bad");
    Ok(())
}

/// Whether `serve` would take the settings and what is in the files that they name.
fn serves(file: &Path) -> Check {
    let sources = Sources::new(Mode::Serving, Some(file.to_owned()));
    let loaded = sources.load().and_then(|loaded| Files::load(&loaded.settings, Mode::Serving));
    match loaded {
        Ok(_) => Check::ok("serving", "the settings and the keys that they name can be served with"),
        Err(error) => {
            Check::bad("serving", error.to_string(), "correct it; `moorline serve` does not start before")
        }
    }
}

fn of_settings(settings: &Settings) -> Vec<Check> {
    let mut checks = vec![network::listen(settings.listen), files::certificate(settings)];
    checks.extend(files::secrets(settings));
    checks.extend(store::checks(settings));
    let fetched = settings.auth.jwks.iter().filter_map(|jwks| match &jwks.from {
        JwksPlace::Url(url) => Some(url.as_str()),
        JwksPlace::File(_) => None,
    });
    checks.extend(network::key_sets(&fetched.collect::<Vec<_>>()));
    checks
}

fn is_well(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.verdict != Verdict::Bad)
}

fn text(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.check.len()).max().unwrap_or_default();
    let line = |check: &Check| {
        let verdict = match check.verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Bad => "bad",
        };
        let mend = check.mend.as_deref().map_or(String::new(), |mend| format!("      mend: {mend}\n"));
        format!("{verdict:<5} {:<width$}  {}\n{mend}", check.check, check.found)
    };
    checks.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_bad_fails() {
        let (ok, warn) = (Check::ok("a", "fine"), Check::warn("longer", "so so", "do it"));
        let mut checks = vec![ok, warn];
        assert!(is_well(&checks));
        assert_eq!(text(&checks), "ok    a       fine\nwarn  longer  so so\n      mend: do it\n");
        checks.push(Check::bad("b", "broken", "mend it"));
        assert!(!is_well(&checks));
        let json = serde_json::to_value(&checks[2]).unwrap();
        let wanted = serde_json::json!({"check":"b","verdict":"bad","found":"broken","mend":"mend it"});
        assert_eq!(json, wanted);
    }
}
