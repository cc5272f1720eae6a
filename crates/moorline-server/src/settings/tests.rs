//! Settings from files, variables and options, and what is said about those that cannot be.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use moorline::{Config, Timestamp};

use super::load::{Loaded, Sources};
use super::raw::{NAMES, Raw};
use super::{SettingsError, init, show};
use crate::app::Mode;

mod store;

/// A folder that goes with the test.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let name = format!("moorline-settings-{}", uuid::Uuid::now_v7());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in the temporary folder does no harm.
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) fn look(
    mode: Mode,
    file: Option<&Path>,
    variables: &[(&str, &str)],
) -> Result<Loaded, SettingsError> {
    let sources = Sources::new(mode, file.map(Path::to_owned));
    let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    sources.look_in(variables, Path::new("/srv"))
}

fn serving(text: &str) -> Result<Loaded, SettingsError> {
    serving_in(&Folder::new(), text)
}

fn serving_in(folder: &Folder, text: &str) -> Result<Loaded, SettingsError> {
    look(Mode::Serving, Some(&folder.file("moorline.toml", text)), &[])
}

/// What is said about a file, with its name alone.
fn mistakes(text: &str) -> String {
    let folder = Folder::new();
    let file = folder.file("moorline.toml", text);
    let error = look(Mode::Serving, Some(&file), &[]).map(|_| ()).expect_err(text).to_string();
    error.replace(&file.display().to_string(), "moorline.toml")
}

/// The table of the spec names every setting, with its default, its range where that is one of numbers, and whether a
/// reload takes it over.
#[test]
fn the_table_in_the_spec_equals_the_settings() {
    let spec = include_str!("../../../../spec/protocol.md");
    let table = spec.split("## 10. Settings").nth(1).and_then(|rest| rest.split("## 11.").next()).unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let mut theirs: Vec<(String, String, String, bool)> = rows
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let default = cells[2].split(" (").next().unwrap().trim_matches('`').to_owned();
            let range = cells[3].strip_prefix("**R** ");
            let words = range.unwrap_or(cells[3]).replace('`', "");
            (cells[1].trim_matches('`').to_owned(), default, numbers(&words), range.is_some())
        })
        .collect();
    let mut ours: Vec<(String, String, String, bool)> = Raw::rows()
        .into_iter()
        .map(|row| {
            let default = row.default.as_str().map_or_else(|| row.default.to_string(), str::to_owned);
            (row.name.to_owned(), default, numbers(&row.range), row.is_reloadable)
        })
        .collect();
    theirs.sort();
    ours.sort();
    assert_eq!(theirs, ours);
}

/// A range of numbers; other bounds are said in other words here and there.
fn numbers(words: &str) -> String {
    if words.starts_with(|c: char| c.is_ascii_digit()) && !words.contains("bytes without") {
        words.split(": ").next().unwrap_or(words).to_owned()
    } else {
        String::new()
    }
}

#[test]
fn the_defaults_are_in_their_ranges_and_are_the_librarys_but_for_rates() {
    let ours = look(Mode::Development, None, &[]).unwrap().settings.node;
    assert_eq!(format!("{ours:?}"), format!("{:?}", Config::default()));
    let serving = look(Mode::Serving, None, &[]).unwrap().settings;
    assert!(
        serving.node.limits.connection_messages.is_some() && serving.node.limits.address_messages.is_none()
    );
    assert!(serving.key_requests.is_none());
}

