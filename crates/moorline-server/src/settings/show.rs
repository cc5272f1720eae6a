//! Settings as TOML: as they are, with where they came from.

use std::fmt::Write as _;

use super::load::Loaded;
use super::raw::{Raw, SECTIONS};

impl Loaded {
    /// Every setting, as a file that could be read back.
    pub(crate) fn show(&self) -> String {
        let values = self.raw.values();
        let mut out = String::new();
        for section in SECTIONS {
            let gap = if out.is_empty() { "" } else { "\n" };
            put(&mut out, format_args!("{gap}[{}]", section.name));
            let prefix = format!("{}.", section.name);
            for (name, value) in &values {
                if let Some(field) = name.strip_prefix(&prefix) {
                    put(&mut out, format_args!("{field} = {value} # {}", self.place(name)));
                }
            }
        }
        out
    }
}

/// Every setting explained, commented out at its default; what stands in `given` is set instead.
pub(super) fn documented(given: &[(&str, &str)]) -> String {
    let mut out = String::from(HEAD);
    let rows = Raw::rows();
    for section in SECTIONS {
        put(&mut out, format_args!("\n"));
        comment(&mut out, section.doc);
        put(&mut out, format_args!("[{}]", section.name));
        // Tables come last: a setting behind one would be the table's.
        let (tables, plain): (Vec<_>, Vec<_>) =
            rows.iter().filter(|row| row.section() == section.name).partition(|row| row.is_tables);
        for row in plain.into_iter().chain(tables) {
            put(&mut out, format_args!(""));
            comment(&mut out, row.doc);
            let reload = if row.is_reloadable { " Taken over by a reload." } else { "" };
            put(&mut out, format_args!("# It may be {}.{reload}", row.range));
            match given.iter().find(|(name, _)| *name == row.name) {
                Some((_, text)) => put(&mut out, format_args!("{text}")),
                // How one is written stands above.
                None if row.is_tables => {}
                None => put(&mut out, format_args!("#{} = {}", row.field(), row.default)),
            }
        }
    }
    out
}

const HEAD: &str = "\
# The configuration of moorline. What is commented out has its default.
# Each setting is also a variable, MOORLINE__SECTION__NAME, which wins over this file.
# Durations are in milliseconds, sizes in bytes; relative paths begin at this file's folder.
# `moorline config check --config FILE` says what is wrong with it, `moorline config show` what counts.
";

fn comment(out: &mut String, lines: &[&str]) {
    for line in lines {
        put(out, format_args!("#{line}"));
    }
}

/// A line. Writing to a string cannot fail.
fn put(out: &mut String, line: std::fmt::Arguments<'_>) {
    let _always = out.write_fmt(line);
    out.push('\n');
}
