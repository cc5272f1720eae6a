#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use super::*;

const NOW: Timestamp = Timestamp(1_800_000_000_000);

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("moorline-keys-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("keys.toml")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn new(name: &str, expires: Option<Timestamp>) -> NewKey {
    NewKey { name: name.to_owned(), scopes: vec![Scope::Publish, Scope::Read], expires }
}

/// Makes a key in the file.
fn create(path: &Path, new: &NewKey) -> (String, String) {
    let mut file = KeysFile::read_or_new(path).unwrap();
    let made = file.add(new, NOW).unwrap();
    file.write(path).unwrap();
    made
}

#[test]
fn a_key_is_known_by_its_secret_alone() {
    let folder = Folder::new();
    let (id, secret) = create(&folder.file(), &new("bil\"ling\\ ü", None));
    let (other, _) = create(&folder.file(), &new("bil\"ling\\ ü", None));
    assert_ne!(id, other);
    assert_eq!(secret.len(), 3 + id.len() + 1 + 43);
    let keys = ApiKeys::load(&folder.file()).unwrap();
    let key = keys.verify(&secret, NOW).unwrap();
    assert_eq!((key.id.as_str(), key.name.as_str()), (id.as_str(), "bil\"ling\\ ü"));
    assert!(key.allows(Scope::Read) && !key.allows(Scope::Manage));
    assert_eq!(key.created, NOW);
    let text = std::fs::read_to_string(folder.file()).unwrap();
    let random = secret.rsplit_once(&id).unwrap().1;
    assert!(!text.contains(random) && !format!("{keys:?}").contains("sha256"));
    for wrong in [
        "",
        "mk_",
        "mk__",
        &format!("mk_{id}"),
        &format!("mk_{id}_"),
        &secret[..secret.len() - 1],
        &format!("{secret}A"),
        &format!(" {secret}"),
        &format!("{secret}\n"),
        &secret.to_uppercase(),
        &secret.replace(&id, &other),
        &secret.replace("mk_", "mk_mk_"),
        &secret[3..],
        &"A".repeat(10_000),
        text.lines().find(|line| line.starts_with("hash")).unwrap(),
    ] {
        assert!(keys.verify(wrong, NOW).is_none(), "{wrong}");
    }
}

#[test]
fn an_expired_key_counts_no_more() {
    let folder = Folder::new();
    let (_, secret) = create(&folder.file(), &new("a", Some(Timestamp(NOW.0 + 5_000))));
    let keys = ApiKeys::load(&folder.file()).unwrap();
    assert!(keys.verify(&secret, Timestamp(NOW.0 + 4_999)).is_some());
    assert!(keys.verify(&secret, Timestamp(NOW.0 + 5_000)).is_none());
}