/// Each mistake with what must be said about it.
const MISTAKES: &[(&str, &str)] = &[
    ("[http", "moorline.toml:1:6: this is not TOML"),
    ("[http]\nlisten = = 1", "moorline.toml:2:10: this is not TOML"),
    ("[http]\nhead_max_bytes = 9000\nhead_max_bytes = 9000", "moorline.toml:3:1: this is not TOML"),
    (
        "[http]\nhead_max_bytes = 9000\nhead_max_bytes = 9000",
        "; http.head_max_bytes is set already, in line 2: keep one of the two",
    ),
    (
        "[log]\n[http]\n[log]\n[http]",
        "moorline.toml:4:2: this is not TOML: duplicate key; the table [http] exists already, in line 2",
    ),
    ("[auth]\nkey = []\n[[auth.key]]\nfile = \"x\"", "; auth.key is set already, in line 2"),
    (
        "[heartbeat]\ninterval_ms = \"5s\"",
        "is \"5s\": it may be 100 to 3600000, a number of milliseconds, without quotes",
    ),
    ("[htpp]\nlisten = 1", "there is no section htpp (moorline.toml:1); did you mean http?"),
    ("[nonsense]", "there is no section nonsense (moorline.toml:1)"),
    ("listen = 1", "there is no setting listen (moorline.toml:1); did you mean http.listen?"),
    ("http = 1", "http (moorline.toml:1) is a section"),
    ("[http]\n\nlistn = 1", "there is no setting http.listn (moorline.toml:3); did you mean http.listen?"),
    ("[heartbeat]\nlisten = 1", "did you mean http.listen?"),
    ("[http]\n\"a\\nb\" = 1", "there is no setting http.a\\nb"),
    (
        "[http]\nlisten = \"localhost\"",
        "http.listen (moorline.toml:2) is \"localhost\": it may be an address",
    ),
    ("[http]\nlisten = 8080", "is 8080: it may be an address"),
    ("[http]\norigins = \"https://a.example\"", "a list, in [ ], is meant"),
    ("[http]\norigins = [\n\"https://a.example\",\n\"a.example\"]", "http.origins[1] (moorline.toml:4)"),
    ("[http]\norigins = [3]", "http.origins[0] (moorline.toml:2) must be text"),
    (
        "[http]\ntrusted_proxies = [\"10.0.0.0/99\"]",
        "http.trusted_proxies[0] (moorline.toml:2) is \"10.0.0.0/99\"",
    ),
    ("[http]\nbody_max_bytes = 1", "http.body_max_bytes (moorline.toml:2) is 1: it may be 1024 to 67108864"),
    ("[http]\nbody_max_bytes = -1", "is -1: it may be 1024"),
    ("[http]\nbody_max_bytes = 1e6", "it may be 1024"),
    ("[http]\nbody_max_bytes = \"1 MiB\"", "is \"1 MiB\": it may be 1024"),
    ("[http]\nbody_max_bytes = 99999999999999999999", "http.body_max_bytes"),
    ("[heartbeat]\npong_timeout_ms = 99", "it may be 0, or 100 to 86400000"),
    ("[heartbeat]\nframe = \"\"", "it may be 1 to 64 bytes"),
    ("[heartbeat]\nframe = \"a\\u0007\"", "it may be 1 to 64 bytes"),
    (
        "[[auth.key]]\nalgorithm = \"HS257\"\nfile = \"x\"",
        "auth.key[0] (moorline.toml:1) cannot be: unknown variant `HS257`",
    ),
    (
        "[[auth.key]]\nalgorithm = \"HS256\"\nfile = \"x\"\n[[auth.key]]\nfile = \"x\"",
        "auth.key[1] (moorline.toml:4) cannot be: missing field `algorithm`",
    ),
    (
        "[[auth.key]]\nalgorithm = \"HS256\"\nfle = \"x\"",
        "auth.key[0] (moorline.toml:1) has no fle; did you mean file?",
    ),
    ("[[auth.key]]\nalgorithm = \"HS256\"\nfile = \"\"", "has an empty file"),
    ("[auth.key]\nalgorithm = \"HS256\"", "auth.key (moorline.toml:1): a list"),
    (
        "[auth]\nkey = [{algorithm=\"HS256\",file=\"a\",id=\"k\"},{algorithm=\"HS256\",file=\"b\",id=\"k\"}]",
        "two keys with the id \"k\"",
    ),
    ("[[auth.jwks]]\nurl = \"http://id.example/k\"\nalgorithms = [\"RS256\"]", "must begin with https://"),
    (
        "[[auth.jwks]]\nurl = \"https://ann:x@id.example/k\"\nalgorithms = [\"RS256\"]",
        "must hold no user name",
    ),
    (
        "[[auth.jwks]]\nurl = \"https://id.example/k\"\nfile = \"x\"\nalgorithms = [\"RS256\"]",
        "a url or a file",
    ),
    ("[[auth.jwks]]\nalgorithms = [\"RS256\"]", "a url or a file"),
    ("[[auth.jwks]]\nfile = \"x\"\nalgorithms = []", "has no algorithms"),
    (
        "[auth]\naudience = []",
        "auth.audience (moorline.toml:2): it has 0 elements; it may be a list of up to 16 names, at least 1",
    ),
    ("[auth]\naudience = [\"\"]", "auth.audience[0] (moorline.toml:2) must have 1 to 256 bytes"),
    ("[auth]\njoin = [\"a\", \"\"]", "auth.join[1] (moorline.toml:2) is \"\": a pattern is empty"),
    ("[auth]\ncookie = \"a b\"", "is \"a b\": it may be a cookie's name"),
    ("[auth]\nlifetime_max_ms = 59999", "it may be 60000 to 31536000000"),
    ("[keys]\nfile = 3", "text, in quotes, is meant"),
    ("[tls]\ncertificate = \"x\"", "tls.certificate (moorline.toml:2) and tls.key (default) belong together"),
    ("[limits]\nuser_messages_per_s = 1000001", "it may be 0 (off) to 1000000"),
    ("[limits]\nuser_messages_burst = 0", "it may be 1 to 1000000"),
    ("[limits]\nconnection_bytes_burst = 1024", "no less than connection.message_max_bytes (default), 65536"),
    ("[[retention.rule]]\nprefix = \"@user/\"", "retention.rule[0] (moorline.toml:1) must have a prefix"),
    ("[[retention.rule]]\nprefix = \"a\"\nrecords = 0", "has records = 0: it may be 1 to 1000000"),
    (
        "[[retention.rule]]\nprefix = \"a\"\n[[retention.rule]]\nprefix = \"a\"",
        "two rules for the prefix \"a\"",
    ),
    ("[log]\nformat = \"xml\"", "it may be text or json"),
    ("[log]\nlevel = \"loud\"", "it may be error, warn, info, debug, trace"),
];

