//! The store on disk: opened before there is a runtime, closed after its end, and what is said where either fails.

use std::io::ErrorKind;

use moorline_disk::{OpenError, Options, Store};

use crate::app::Mode;
use crate::causes::causes;
use crate::settings::{Loaded, SettingsError, StoreSettings};

/// Opens the store that the settings name; none where everything is kept in memory. Blocks while it reads.
///
/// # Errors
/// Says what is in the way, and how to mend it.
pub(crate) fn open(loaded: &Loaded, mode: Mode) -> anyhow::Result<Option<Store>> {
    let StoreSettings { directory, commit_every } = &loaded.settings.store;
    let Some(directory) = directory else {
        if mode == Mode::Serving {
            tracing::warn!("store.directory is empty: messages and sessions end with the process");
        }
        return Ok(None);
    };
    let retention = loaded.settings.node.retention.clone();
    let options = Options { retention, commit_every: *commit_every, ..Options::default() };
    let store = Store::open(directory, &options).map_err(|error| {
        let said = format!("{}: {}", loaded.named("store.directory"), told(&error));
        if is_misplaced(&error) { SettingsError::new(said).into() } else { anyhow::Error::msg(said) }
    })?;
    let opened = store.opened();
    tracing::info!(
        directory = %directory.display(),
        was_clean = opened.was_clean,
        rooms = opened.rooms,
        records = opened.records,
        sessions = opened.sessions,
        took_ms = opened.took.as_millis(),
        "the store is open"
    );
    Ok(Some(store))
}

/// Writes what waits, and closes. Blocks.
///
/// # Errors
/// It could not write: the next start is an unclean one.
pub(crate) fn close(store: Store) -> anyhow::Result<()> {
    if let Err(error) = store.close() {
        let why = causes(&error);
        tracing::error!(why, "the store was not closed cleanly: the next start is an unclean one");
        return Err(anyhow::Error::msg(why));
    }
    tracing::info!("the store is closed");
    Ok(())
}

/// Whether another place, or other rights to it, are what mends it.
pub(crate) fn is_misplaced(error: &OpenError) -> bool {
    match error {
        OpenError::InUse(_) | OpenError::Missing(_) | OpenError::Newer { .. } | OpenError::NotOurs { .. } => {
            true
        }
        OpenError::Io { source, .. } => matches!(
            source.kind(),
            ErrorKind::PermissionDenied
                | ErrorKind::ReadOnlyFilesystem
                | ErrorKind::NotADirectory
                | ErrorKind::AlreadyExists
                | ErrorKind::IsADirectory
        ),
        _ => false,
    }
}

/// What is wrong, and how to mend it, in one line.
pub(crate) fn told(error: &OpenError) -> String {
    format!("{}{}", causes(error), mend(error))
}

/// Continues what the error says; empty where that says how already.
fn mend(error: &OpenError) -> &'static str {
    match error {
        OpenError::InUse(_) => "; stop that first, or name another directory",
        OpenError::Missing(_) => {
            "; name its directory with --data DIR, or the configuration that does with --config FILE"
        }
        OpenError::NotOurs { .. } => "; name another directory, or move that away",
        OpenError::Damaged { .. } => "; restore a copy, or move it away to begin with an empty store",
        OpenError::Io { source, .. } => match source.kind() {
            ErrorKind::PermissionDenied => "; let this user write there, or name another directory",
            ErrorKind::ReadOnlyFilesystem => "; name a directory that can be written to",
            ErrorKind::NotADirectory | ErrorKind::AlreadyExists | ErrorKind::IsADirectory => {
                "; something else is in its place: name a directory"
            }
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; make room on that disk",
            _ => "; see whether the disk and its file system are well",
        },
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::settings::Sources;

    fn io(kind: ErrorKind) -> OpenError {
        OpenError::Io { path: PathBuf::from("/data"), source: kind.into() }
    }

    #[test]
    fn whatever_is_in_the_way_is_told_once_with_how_to_mend_it() {
        let path = PathBuf::from("/data/moorline.redb");
        for (error, is_setting, said) in [
            (OpenError::InUse(path.clone()), true, "stop that first"),
            (OpenError::Newer { path: path.clone(), found: 9, known: 1 }, true, "use that one"),
            (OpenError::NotOurs { path: path.clone(), why: "it is a picture" }, true, "move that away"),
            (OpenError::Damaged { path, why: "a page is torn".to_owned() }, false, "restore a copy"),
            (io(ErrorKind::PermissionDenied), true, "let this user write there"),
            (io(ErrorKind::ReadOnlyFilesystem), true, "can be written to"),
            (io(ErrorKind::NotADirectory), true, "name a directory"),
            (io(ErrorKind::StorageFull), false, "make room"),
            (io(ErrorKind::Other), false, "the disk"),
        ] {
            let text = told(&error);
            assert!(text.contains(said) && text.matches("/data").count() == 1, "{text}");
            assert_eq!(is_misplaced(&error), is_setting, "{text}");
        }
    }

    #[test]
    fn in_memory_there_is_nothing_to_open() {
        let loaded = Sources::new(Mode::Development, None).load().unwrap();
        assert!(open(&loaded, Mode::Development).unwrap().is_none());
    }
}
