//! Where relative paths begin, and the store's directory above all.

use super::*;

#[test]
fn paths_begin_at_the_files_folder() {
    let folder = Folder::new();
    let settings = look(Mode::Serving, Some(&folder.file("moorline.toml", RICH)), &[]).unwrap().settings;
    assert_eq!(settings.keys_file.unwrap(), folder.0.join("sub/keys.toml"));
    assert_eq!(settings.auth.keys[0].file, folder.0.join("a b.secret"));
    let tls = settings.tls.unwrap();
    assert_eq!((tls.certificate, tls.key), (folder.0.join("c.pem"), PathBuf::from("/etc/k.pem")));
}

/// The store's directory, and where it was found.
fn directory(sources: &Sources, variables: &[(&str, &str)]) -> (Option<PathBuf>, String) {
    let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let loaded = sources.look_in(variables, Path::new("/srv")).unwrap();
    let place = loaded.place("store.directory").to_string();
    (loaded.settings.store.directory, place)
}

#[test]
fn what_is_kept_is_on_disk_and_in_development_in_memory() {
    let (serving, development) = (Sources::new(Mode::Serving, None), Sources::new(Mode::Development, None));
    let default = (Some(PathBuf::from("/srv/moorline-data")), "default".to_owned());
    assert_eq!(directory(&serving, &[]), default);
    assert_eq!(directory(&development, &[]), (None, "development".to_owned()));
    let (name, nowhere) = ("MOORLINE__STORE__DIRECTORY", [("MOORLINE__STORE__DIRECTORY", "")]);
    assert_eq!(directory(&serving, &nowhere), (None, name.to_owned()));
    let settings = look(Mode::Serving, None, &[]).unwrap().settings;
    assert_eq!(settings.store.commit_every, std::time::Duration::from_millis(2));
    assert!(mistakes("[store]\ncommit_every_ms = 1001").contains("it may be 0 to 1000, a number of"));
}

#[test]
fn the_stores_directory_begins_where_it_was_named() {
    let folder = Folder::new();
    let file = |text: &str| Some(folder.file("moorline.toml", text));
    let plain = Sources::new(Mode::Serving, file(""));
    assert_eq!(directory(&plain, &[]).0.unwrap(), folder.0.join("moorline-data"));
    let here = [("MOORLINE__STORE__DIRECTORY", "here")];
    for mode in [Mode::Serving, Mode::Development] {
        let named = Sources::new(mode, file("[store]\ndirectory = \"sub/data\""));
        let (path, place) = directory(&named, &[]);
        assert_eq!(path.unwrap(), folder.0.join("sub/data"));
        assert!(place.ends_with("moorline.toml:2"), "{place}");
        assert_eq!(directory(&named, &here), (Some(PathBuf::from("/srv/here")), here[0].0.to_owned()));
        let told = Sources { data: Some("option".to_owned()), ..named };
        assert_eq!(directory(&told, &here), (Some(PathBuf::from("/srv/option")), "--data".to_owned()));
    }
}
