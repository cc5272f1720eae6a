//! What the server says about itself: on standard error, in colour on a terminal.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::settings::{LogFormat, LogSettings, SettingsError};

/// Begins to log.
///
/// # Errors
/// `RUST_LOG` cannot be understood.
pub(crate) fn start(settings: &LogSettings) -> Result<(), SettingsError> {
    let filter = filter(std::env::var_os("RUST_LOG").as_deref(), &settings.level)?;
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match settings.format {
        LogFormat::Text => logs.with_ansi(colour).init(),
        LogFormat::Json => logs.json().init(),
    }
    Ok(())
}

/// What is shown: the variable decides where it says anything.
fn filter(variable: Option<&std::ffi::OsStr>, level: &str) -> Result<EnvFilter, SettingsError> {
    let Some(variable) = variable.filter(|text| !text.is_empty()) else {
        return parse("log.level", level);
    };
    let text = variable.to_str().ok_or_else(|| SettingsError::new("the variable RUST_LOG is not UTF-8"))?;
    parse("the variable RUST_LOG", text)
}

fn parse(name: &str, text: &str) -> Result<EnvFilter, SettingsError> {
    EnvFilter::try_new(text).map_err(|error| {
        let how = "it is like info, or moorline=debug,warn";
        SettingsError::new(format!("{name} is {text:?}: {error}; {how}"))
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn the_variable_wins_and_is_never_replaced_in_silence() {
        let shown = |variable: Option<&str>| filter(variable.map(OsStr::new), "info").map(|f| f.to_string());
        assert_eq!(shown(None).unwrap(), "info");
        assert_eq!(shown(Some("")).unwrap(), "info");
        assert_eq!(shown(Some("moorline=debug")).unwrap(), "moorline=debug");
        for wrong in ["moorline=loud", "a=b=c", "[{"] {
            let error = shown(Some(wrong)).unwrap_err().to_string();
            assert!(error.contains("RUST_LOG") && error.contains(wrong), "{error}");
        }
    }
}