#[test]
fn every_mistake_is_named_with_its_place_and_what_may_be() {
    for (text, said) in MISTAKES {
        let error = mistakes(text);
        assert!(error.contains(said), "{text}\nsays: {error}\nnot:  {said}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let error = mistakes("[http]\nlisten = 1\nlistn = 2\n[htpp]\n[log]\nlevel = \"x\"\nformat = \"y\"");
    assert_eq!(error.lines().count(), 5, "{error}");
    for name in ["http.listen ", "http.listn ", "htpp ", "log.level ", "log.format "] {
        assert!(error.lines().any(|line| line.contains(name)), "{name} in {error}");
    }
}

#[test]
fn a_file_that_is_none_is_told_apart() {
    let folder = Folder::new();
    let big = vec![b'#'; (1 << 20) + 1];
    for (path, said) in [
        (folder.0.join("missing.toml"), "does not exist"),
        (folder.0.clone(), "is a directory"),
        (folder.file("big.toml", big), "is larger than 1048576 bytes"),
        (folder.file("latin.toml", b"[http]\n# caf\xe9\n"), "is not UTF-8, beginning in line 2"),
    ] {
        let error = look(Mode::Serving, Some(&path), &[]).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(said) && error.contains(&path.display().to_string()), "{error}");
    }
    assert!(serving("").is_ok() && serving("\u{feff}[http]\r\nhead_max_bytes = 9000\r\n").is_ok());
}

#[test]
fn what_a_secret_may_stand_in_is_not_repeated() {
    for text in [
        "[[auth.key]]\nsecret = \"hunter2\"",
        "[auth]\nkey = \"hunter2\"",
        "[auth]\nkey = [\"hunter2\"]",
        "[[auth.jwks]]\nurl = \"http://a:hunter2@id.example/\"\nalgorithms = [\"RS256\"]",
    ] {
        assert!(!mistakes(text).contains("hunter2"), "{}", mistakes(text));
    }
    let variable = [("MOORLINE__AUTH__KEY", "hunter2")];
    assert!(!look(Mode::Serving, None, &variable).map(|_| ()).unwrap_err().to_string().contains("hunter2"));
}

