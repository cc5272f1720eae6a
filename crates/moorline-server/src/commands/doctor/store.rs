//! The store's directory: whether it can be written to, whether there is room, and who else may read it.

use std::io::{self, ErrorKind};
use std::path::Path;

use moorline_disk::FILE;

use super::Check;
use crate::settings::Settings;

pub(super) fn checks(settings: &Settings) -> Vec<Check> {
    let Some(directory) = &settings.store.directory else {
        let mend = "set store.directory, unless that is what you want";
        return vec![Check::warn("store", "in memory: messages and sessions end with the process", mend)];
    };
    let mut checks = vec![writable(directory)];
    // What is not there yet will be on the disk of what is.
    if let Some(there) = directory.ancestors().find(|path| path.exists()) {
        let kept = directory.join(FILE).metadata().map_or(0, |metadata| metadata.len());
        checks.extend(room(there, settings.node.retention.total_bytes as u64, kept));
        checks.extend(kind(there));
    }
    checks.extend([directory.clone(), directory.join(FILE)].iter().filter_map(|path| privacy(path)));
    checks
}

/// Nothing is made: the rights are asked for.
fn writable(directory: &Path) -> Check {
    let name = format!("store {}", directory.display());
    let mend = "let the server's user write there (owner, mode 0700), or name another store.directory";
    match directory.metadata() {
        Ok(metadata) if !metadata.is_dir() => {
            Check::bad(name, "it is no directory", "move it away, or name another store.directory")
        }
        Ok(_) => match may_write(directory) {
            Ok(()) => Check::ok(name, "it can be written to"),
            Err(error) => Check::bad(name, format!("it cannot be written to: {error}"), mend),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let parent = directory.ancestors().find(|path| path.exists()).unwrap_or(directory);
            let shown = parent.display();
            match may_write(parent) {
                Ok(()) => Check::ok(name, format!("not there yet; it can be made in {shown}")),
                Err(error) => Check::bad(name, format!("it cannot be made in {shown}: {error}"), mend),
            }
        }
        Err(error) => Check::bad(name, error.to_string(), mend),
    }
}

#[cfg(unix)]
fn may_write(directory: &Path) -> io::Result<()> {
    use rustix::fs::Access;
    Ok(rustix::fs::access(directory, Access::WRITE_OK | Access::EXEC_OK)?)
}

#[cfg(not(unix))]
fn may_write(directory: &Path) -> io::Result<()> {
    match directory.metadata()?.permissions().readonly() {
        true => Err(io::Error::other("it is read-only")),
        false => Ok(()),
    }
}

/// Room for what is kept, whose file has so many bytes already.
#[cfg(unix)]
fn room(there: &Path, total_bytes: u64, kept_bytes: u64) -> Option<Check> {
    let disk = rustix::fs::statvfs(there).ok()?;
    Some(judge_room(disk.f_bavail.saturating_mul(disk.f_frsize), total_bytes, kept_bytes))
}

/// There is no way without a library of its own.
#[cfg(not(unix))]
fn room(_there: &Path, _total_bytes: u64, _kept_bytes: u64) -> Option<Check> {
    Some(Check::ok("store, disk space", "not checked here"))
}

#[cfg(unix)]
fn judge_room(free_bytes: u64, total_bytes: u64, kept_bytes: u64) -> Check {
    /// Below this a disk is as good as full.
    const LEAST_BYTES: u64 = 1 << 30;
    let (name, found) = ("store, disk space", format!("{} MiB free", free_bytes >> 20));
    if free_bytes < LEAST_BYTES {
        return Check::warn(name, found, "make room: on a full disk publishes are refused");
    }
    if free_bytes.saturating_add(kept_bytes) < total_bytes {
        let found = format!("{found}, of {} MiB that retention.total_bytes allows", total_bytes >> 20);
        return Check::warn(name, found, "make room, or lower retention.total_bytes");
    }
    Check::ok(name, found)
}

/// File systems that a store should not be on.
#[cfg(target_os = "linux")]
fn kind(there: &Path) -> Option<Check> {
    Some(judge_kind(rustix::fs::statfs(there).ok()?.f_type))
}

