//! What `moorline` does besides serving.

pub(crate) mod keys;
pub(crate) mod token;

/// How a command answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON value.
    Json,
}