#[test]
fn variables_are_settings_and_what_is_none_is_named() {
    for (name, value, said) in [
        (
            "MOORLINE__HTTP__LISTN",
            "x",
            "http.listn (MOORLINE__HTTP__LISTN); did you mean MOORLINE__HTTP__LISTEN?",
        ),
        ("MOORLINE__HTTP", "x", "http (MOORLINE__HTTP) is a section"),
        ("MOORLINE__http__listen", "x", "did you mean MOORLINE__HTTP__LISTEN?"),
        ("MOORLINE__NONSENSE", "x", "nonsense (MOORLINE__NONSENSE)"),
        ("MOORLINE__", "x", "(MOORLINE__)"),
        ("MOORLINE__AUTH__KEY__0__FILE", "x", "auth.key.0.file"),
        (
            "MOORLINE__HEARTBEAT__INTERVAL_MS",
            "",
            "heartbeat.interval_ms (MOORLINE__HEARTBEAT__INTERVAL_MS) is \"\": it may be 100",
        ),
        ("MOORLINE__HEARTBEAT__INTERVAL_MS", "0x10", "is \"0x10\": it may be 100"),
        ("MOORLINE__AUTH__KEY", "[{", "auth.key (MOORLINE__AUTH__KEY): "),
    ] {
        let error = look(Mode::Serving, None, &[(name, value)]).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(said), "{name}={value} says {error}");
    }
    for ignored in ["MOORLINE_HTTP_LISTEN", "MOORLINE_BIN", "MOORLINE", "XMOORLINE__HTTP__LISTEN"] {
        assert!(look(Mode::Serving, None, &[(ignored, "x")]).is_ok(), "{ignored}");
    }
}

