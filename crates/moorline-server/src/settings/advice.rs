//! What is said about settings that can be, and files that are not there.

use std::io::ErrorKind;
use std::path::Path;

use super::load::Loaded;
use super::{Algorithm, Settings};

impl Settings {
    /// Whether other machines can reach the server, and nothing encrypts connections here.
    pub(crate) fn is_open_and_plain(&self) -> bool {
        !self.listen.ip().is_loopback() && self.tls.is_none()
    }
}

impl Loaded {
    /// What may be meant otherwise. Nothing of it keeps a server from running.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let reach = self.settings.is_open_and_plain().then(|| {
            let listen = self.said("http.listen", self.raw.http.listen);
            format!(
                "{listen}: other machines can reach that, and connections are not encrypted here; let a proxy in front do \
                 that and listen on 127.0.0.1, or set tls.certificate and tls.key"
            )
        });
        let (interval, idle) = (self.raw.heartbeat.interval_ms, self.raw.heartbeat.idle_timeout_ms);
        let idle = (interval >= idle).then(|| {
            format!(
                "{} is not above {}: a client that is silent for {idle} ms is pinged once more then, and closed only where \
                 it does not answer; mostly the timeout is several intervals",
                self.said("heartbeat.idle_timeout_ms", idle),
                self.said("heartbeat.interval_ms", interval),
            )
        });
        let memory = self.settings.store.directory.is_none().then(|| {
            let place = self.place("store.directory");
            format!("store.directory ({place}) is empty: messages and sessions end with the process")
        });
        reach.into_iter().chain(idle).chain(memory).chain(self.lookalikes.iter().cloned()).collect()
    }

    fn said(&self, name: &str, value: impl std::fmt::Display) -> String {
        format!("{name} = {value} ({})", self.place(name))
    }

    /// Files with keys that are not there: each with its setting, and what makes one.
    pub(super) fn missing_files(&self) -> Vec<String> {
        let place = self.place("auth.key");
        let signing = self.settings.auth.keys.iter().enumerate();
        let signing = signing.filter(|(_, key)| is_missing(&key.file)).map(|(index, key)| {
            let (at, file) = (place.element(index), key.file.display());
            format!("auth.key[{index}] ({at}): {file} does not exist: {}", maker(key.algorithm))
        });
        let keys = self.settings.keys_file.iter().filter(|file| is_missing(file)).map(|file| {
            let (at, file) = (self.place("keys.file"), file.display());
            format!(
                "keys.file ({at}): {file} does not exist: `moorline keys create --file {file} --name NAME --scope SCOPE` \
                 makes it, and `moorline config init` one beside a configuration"
            )
        });
        signing.chain(keys).collect()
    }
}

/// Whatever else is wrong with a file, reading it tells.
fn is_missing(file: &Path) -> bool {
    file.metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

const fn maker(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
            "`moorline config init` makes a secret beside a configuration, as does `openssl rand -hex 64`"
        }
        Algorithm::RS256 | Algorithm::ES256 | Algorithm::EdDSA => {
            "put the PEM key of whoever signs the tokens there"
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::app::Mode;
    use crate::settings::Sources;
    use crate::settings::tests::{Folder, look};

    #[test]
    fn files_that_are_not_there_are_named_with_their_setting_and_what_makes_them() {
        let folder = Folder::new();
        let text = "[auth]\nkey = [\n{ algorithm = \"HS256\", file = \"there\" },\n{ algorithm = \"HS256\", file = \"x\" }]\n";
        folder.file("there", "");
        let file = folder.file("moorline.toml", format!("{text}[keys]\nfile = \"k\""));
        let error = Sources::new(Mode::Serving, Some(file)).load().map(|_| ()).unwrap_err();
        let said: Vec<String> = error.to_string().lines().map(str::to_owned).collect();
        let missing = |name: &str| format!("{} does not exist: ", folder.0.join(name).display());
        assert_eq!(said.len(), 2, "{error}");
        assert!(said[0].contains("moorline.toml:4): ") && said[0].contains(&missing("x")), "{error}");
        assert!(said[1].contains("moorline.toml:6): ") && said[1].contains(&missing("k")), "{error}");
        assert!(said[0].contains("moorline config init") && said[1].contains("moorline keys create --file "));
    }

    #[test]
    fn what_may_be_meant_otherwise_is_warned_of() {
        let warnings = |text: &str, variables: &[(&str, &str)]| {
            let folder = Folder::new();
            look(Mode::Serving, Some(&folder.file("moorline.toml", text)), variables).unwrap().warnings()
        };
        assert_eq!(
            warnings("", &[("MOORLINE_PORT", "tcp://10.0.0.1:80"), ("MOORLINE__DRAIN__SPREAD_MS", "7")])
                .len(),
            0
        );
        let tls = "[tls]\ncertificate = \"c\"\nkey = \"k\"";
        assert_eq!(warnings(&format!("[http]\nlisten = \"0.0.0.0:1\"\n{tls}"), &[]).len(), 0);
        for (text, variables, said) in [
            ("[http]\nlisten = \"0.0.0.0:1\"", &[][..], "moorline.toml:2): other machines can reach that"),
            (
                "[heartbeat]\nidle_timeout_ms = 30000",
                &[],
                "is not above heartbeat.interval_ms = 30000 (default)",
            ),
            (
                "",
                &[("MOORLINE_HEARTBEAT_INTERVAL_MS", "5")],
                "nothing: MOORLINE__HEARTBEAT__INTERVAL_MS is one",
            ),
            ("", &[("MOORLINE_HTTP__LISTEN", "x")], "MOORLINE__HTTP__LISTEN is one"),
            ("[store]\ndirectory = \"\"", &[], "moorline.toml:2) is empty: messages and sessions end"),
        ] {
            let warned = warnings(text, variables);
            assert!(warned.len() == 1 && warned[0].contains(said), "{text}: {warned:?}");
        }
    }
}
