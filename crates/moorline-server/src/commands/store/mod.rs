//! `moorline store`: works on the store of a server that does not run.

mod export;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use moorline::Epoch;
use moorline_disk::{OpenError, Stats};
use serde_json::{Value, json};

use crate::assemble::store::{is_misplaced, told};
use crate::exit::UsageError;
use crate::output::{Format, Out, OutputArgs};
use crate::settings::{self, SettingsError};

/// Look into the store on disk, check it, make it smaller or put a copy of it back, while no server runs on it.
#[derive(Debug, Args)]
pub(crate) struct Store {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what is in it
    Stats,
    /// Look for damage; what is kept is not changed
    Check,
    /// Make its file as small as it can be
    Compact,
    /// Have the next start begin a new epoch: for a copy that was put back, before a server runs on it
    NewEpoch,
    /// Print the messages that it keeps: one JSON object a line, room by room, each room's oldest first
    Export {
        /// Only this room's; also `@all`, `@user/ID` and `@session/ID`
        #[arg(long)]
        room: Option<String>,
    },
}

/// Where the store is.
#[derive(Debug, Args)]
struct Place {
    /// The store's directory. Wins over --config and MOORLINE__STORE__DIRECTORY; without any of them ./moorline-data
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The configuration file, which names the directory
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Place {
    /// The directory that is meant, whatever is in it.
    fn directory(&self) -> anyhow::Result<PathBuf> {
        match &self.data {
            Some(directory) => Ok(directory.clone()),
            None => settings::load_file(self.config.as_deref())?.store.directory.ok_or_else(|| {
                let why =
                    "store.directory is empty, so nothing is kept on disk: name a directory with --data DIR";
                SettingsError::new(why).into()
            }),
        }
    }
}

/// What a person is told of a store that cannot be opened. One that is in use is in its right place.
fn refused(error: &OpenError) -> anyhow::Error {
    match error {
        OpenError::InUse(_) => anyhow::Error::msg(told(error)),
        _ if is_misplaced(error) => UsageError::new(told(error)).into(),
        _ => anyhow::Error::msg(told(error)),
    }
}

/// Does what was asked for.
///
/// # Errors
/// There is no such store, it is in use, or it is damaged.
pub(crate) fn run(arguments: &Store) -> anyhow::Result<()> {
    let room = match &arguments.command {
        Command::Export { room } => room.as_deref().map(export::room).transpose()?,
        Command::Stats | Command::Check | Command::Compact | Command::NewEpoch => None,
    };
    let directory = arguments.place.directory()?;
    let refused = |error: OpenError| refused(&error);
    let (format, mut out) = (arguments.output.output, Out::new());
    match &arguments.command {
        Command::Stats => {
            shown(&mut out, format, &directory, &moorline_disk::stats(&directory).map_err(refused)?)
        }
        Command::Check => checked(&mut out, format, &moorline_disk::check(&directory).map_err(refused)?),
        Command::Compact => compacted(&mut out, format, moorline_disk::compact(&directory).map_err(refused)?),
        Command::NewEpoch => {
            began(&mut out, format, moorline_disk::begin_new_epoch(&directory).map_err(refused)?)
        }
        Command::Export { .. } => {
            let mut printer = export::Printer::new(out);
            let visited = moorline_disk::export(&directory, room.as_ref(), &mut |room, epoch, record| {
                printer.visit(room, epoch, record)
            });
            // What was read before it failed is printed.
            let printed = printer.finish();
            visited.map_err(refused).and(printed)
        }
    }
}

fn shown(out: &mut Out, format: Format, directory: &Path, stats: &Stats) -> anyhow::Result<()> {
    match format {
        Format::Json => out.line(stats_json(directory, stats)),
        Format::Text => out.fields(&[
            ("directory", directory.display().to_string()),
            ("format", stats.format.to_string()),
            ("epoch", stats.epoch.to_string()),
            ("closed in order", if stats.was_clean { "yes" } else { "no" }.to_owned()),
            ("rooms", stats.rooms.to_string()),
            ("records", format!("{}, {} bytes", stats.records, stats.record_bytes)),
            ("publish ids", stats.publish_ids.to_string()),
            ("sessions", stats.sessions.to_string()),
            ("file", format!("{} bytes", stats.file_bytes)),
        ]),
    }
}

fn stats_json(directory: &Path, stats: &Stats) -> Value {
    json!({
        "directory": directory.display().to_string(), "format": stats.format, "epoch": stats.epoch,
        "was_clean": stats.was_clean, "rooms": stats.rooms, "records": stats.records,
        "record_bytes": stats.record_bytes, "publish_ids": stats.publish_ids, "sessions": stats.sessions,
        "file_bytes": stats.file_bytes,
    })
}

fn checked(out: &mut Out, format: Format, damage: &[String]) -> anyhow::Result<()> {
    match format {
        Format::Json => out.line(json!({ "ok": damage.is_empty(), "damage": damage }))?,
        Format::Text if damage.is_empty() => out.line("no damage")?,
        Format::Text => damage.iter().try_for_each(|wrong| out.line(crate::text::escape(wrong)))?,
    }
    anyhow::ensure!(damage.is_empty(), "the store is damaged: restore a copy, or move it away to begin anew");
    Ok(())
}

fn compacted(out: &mut Out, format: Format, (before, after): (u64, u64)) -> anyhow::Result<()> {
    match format {
        Format::Json => out.line(json!({ "before_bytes": before, "after_bytes": after })),
        Format::Text => out.line(format_args!("{before} bytes before, {after} bytes after")),
    }
}

fn began(out: &mut Out, format: Format, epoch: Epoch) -> anyhow::Result<()> {
    match format {
        Format::Json => out.line(json!({ "former_epoch": epoch })),
        Format::Text => out.line(format_args!("epoch {epoch} ends: the next start begins a new one")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use clap::Parser as _;

    use super::*;
    use crate::cli::{self, Arguments};
    use crate::settings::tests::Folder;

    fn parsed(line: &str) -> Store {
        let words = ["moorline", "store"].into_iter().chain(line.split(' '));
        match Arguments::try_parse_from(words).unwrap().command {
            cli::Command::Store(store) => store,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_directory_is_told_the_configurations_or_the_default() {
        let folder = Folder::new();
        let config = folder.file("moorline.toml", "[store]\ndirectory = \"kept\"").display().to_string();
        let kept = folder.0.join("kept");
        for line in [
            format!("stats --config {config}"),
            format!("--config {config} -o json check"),
            format!("export --room lobby --data {} --config {config}", kept.display()),
            format!("compact -o json --data {} --config nowhere", kept.display()),
        ] {
            assert_eq!(parsed(&line).place.directory().unwrap(), kept, "{line}");
        }
        let memory = folder.file("memory.toml", "[store]\ndirectory = \"\"").display().to_string();
        let error = parsed(&format!("stats --config {memory}")).place.directory().unwrap_err();
        assert!(error.is::<SettingsError>() && error.to_string().contains("--data DIR"), "{error}");
        assert!(Arguments::try_parse_from(["moorline", "store", "stats", "--data", ""]).is_err());
    }

    #[test]
    fn where_no_store_is_none_is_made() {
        let folder = Folder::new();
        let file = folder.file("file", "");
        let nowhere = folder.0.join("nowhere");
        for without in [&folder.0, &nowhere, &file] {
            for command in ["stats", "check", "compact", "new-epoch", "export"] {
                let error = run(&parsed(&format!("{command} --data {}", without.display()))).unwrap_err();
                assert!(error.is::<UsageError>() && error.to_string().contains("no store in "), "{error}");
                assert!(error.to_string().contains("--data DIR"), "{error}");
            }
        }
        assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1);
    }

    #[test]
    fn a_store_that_does_not_open_is_wrong_usage_where_its_place_is_wrong() {
        let path = PathBuf::from("/data/moorline.redb");
        let io = |kind: ErrorKind| OpenError::Io { path: path.clone(), source: kind.into() };
        for (error, is_usage, said) in [
            (
                OpenError::Missing("/data".into()),
                true,
                "no store in /data; name its directory with --data DIR",
            ),
            (io(ErrorKind::PermissionDenied), true, "cannot be opened: permission denied; let this user"),
            (io(ErrorKind::Other), false, "cannot be opened"),
            (OpenError::InUse(path.clone()), false, "is in use: another server"),
            (
                OpenError::NotOurs { path: path.clone(), why: "it is text" },
                true,
                "is not a store of Moorline's: it is text",
            ),
            (OpenError::Damaged { path: path.clone(), why: "torn".to_owned() }, false, "is damaged: torn"),
        ] {
            let told = refused(&error);
            assert_eq!(told.is::<UsageError>(), is_usage, "{told}");
            assert!(told.to_string().contains(said), "{told}");
        }
    }

    #[test]
    fn what_is_in_it_is_told_to_programs_too() {
        let stats = Stats {
            format: 1,
            epoch: Epoch(0xdc74_68d1_87e5_ae62),
            was_clean: true,
            rooms: 2,
            records: 3,
            record_bytes: 400,
            publish_ids: 5,
            sessions: 6,
            file_bytes: 7_000,
        };
        let wanted = json!({"directory": "d", "format": 1, "epoch": "dc7468d187e5ae62", "was_clean": true, "rooms": 2,
            "records": 3, "record_bytes": 400, "publish_ids": 5, "sessions": 6, "file_bytes": 7000});
        assert_eq!(stats_json(Path::new("d"), &stats), wanted);
    }
}
