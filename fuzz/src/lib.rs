//! Fuzz targets: what may be fed with anybody's bytes. Each is a function that panics where a promise is broken.
//!
//! `cargo xtask fuzz` runs them under libFuzzer, guided by coverage. The tests run what is kept in `corpus/`, everywhere and
//! without libFuzzer.

mod client;
mod codec;
mod decoder;
#[path = "../../crates/moorline-ws/tests/common/mod.rs"]
mod driver;
mod handshake;
mod rows;
mod store;
mod tokens;

use std::panic::PanicHookInfo;

/// Something that is fuzzed.
#[derive(Clone, Copy)]
pub struct Target {
    /// As the command line and the folder of its corpus call it.
    pub name: &'static str,
    /// Takes any bytes.
    ///
    /// # Panics
    /// A promise is broken.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: [Target; 7] = [
    Target { name: "decoder", run: decoder::run },
    Target { name: "handshake", run: handshake::run },
    Target { name: "codec", run: codec::run },
    Target { name: "client", run: client::run },
    Target { name: "tokens", run: tokens::run },
    Target { name: "rows", run: rows::run },
    Target { name: "store", run: store::run },
];

/// The target of that name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}

/// Prints a panic, unless it is one of the store's engine over a damaged file: the store catches those, and says so in its error.
pub fn tell_panic(info: &PanicHookInfo<'_>) {
    let is_engine = info.location().is_some_and(|place| place.file().contains("/redb-"));
    if !is_engine {
        eprintln!("{info}\n{}", std::backtrace::Backtrace::capture());
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Runs what is kept of one target.
    fn replay(name: &str) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        let target = target(name).expect("a target");
        let mut ran = 0;
        for entry in folder.read_dir().expect("a corpus") {
            let path = entry.expect("an entry").path();
            let bytes = std::fs::read(&path).expect("an input");
            println!("{}", path.display()); // shown where the test fails
            (target.run)(&bytes);
            ran += 1;
        }
        assert!(ran > 0, "the corpus of {name} is empty");
    }

    #[test]
    fn every_target_has_a_corpus_and_every_corpus_a_target() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
        let names = folder.read_dir().expect("corpora").map(|entry| entry.expect("an entry").file_name());
        let mut corpora: Vec<String> = names.map(|name| name.into_string().expect("a name")).collect();
        let mut targets: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        corpora.sort_unstable();
        targets.sort_unstable();
        assert_eq!(corpora, targets);
    }

    #[test]
    fn corpus_of_decoder() {
        replay("decoder");
    }

    #[test]
    fn corpus_of_handshake() {
        replay("handshake");
    }

    #[test]
    fn corpus_of_codec() {
        replay("codec");
    }

    #[test]
    fn corpus_of_client() {
        replay("client");
    }

    #[test]
    fn corpus_of_tokens() {
        replay("tokens");
    }

    #[test]
    fn corpus_of_rows() {
        replay("rows");
    }

    #[test]
    fn corpus_of_store() {
        replay("store");
    }
}
