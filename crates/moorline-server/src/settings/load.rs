//! From where settings come: defaults, then what development changes, then the file, then the environment, then the
//! command line. The later wins.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use toml::Value;

use super::kind::{File, Kind as _};
use super::layers::{Found, Given, Layers};
use super::place::Place;
use super::raw::{HTTP_CONNECTIONS, NAMES, Raw, UNESTABLISHED};
use super::{Settings, SettingsError, check_loopback, environment, file, resolve};
use crate::app::{Mode, Reloaded};

/// Where to look. Kept while the server runs, to look again.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    pub(crate) mode: Mode,
    /// The file that `--config` names.
    pub(crate) file: Option<PathBuf>,
    /// What `--listen` says.
    pub(crate) listen: Option<SocketAddr>,
    /// What `--data` says.
    pub(crate) data: Option<String>,
}

/// Settings, and where they came from.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) settings: Settings,
    pub(super) raw: Raw,
    pub(super) places: BTreeMap<&'static str, Place>,
    /// Variables that look like settings and are none.
    pub(super) lookalikes: Vec<String>,
}

/// The settings that a file and the environment make, for commands that do not serve: what serving wants may be missing.
///
/// # Errors
/// Names every mistake, each in its own line.
pub(crate) fn load_file(file: Option<&Path>) -> Result<Settings, SettingsError> {
    Sources::new(Mode::Serving, file.map(Path::to_owned)).look().map(|loaded| loaded.settings)
}

impl Sources {
    /// A file, or none, and the environment.
    pub(crate) fn new(mode: Mode, file: Option<PathBuf>) -> Self {
        Self { mode, file, listen: None, data: None }
    }

    /// Reads everything, and checks what the mode wants.
    ///
    /// # Errors
    /// Names every mistake, each in its own line.
    pub(crate) fn load(&self) -> Result<Loaded, SettingsError> {
        let loaded = self.look()?;
        match self.mode {
            Mode::Development => loaded.check_development()?,
            Mode::Serving => loaded.check_serving(self.file.as_deref())?,
        }
        Ok(loaded)
    }

    /// Reads everything, for showing it: what the mode wants may be missing.
    ///
    /// # Errors
    /// Names every mistake, each in its own line.
    pub(crate) fn look(&self) -> Result<Loaded, SettingsError> {
        let folder = std::env::current_dir()
            .map_err(|error| SettingsError::new(format!("there is no working directory: {error}")))?;
        self.look_in(std::env::vars_os(), &folder)
    }

    pub(super) fn look_in(
        &self,
        variables: impl Iterator<Item = (OsString, OsString)>,
        folder: &Path,
    ) -> Result<Loaded, SettingsError> {
        let beside = self.file.as_deref().and_then(|file| file::absolute_folder(file).ok());
        let mut layers = Layers::new(beside.unwrap_or_else(|| folder.to_owned()));
        if self.mode == Mode::Development {
            for_development(&mut layers, folder);
        }
        if let Some(path) = &self.file {
            file::add(&mut layers, path);
        }
        let variables: Vec<_> = variables.collect();
        let lookalikes = environment::lookalikes(&variables);
        environment::add(&mut layers, variables.into_iter(), folder);
        let listen = self.listen.map(|listen| listen.to_string());
        let options = [("http.listen", "--listen", listen), ("store.directory", "--data", self.data.clone())];
        for (name, option, text) in options {
            if let Some(text) = text {
                let (given, place) = (Given::Text(text), Place::Option(option));
                layers.add(name, Found { given, place, folder: folder.to_owned() });
            }
        }
        let raw = Raw::read(&mut layers);
        if layers.mistakes.is_empty() {
            let places = &layers.places;
            let place = |name: &str| places.get(name).cloned().unwrap_or(Place::Default);
            layers.mistakes = resolve::mistakes(&raw, place);
        }
        if !layers.mistakes.is_empty() {
            return Err(SettingsError::new(layers.mistakes.join("\n")));
        }
        let settings = resolve::resolve(raw.clone())?;
        Ok(Loaded { settings, raw, places: layers.places, lookalikes })
    }
}

