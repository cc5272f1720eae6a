//! `moorline keys` and `moorline token`, as they are typed.
#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

struct Folder(PathBuf);

impl Folder {
    /// With settings of one secret and a file of keys.
    fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let settings =
            "[[auth.key]]\nalgorithm = \"HS256\"\nfile = \"secret\"\n[keys]\nfile = \"keys.toml\"\n";
        std::fs::write(path.join("moorline.toml"), settings).unwrap();
        std::fs::write(path.join("secret"), "s".repeat(32)).unwrap();
        Self(path)
    }

    /// Runs a command there: its exit code, its output, its complaints.
    fn run(&self, arguments: &str, input: &str) -> (i32, String, String) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_moorline"))
            .args(arguments.split_whitespace())
            .current_dir(&self.0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that does not read its input has closed it.
        let _unread = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn json(&self, arguments: &str) -> Value {
        let (code, output, errors) = self.run(arguments, "");
        assert_eq!(code, 0, "{arguments}: {errors}");
        serde_json::from_str(&output).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn a_key_is_created_listed_and_revoked() {
    let folder = Folder::new("keys");
    let (code, secret, hint) =
        folder.run("keys create --name shop --scope publish --scope read --config moorline.toml", "");
    assert_eq!(code, 0, "{hint}");
    let id = secret.strip_prefix("mk_").unwrap().split('_').next().unwrap();
    assert!(hint.contains(id) && hint.contains("SIGHUP") && !hint.contains(secret.trim()));
    let made = folder.json("keys create --name shop --scope metrics --expires 90d --file keys.toml -o json");
    assert!(made["secret"].as_str().unwrap().len() == secret.trim().len() && made["expires"].is_string());
    let list = folder.json("keys list --config moorline.toml -o json");
    assert_eq!(list[0]["id"], id);
    assert_eq!(list[0]["scopes"], serde_json::json!(["publish", "read"]));
    assert_eq!(list[1]["id"], made["id"]);
    assert_eq!(folder.run(&format!("keys revoke {id} --config moorline.toml"), "").0, 0);
    let (code, _, errors) = folder.run(&format!("keys revoke {id} --config moorline.toml"), "");
    assert_eq!(code, 1);
    assert!(errors.contains("no key has the id"), "{errors}");
    let (_, list, _) = folder.run("keys list --file keys.toml", "");
    assert!(list.contains("metrics") && !list.contains(id) && list.lines().count() == 1, "{list}");
}

#[test]
fn a_token_is_made_and_looked_into() {
    let folder = Folder::new("tokens");
    let create = "token create --user ann --join chat:* --session s* --ttl 5m --config moorline.toml";
    let (code, token, errors) = folder.run(create, "");
    assert_eq!(code, 0, "{errors}");
    let (code, shown, _) = folder.run("token inspect --config moorline.toml -o json", &token);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((code, &shown["accepted"], &shown["claims"]["sub"]), (0, &true.into(), &"ann".into()));
    assert_eq!(shown["claims"]["moorline"], serde_json::json!({"join": ["chat:*"], "session": ["s*"]}));
    let made = folder.json(&format!("{create} -o json"));
    assert_eq!((&made["user"], made["token_id"].is_string()), (&"ann".into(), true));
    std::fs::write(folder.0.join("secret"), "x".repeat(32)).unwrap();
    let (code, shown, errors) =
        folder.run(&format!("token inspect {} --config moorline.toml", token.trim()), "");
    assert_eq!(code, 1);
    assert!(shown.contains("not accepted: the token's signature is wrong"), "{shown}");
    assert!(errors.contains("would not be accepted"), "{errors}");
    let (code, shown, _) = folder.run("token inspect -", &token);
    assert!(code == 0 && shown.contains("not checked"), "{shown}");
}

#[test]
fn mistakes_have_their_exit_codes() {
    let folder = Folder::new("mistakes");
    for (arguments, code) in [
        ("keys create --name shop --config moorline.toml", 2),
        ("keys create --name shop --scope all --config moorline.toml", 2),
        ("keys create --name shop --scope read --expires soon --config moorline.toml", 2),
        ("keys create --name shop --scope read --expires 9000y --config moorline.toml", 2),
        ("keys create --name shop --scope read", 2),
        ("keys list --config missing.toml", 2),
        ("keys list --file missing.toml", 1),
        ("token create --user ann --ttl 2d --config moorline.toml", 2),
        ("token create --user ann --join ********* --config moorline.toml", 2),
        ("token create --config moorline.toml", 2),
        ("token create --user ann", 2),
        ("token inspect nonsense", 1),
    ] {
        let (is, output, errors) = folder.run(arguments, "");
        assert_eq!(is, code, "{arguments}: {output} {errors}");
        assert!(!errors.is_empty(), "{arguments}");
    }
}