#[test]
fn revoking_a_key_leaves_the_rest_as_it_was_written() {
    let folder = Folder::new();
    let path = folder.file();
    std::fs::write(&path, "# Keys of the shop.\n").unwrap();
    let (first, _) = create(&path, &new("first", None));
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{text}\n# The second one is for tests.\n")).unwrap();
    let (second, secret) = create(&path, &new("second", None));
    let mut file = KeysFile::read(&path).unwrap();
    assert_eq!(file.remove(&first).unwrap().name, "first");
    assert!(matches!(file.remove(&first), Err(KeysFileError::Unknown(_))));
    file.write(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(
        text.contains("# Keys of the shop.") && text.contains("# The second one is for tests."),
        "{text}"
    );
    assert!(!text.contains(&first) && text.contains(&second));
    assert!(ApiKeys::load(&path).unwrap().verify(&secret, NOW).is_some());
    file.remove(&second).unwrap();
    assert_eq!(file.keys().count(), 0);
}

/// Text that looks like a table within a string must not be cut.
#[test]
fn a_file_that_cannot_be_cut_safely_is_left_alone() {
    let folder = Folder::new();
    let path = folder.file();
    let (id, _) = create(&path, &new("a", None));
    let text = std::fs::read_to_string(&path).unwrap();
    let inline = text.replace("[[key]]\n", "key = [{ ").replace("\n", ", ").trim_end_matches(", ").to_owned()
        + " }]\n";
    std::fs::write(&path, &inline).unwrap();
    let mut file = KeysFile::read(&path).unwrap();
    assert!(matches!(file.remove(&id), Err(KeysFileError::Entangled(_))));
    assert_eq!(file.keys().count(), 1);
}

#[test]
fn files_that_cannot_be_are_refused() {
    let folder = Folder::new();
    let hash = format!("sha256:{}", "0".repeat(64));
    let key = |id: &str, more: &str| {
        format!(
            "[[key]]\nid = \"{id}\"\nname = \"n\"\nscopes = [\"read\"]\nhash = \"{hash}\"\ncreated = \"2026-01-31T12:00:00Z\"\n{more}\n"
        )
    };
    let good = key("a", "expires = \"2027-01-31T12:00:00Z\"");
    let load = |text: &str| {
        std::fs::write(folder.file(), text).unwrap();
        ApiKeys::load(&folder.file()).map(|_keys| ()).map_err(|error| error.to_string())
    };
    assert_eq!((load(&good), load("")), (Ok(()), Ok(())));
    for (text, why) in [
        (good.repeat(2), "two keys have the id"),
        (key("a", "scope = 1"), "unknown field"),
        ("[[keys]]\n".to_owned(), "unknown field"),
        ("key = 1".to_owned(), "invalid type"),
        (good.replace("read", "write"), "unknown variant"),
        (good.replace("\"read\"", ""), "no scope"),
        (good.replace("sha256", "md5"), "hexadecimal"),
        (good.replace("000", "00g"), "hexadecimal"),
        (good.replace("000", "0"), "hexadecimal"),
        (good.replace("2026-01-31T12:00:00Z", "yesterday"), "a time is like"),
        (good.replace("2027-01-31T12:00:00Z", "2027-02-31T12:00:00Z"), "a time is like"),
        (good.replace("\"n\"", "\"\""), "a name is"),
        (good.replace("\"n\"", "\"a\\u0000b\""), "a name is"),
        (key("a_b", ""), "an id is"),
        (key("", ""), "an id is"),
        (good.replace("created", "made"), "unknown field"),
        ((0..1001).map(|id| key(&id.to_string(), "")).collect(), "more than 1000"),
        ("#".repeat(1024 * 1024 + 1), "longer than"),
    ] {
        let error = load(&text).unwrap_err();
        assert!(error.contains(why) && error.contains("keys.toml"), "{why}: {error}");
        assert!(!error.contains("000000"), "{error}");
    }
    std::fs::remove_file(folder.file()).unwrap();
    assert!(ApiKeys::load(&folder.file()).is_err());
}

#[cfg(unix)]
#[test]
fn a_new_file_is_its_owners_and_an_old_one_keeps_its_mode() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let mode = || std::fs::metadata(folder.file()).unwrap().permissions().mode() & 0o777;
    create(&folder.file(), &new("a", None));
    assert_eq!(mode(), 0o600);
    std::fs::set_permissions(folder.file(), std::fs::Permissions::from_mode(0o640)).unwrap();
    create(&folder.file(), &new("b", None));
    assert_eq!(mode(), 0o640);
    let link = folder.0.join("link.toml");
    std::os::unix::fs::symlink(folder.file(), &link).unwrap();
    create(&link, &new("c", None));
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(KeysFile::read(&folder.file()).unwrap().keys().count(), 3);
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 2);
}

#[test]
fn changes_wait_for_each_other() {
    let folder = Folder::new();
    let path = folder.file();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let _held = KeysLock::take(&path).unwrap();
                create(&path, &new("a", None))
            });
        }
    });
    assert_eq!(KeysFile::read(&path).unwrap().keys().count(), 8);
}