/// In development one machine plays all clients, and nothing is left behind.
fn for_development(layers: &mut Layers, folder: &Path) {
    let mut add = |name, value: Value| {
        let found =
            Found { given: Given::Value(value), place: Place::Development, folder: folder.to_owned() };
        layers.add(name, found);
    };
    for name in NAMES.iter().filter(|name| name.ends_with("_per_s")) {
        add(name, 0_u64.write());
    }
    add("limits.address_unestablished_max", UNESTABLISHED.write());
    add("limits.address_http_connections_max", HTTP_CONNECTIONS.write());
    add("store.directory", File::default().write());
}

impl Loaded {
    pub(super) fn place(&self, name: &str) -> &Place {
        self.places.get(name).unwrap_or(&Place::Default)
    }

    /// A setting's name and where its value comes from: what a message about it begins with.
    pub(crate) fn named(&self, name: &str) -> String {
        format!("{name} ({})", self.place(name))
    }

    fn check_development(&self) -> Result<(), SettingsError> {
        check_loopback(self.settings.listen)?;
        let (auth, settings) = (&self.settings.auth, &self.settings);
        let refused = [
            ("auth.key", !auth.keys.is_empty()),
            ("auth.jwks", !auth.jwks.is_empty()),
            ("keys.file", settings.keys_file.is_some()),
            ("tls.certificate", settings.tls.is_some()),
            ("tls.key", settings.tls.is_some()),
        ];
        let mistakes: Vec<String> = refused
            .into_iter()
            .filter(|(_, is_given)| *is_given)
            .map(|(name, _)| {
                let why = "development checks neither tokens nor keys: remove it, or run `moorline serve`";
                format!("{name} ({}) does nothing here: {why}", self.place(name))
            })
            .collect();
        all_right(&mistakes)
    }

    fn check_serving(&self, file: Option<&Path>) -> Result<(), SettingsError> {
        let mut mistakes = self.missing_files();
        let auth = &self.settings.auth;
        let how = match file {
            Some(_) => "run `moorline config init` for a configuration that has one",
            None => "name a configuration that has one with --config FILE; `moorline config init` writes one",
        };
        if auth.keys.is_empty() && auth.jwks.is_empty() {
            mistakes.push(format!("nobody's tokens would be accepted: set auth.key or auth.jwks; {how}"));
        }
        if self.settings.keys_file.is_none() {
            mistakes.push(format!("no backend could publish: set keys.file to a file of API keys; {how}"));
        }
        all_right(&mistakes)
    }

    /// What these become when `new` is taken over while the server runs, and what is different.
    ///
    /// # Errors
    /// Where what can be taken over does not fit to what cannot.
    pub(crate) fn taking_over(&self, new: &Self) -> Result<(Self, Reloaded), SettingsError> {
        let reloadable = Raw::rows().into_iter().filter(|row| row.is_reloadable).map(|row| row.name);
        let reloadable: Vec<&str> = reloadable.collect();
        // TLS is on or off for the whole run: the listener is one or the other.
        let same_tls = self.settings.tls.is_some() == new.settings.tls.is_some();
        let (mut next, mut change) = (self.clone(), Reloaded::default());
        next.raw.take_over(&new.raw, &mut |name| {
            let take = reloadable.contains(&name) && (same_tls || !name.starts_with("tls."));
            let list = if take { &mut change.reloaded } else { &mut change.needs_restart };
            list.push(name.to_owned());
            take
        });
        next.places.clone_from(&new.places);
        next.lookalikes.clone_from(&new.lookalikes);
        all_right(&resolve::mistakes(&next.raw, |name| next.place(name).clone()))?;
        next.settings = resolve::resolve(next.raw.clone())?;
        Ok((next, change))
    }
}

fn all_right(mistakes: &[String]) -> Result<(), SettingsError> {
    if mistakes.is_empty() { Ok(()) } else { Err(SettingsError::new(mistakes.join("\n"))) }
}
