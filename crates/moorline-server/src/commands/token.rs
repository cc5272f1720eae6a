//! `moorline token`: makes tokens, and looks into them.

use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use moorline::{Pattern, Token as Presented, UserId};
use serde_json::{Value, json};

use crate::auth::{Inspection, SignError, TokenRequest, Verifier};
use crate::output::{Format, Out, OutputArgs};
use crate::settings::{self, SettingsError};

/// Make tokens for clients, and look into them.
#[derive(Debug, Args)]
pub(crate) struct Token {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sign a token with the first key of the settings that can.
    Create(Create),
    /// Show what a token says, and whether it would be accepted now.
    Inspect(Inspect),
}

#[derive(Debug, Args)]
struct Create {
    /// The user that the token speaks for.
    #[arg(long, value_parser = user)]
    user: UserId,
    /// Rooms that may be joined, like `chat:*`; several times for several. Without it the setting auth.join counts.
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    join: Vec<Pattern>,
    /// Rooms that may be published to. Without it the setting auth.publish counts.
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    publish: Vec<Pattern>,
    /// Session ids that may be chosen.
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    session: Vec<Pattern>,
    /// How long it counts.
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = humantime::parse_duration)]
    ttl: Duration,
    /// The settings file, which names the key.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
struct Inspect {
    /// The token; `-` reads it from standard input, since others on this machine can see arguments.
    #[arg(default_value = "-", hide_default_value = true)]
    token: String,
    /// The settings file, which names the keys. Without it nothing is checked.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs one of the commands.
pub(crate) fn run(arguments: &Token) -> anyhow::Result<()> {
    match &arguments.command {
        Command::Create(create) => create.run(),
        Command::Inspect(inspect) => inspect.run(),
    }
}

impl Create {
    fn run(&self) -> anyhow::Result<()> {
        let settings = settings::load_file(self.config.as_deref())?;
        let some = |list: &[Pattern]| (!list.is_empty()).then(|| list.to_vec());
        let request = TokenRequest {
            user: self.user.clone(),
            join: some(&self.join),
            publish: some(&self.publish),
            session: some(&self.session),
            ttl: self.ttl,
        };
        let signed = Verifier::load(&settings.auth)?.sign(&request).map_err(|error| match error {
            SignError::Failed(_) => anyhow::Error::from(error),
            SignError::NoKey if self.config.is_none() => {
                let mend = "name the settings that have one with --config FILE";
                SettingsError::new(format!("{error}: {mend}")).into()
            }
            wrong => SettingsError::new(wrong.to_string()).into(),
        })?;
        print(&match self.output.output {
            Format::Text => signed.token,
            Format::Json => json!({"token": signed.token, "token_id": signed.token_id, "user": signed.user,
                "expires_at": signed.expires_at})
            .to_string(),
        })
    }
}

impl Inspect {
    fn run(&self) -> anyhow::Result<()> {
        let token = self.read()?;
        let (content, verdict) = match Inspection::of(&token) {
            Ok(content) => (Some(content), self.verdict(&token)?),
            Err(why) => (None, Some(Err(why))),
        };
        print(&match self.output.output {
            Format::Text => text(content.as_ref(), verdict.as_ref())?,
            Format::Json => value(content.as_ref(), verdict.as_ref()).to_string(),
        })?;
        match verdict {
            Some(Err(why)) => bail!("the token would not be accepted: {why}"),
            Some(Ok(())) | None => Ok(()),
        }
    }

    fn read(&self) -> anyhow::Result<String> {
        if self.token != "-" {
            return Ok(self.token.clone());
        }
        let mut text = String::new();
        let limit = u64::try_from(Presented::MAX_BYTES).unwrap_or(u64::MAX) + 3;
        let input = std::io::stdin().lock().take(limit);
        { input }.read_to_string(&mut text).context("reading the token from standard input")?;
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// Whether the token would be accepted, and why not; none without settings.
    fn verdict(&self, token: &str) -> anyhow::Result<Option<Result<(), String>>> {
        let Some(path) = &self.config else { return Ok(None) };
        let verifier = Verifier::load(&settings::load_file(Some(path))?.auth)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.context("starting the runtime")?.block_on(verifier.fetch());
        Ok(Some(verifier.check(token).map(|_identity| ()).map_err(|error| error.to_string())))
    }
}

type Verdict = Result<(), String>;

fn text(content: Option<&Inspection>, verdict: Option<&Verdict>) -> anyhow::Result<String> {
    let pretty = |value: &Value| serde_json::to_string_pretty(value).context("writing JSON");
    let verdict = match verdict {
        None => "not checked: name the settings with --config".to_owned(),
        Some(Ok(())) => "accepted".to_owned(),
        Some(Err(why)) => format!("not accepted: {why}"),
    };
    let Some(content) = content else { return Ok(verdict) };
    Ok(format!("header {}\nclaims {}\n{verdict}", pretty(&content.header)?, pretty(&content.claims)?))
}

fn value(content: Option<&Inspection>, verdict: Option<&Verdict>) -> Value {
    let header = content.map(|content| &content.header);
    let claims = content.map(|content| &content.claims);
    let why = verdict.and_then(|verdict| verdict.as_ref().err());
    json!({"header": header, "claims": claims, "accepted": verdict.map(Result::is_ok), "why": why})
}

/// To standard output. What would steer a terminal is written as an escape, as JSON allows it.
fn print(text: &str) -> anyhow::Result<()> {
    let safe: String = text
        .chars()
        .map(|character| match character {
            '\n' => "\n".to_owned(),
            control if control.is_control() => format!("\\u{:04x}", u32::from(control)),
            other => other.to_string(),
        })
        .collect();
    Out::new().line(safe)
}

fn user(text: &str) -> Result<UserId, String> {
    UserId::new(text).map_err(|error| error.to_string())
}

fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::new(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    #[test]
    fn what_a_token_says_is_shown_whatever_it_is() {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let token = format!("{}.{}.", part(r#"{"alg":"none"}"#), part(r#"{"sub":"\u0000","exp":1e300}"#));
        let content = Inspection::of(&token).unwrap();
        let shown = value(Some(&content), Some(&Err("why".to_owned())));
        assert_eq!(shown["header"]["alg"], "none");
        assert_eq!((&shown["accepted"], &shown["why"]), (&json!(false), &json!("why")));
        assert!(
            text(Some(&content), None).unwrap().ends_with("not checked: name the settings with --config")
        );
        for wrong in
            ["", "a.b", "a.b.c.d", "!.!.!", &"a".repeat(9000), &format!("{}.e30.", part(&"[".repeat(500)))]
        {
            assert!(Inspection::of(wrong).is_err(), "{wrong}");
        }
    }
}