/// Nothing to go by here.
#[cfg(not(target_os = "linux"))]
fn kind(_there: &Path) -> Option<Check> {
    None
}

#[cfg(target_os = "linux")]
fn judge_kind(kind: rustix::fs::FsWord) -> Check {
    /// As in the kernel's magic.h.
    const IN_MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58f6];
    const OF_A_NETWORK: [u32; 6] = [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x0102_1997, 0x00c3_6400];
    let name = "store, file system";
    let is_one_of = |kinds: &[u32]| kinds.iter().any(|known| *known as rustix::fs::FsWord == kind);
    if is_one_of(&IN_MEMORY) {
        let mend = "name a store.directory on a disk";
        return Check::warn(name, "it is in memory, and ends with this machine", mend);
    }
    if is_one_of(&OF_A_NETWORK) {
        let found = "it is on a network: its locks and its promises to keep what was written vary";
        return Check::warn(name, found, "name a store.directory on a disk of this machine");
    }
    Check::ok(name, "on this machine")
}

/// Messages are in it, so it is for its owner alone.
#[cfg(unix)]
fn privacy(path: &Path) -> Option<Check> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = path.metadata().ok()?;
    let mode = metadata.permissions().mode() & 0o777;
    let (name, shown) = (format!("permissions of {}", path.display()), format!("{mode:04o}"));
    if mode & 0o077 == 0 {
        return Some(Check::ok(name, shown));
    }
    let best = if metadata.is_dir() { "0700" } else { "0600" };
    let mend = format!("chmod {best} {}", path.display());
    Some(Check::warn(name, format!("{shown}: others than its owner have rights to what is kept"), mend))
}

/// Permissions are not looked at here.
#[cfg(not(unix))]
fn privacy(_path: &Path) -> Option<Check> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::commands::doctor::Verdict;
    use crate::settings::tests::Folder;

    #[test]
    fn a_directory_is_there_can_be_made_or_is_none() {
        let folder = Folder::new();
        assert_eq!(writable(&folder.0).verdict, Verdict::Ok);
        let nested = writable(&folder.0.join("a/b"));
        assert!(nested.verdict == Verdict::Ok && nested.found.starts_with("not there yet"), "{nested:?}");
        let file = folder.file("file", "");
        assert_eq!(writable(&file).verdict, Verdict::Bad);
        assert_eq!(writable(&file.join("below")).verdict, Verdict::Bad);
        assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1);
    }

    #[test]
    fn little_room_is_warned_of() {
        const GIB: u64 = 1 << 30;
        for (free, total, kept, verdict) in [
            (GIB, 0, 0, Verdict::Ok),
            (GIB - 1, 0, 0, Verdict::Warn),
            (2 * GIB, 3 * GIB, 0, Verdict::Warn),
            (2 * GIB, 3 * GIB, GIB, Verdict::Ok),
        ] {
            assert_eq!(judge_room(free, total, kept).verdict, verdict, "{free} {total} {kept}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_disk_of_another_machine_or_none_is_warned_of() {
        for (kind, verdict) in [
            (0xef53, Verdict::Ok),
            (0x6969, Verdict::Warn),
            (0x0102_1994, Verdict::Warn),
            (0xfe53_4d42, Verdict::Warn),
        ] {
            assert_eq!(judge_kind(kind).verdict, verdict, "{kind:x}");
        }
    }

    #[test]
    fn what_others_may_read_is_told_and_all_is_looked_at() {
        let folder = Folder::new();
        let file = folder.file(FILE, "");
        for (mode, verdict) in [(0o600, Verdict::Ok), (0o640, Verdict::Warn), (0o604, Verdict::Warn)] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(privacy(&file).unwrap().verdict, verdict, "{mode:o}");
        }
        let mut settings = crate::settings::load_file(None).unwrap();
        settings.store.directory = Some(folder.0.clone());
        let names: Vec<String> = checks(&settings).into_iter().map(|check| check.check).collect();
        assert!(names.iter().filter(|name| name.starts_with("permissions of")).count() == 2, "{names:?}");
        assert!(names.iter().any(|name| name == "store, disk space"), "{names:?}");
        settings.store.directory = None;
        assert_eq!(checks(&settings)[0].verdict, Verdict::Warn);
    }
}
