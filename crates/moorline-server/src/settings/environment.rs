//! Settings in the environment: `MOORLINE__SECTION__NAME`.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::layers::{Found, Given, Layers};
use super::nearest::nearest;
use super::place::Place;
use super::raw::{NAMES, SECTIONS};

/// What stands before every variable. With one underscore it is not ours.
pub(super) const PREFIX: &str = "MOORLINE__";

/// The variable of a setting.
pub(super) fn variable(name: &str) -> String {
    format!("{PREFIX}{}", name.replace('.', "__").to_uppercase())
}

/// Adds what the environment says. Paths in it begin at the working directory.
pub(super) fn add(layers: &mut Layers, variables: impl Iterator<Item = (OsString, OsString)>, folder: &Path) {
    let ours = variables.filter_map(|(name, value)| Some((ours(&name)?, value)));
    let mut ours: Vec<((String, String), OsString)> = ours.collect();
    ours.sort();
    for ((variable, name), value) in ours {
        // In capitals alone: two spellings of one setting would hide each other.
        let is_written = variable == self::variable(&name);
        let Some(known) = NAMES.iter().copied().find(|known| **known == name && is_written) else {
            layers.mistake(unknown(&variable, &name));
            continue;
        };
        match value.into_string() {
            Ok(text) => layers.add(
                known,
                Found {
                    given: Given::Text(text),
                    place: Place::Variable(variable),
                    folder: folder.to_owned(),
                },
            ),
            Err(_) => layers.mistake(format!("{known} ({variable}) is not UTF-8")),
        }
    }
}

/// Variables that are no settings, and look as if they were meant to be. They count for nothing: under Kubernetes a
/// service that is called `moorline` puts variables like `MOORLINE_PORT` into every container.
pub(super) fn lookalikes(variables: &[(OsString, OsString)]) -> Vec<String> {
    let mut found: Vec<String> = variables.iter().filter_map(|(name, _)| lookalike(name)).collect();
    found.sort();
    found
}

fn lookalike(given: &OsStr) -> Option<String> {
    let given = given.to_str().filter(|given| ours(OsStr::new(given)).is_none())?;
    let flat = |name: &str| name.replace("__", "_").to_uppercase();
    let setting = NAMES.iter().map(|known| variable(known)).find(|known| flat(known) == flat(given))?;
    Some(format!("the variable {given} is no setting, and counts for nothing: {setting} is one"))
}

/// The variable as it is called, and the setting that it means.
fn ours(variable: &OsStr) -> Option<(String, String)> {
    let variable = variable.to_string_lossy();
    let prefix = variable.get(..PREFIX.len())?;
    let name = variable[PREFIX.len()..].replace("__", ".").to_lowercase();
    prefix.eq_ignore_ascii_case(PREFIX).then(|| (variable.into_owned(), name))
}

fn unknown(variable_given: &str, name: &str) -> String {
    let (variable_given, shown) = (variable_given.escape_debug(), name.escape_debug());
    if SECTIONS.iter().any(|section| section.name == name) {
        return format!("{shown} ({variable_given}) is a section: a variable has a section and a name");
    }
    let near = nearest(name, NAMES.iter().copied()).map(variable);
    let near = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
    format!("there is no setting {shown} ({variable_given}){near}")
}