#[test]
fn lists_and_tables_fit_into_variables() {
    let loaded = look(
        Mode::Serving,
        None,
        &[
            ("MOORLINE__HTTP__TRUSTED_PROXIES", "10.0.0.0/8, ::1"),
            ("MOORLINE__AUTH__AUDIENCE", r#"["a,b", "c"]"#),
            ("MOORLINE__AUTH__ISSUER", ""),
            ("MOORLINE__AUTH__KEY", r#"[{algorithm = "EdDSA", file = "keys/ed.pem", id = "1"}]"#),
            ("MOORLINE__HEARTBEAT__FRAME", "42"),
        ],
    );
    let settings = loaded.unwrap().settings;
    assert_eq!(settings.trusted_proxies.len(), 2);
    assert_eq!((settings.auth.audience.len(), settings.auth.issuer.len()), (2, 0));
    assert_eq!(settings.auth.keys[0].file, Path::new("/srv").join("keys/ed.pem"));
    assert_eq!(settings.node.heartbeat_frame, "42");
}

#[test]
fn the_later_layer_wins_and_hides_no_mistake() {
    let folder = Folder::new();
    let file = folder.file(
        "moorline.toml",
        "[session]\nrooms_max = 7\nper_user_max = 8\n[limits]\nuser_messages_per_s = 3",
    );
    let loaded = look(Mode::Development, Some(&file), &[("MOORLINE__SESSION__PER_USER_MAX", "9")]).unwrap();
    assert_eq!((loaded.settings.node.rooms_max, loaded.settings.node.users.connected), (7, 9));
    let limits = loaded.settings.node.limits;
    assert!(limits.user_messages.is_some() && limits.connection_messages.is_none());
    let place = |name| loaded.place(name).to_string();
    assert!(place("session.rooms_max").ends_with("moorline.toml:2"));
    assert_eq!(place("session.per_user_max"), "MOORLINE__SESSION__PER_USER_MAX");
    assert_eq!(place("limits.connection_messages_per_s"), "development");
    assert_eq!(place("http.listen"), "default");
    let listen = Some("127.0.0.1:1".parse().unwrap());
    let sources = Sources { listen, ..Sources::new(Mode::Serving, None) };
    let loaded = sources.look_in(std::iter::empty(), Path::new("/")).unwrap();
    assert_eq!(
        (loaded.settings.listen.port(), loaded.place("http.listen").to_string()),
        (1, "--listen".to_owned())
    );
    let hidden = folder.file("hidden.toml", "[session]\nrooms_max = 0");
    assert!(look(Mode::Serving, Some(&hidden), &[("MOORLINE__SESSION__ROOMS_MAX", "5")]).is_err());
}

/// Everything that differs from its default.
const RICH: &str = r#"
[http]
listen = "[::1]:9"
origins = ["https://app.example.com"]
trusted_proxies = ["10.0.0.0/8"]
[heartbeat]
frame = "a \"quoted\" # frame"
[auth]
key = [{ id = "k", algorithm = "HS256", file = "a b.secret" }]
jwks = [{ url = "https://id.example/jwks", algorithms = ["RS256", "EdDSA"] }, { file = "/j", algorithms = ["ES256"] }]
join = ["chat:*"]
cookie = "token"
[keys]
file = "sub/keys.toml"
[tls]
certificate = "c.pem"
key = "/etc/k.pem"
[[retention.rule]]
prefix = "log:"
age_ms = 5000
[log]
format = "json"
"#;

#[test]
fn what_is_shown_can_be_read_back() {
    let folder = Folder::new();
    let file = folder.file("moorline.toml", RICH);
    for (mode, file) in [(Mode::Serving, Some(&*file)), (Mode::Serving, None), (Mode::Development, None)] {
        let loaded = look(mode, file, &[]).unwrap();
        let shown = loaded.show();
        let other = Folder::new();
        let again = look(Mode::Serving, Some(&other.file("shown.toml", &shown)), &[]).unwrap();
        assert!(loaded.raw == again.raw, "{shown}");
        assert_eq!(shown.lines().filter(|line| line.contains(" = ")).count(), NAMES.len());
    }
    let shown = look(Mode::Serving, Some(&file), &[]).unwrap().show();
    for line in ["level = \"info\" # default", "moorline.toml:3", "prefix = \"log:\""] {
        assert!(shown.contains(line), "{line} in {shown}");
    }
}

#[test]
fn a_first_configuration_is_loaded_and_explains_everything() {
    let folder = Folder::new();
    let dir = folder.0.join("new");
    let initial = init(&dir, Timestamp(1_795_262_400_000)).unwrap();
    let loaded = look(Mode::Serving, Some(&initial.config), &[]).unwrap();
    assert_eq!(loaded.settings.keys_file.as_deref(), Some(&*dir.join("keys.toml")));
    assert_eq!(loaded.settings.auth.keys[0].file, dir.join("token.secret"));
    crate::assemble::Files::load(&loaded.settings, Mode::Serving).map(|_| ()).unwrap();
    let secret = std::fs::read_to_string(dir.join("token.secret")).unwrap();
    assert!(secret.trim_end().len() == 43 && !initial.api_key.is_empty());
    let again = init(&dir, Timestamp(0)).map(|_| ()).unwrap_err().to_string();
    assert!(again.contains("token.secret exists already"), "{again}");
    assert_eq!(secret, std::fs::read_to_string(dir.join("token.secret")).unwrap());
    // What is not set is what it is without a file.
    let plain = look(Mode::Serving, None, &[]).unwrap();
    let differing: Vec<&str> = loaded
        .raw
        .values()
        .into_iter()
        .zip(plain.raw.values())
        .filter(|(ours, theirs)| ours != theirs)
        .map(|((name, _), _)| name)
        .collect();
    // The first one because its default begins at the file's folder.
    assert_eq!(differing, ["store.directory", "auth.key", "keys.file"]);
}

/// Files with secrets are their owner's alone.
#[cfg(unix)]
#[test]
fn secrets_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    init(&folder.0, Timestamp(0)).unwrap();
    for name in ["token.secret", "keys.toml"] {
        let mode = std::fs::metadata(folder.0.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn the_documented_defaults_are_the_defaults() {
    let uncommented: String = show::documented(&[])
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') => setting,
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n");
    let folder = Folder::new();
    let loaded = serving_in(&folder, &uncommented).unwrap();
    assert!(loaded.raw == serving_in(&folder, "").unwrap().raw);
    for row in Raw::rows() {
        let is_there = uncommented.contains(&format!("\n{} = ", row.field())) || row.is_tables;
        assert!(is_there && !row.doc.is_empty(), "{}", row.name);
    }
}

#[test]
fn what_a_reload_takes_over_is_told_apart() {
    let folder = Folder::new();
    let serving = |text: &str| serving_in(&folder, text);
    let running = serving("[session]\nrooms_max = 3\n[limits]\nuser_messages_per_s = 3").unwrap();
    let new = serving(
        "[session]\nrooms_max = 4\n[limits]\nuser_messages_per_s = 4\n[http]\norigins = [\"https://a.example\"]",
    );
    let (next, change) = running.taking_over(&new.unwrap()).unwrap();
    assert_eq!(change.reloaded, ["http.origins", "limits.user_messages_per_s"]);
    assert_eq!(change.needs_restart, ["session.rooms_max"]);
    assert_eq!((next.settings.node.rooms_max, next.settings.origins.len()), (3, 1));
    // Not even a reload turns TLS on.
    let new = serving("[tls]\ncertificate = \"a\"\nkey = \"b\"").unwrap();
    let (next, change) = running.taking_over(&new).unwrap();
    assert!(next.settings.tls.is_none());
    assert!(change.needs_restart.contains(&"tls.key".to_owned()));
    // A burst that fits to the message size of the next start does not fit to the running one.
    let new =
        serving("[connection]\nmessage_max_bytes = 256\n[limits]\nconnection_bytes_burst = 1024").unwrap();
    assert!(running.taking_over(&new).is_err());
}

#[test]
fn each_mode_refuses_what_it_cannot_do() {
    let check = |mode, text: &str| {
        let folder = Folder::new();
        folder.file("x", "");
        folder.file("k", "");
        let file = Some(folder.file("moorline.toml", text));
        let loaded = Sources::new(mode, file).load();
        loaded.map(|_| ()).map_err(|error| error.to_string())
    };
    let key = "[[auth.key]]\nalgorithm = \"HS256\"\nfile = \"x\"\n";
    let keys = "[keys]\nfile = \"k\"\n";
    for (mode, text, said) in [
        (Mode::Serving, keys.to_owned(), "set auth.key or auth.jwks"),
        (Mode::Serving, key.to_owned(), "set keys.file"),
        (Mode::Serving, String::new(), "moorline config init"),
        (Mode::Development, key.to_owned(), "auth.key"),
        (
            Mode::Development,
            "[[auth.jwks]]\nurl = \"https://x.example/\"\nalgorithms = [\"RS256\"]".to_owned(),
            "auth.jwks",
        ),
        (Mode::Development, keys.to_owned(), "keys.file"),
        (Mode::Development, "[tls]\ncertificate = \"a\"\nkey = \"b\"".to_owned(), "tls.certificate"),
        (Mode::Development, "[http]\nlisten = \"0.0.0.0:1\"".to_owned(), "loopback"),
    ] {
        let error = check(mode, &text).unwrap_err();
        assert!(error.contains(said), "{text}: {error}");
    }
    assert_eq!(check(Mode::Serving, &format!("{key}{keys}[http]\nlisten = \"0.0.0.0:1\"")), Ok(()));
    assert_eq!(check(Mode::Development, "[limits]\nuser_messages_per_s = 1"), Ok(()));
}

#[test]
fn another_mistake_in_a_line_is_no_second_table() {
    let error = mistakes("[[auth.key]]\nfile = \"x\"\n[[auth.key]\nfile = \"y\"");
    assert!(error.contains("this is not TOML") && !error.contains("already"), "{error}");
}
