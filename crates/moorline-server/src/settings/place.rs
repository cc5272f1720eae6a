//! Where a value comes from.

use std::fmt;

/// What a value's mistakes are named after, and what `config show` says beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nobody said anything.
    Default,
    /// What `moorline dev` changes by itself.
    Development,
    /// A line of the configuration file, its name as it was given.
    File {
        name: String,
        line: usize,
        /// The lines of a list's elements.
        elements: Vec<usize>,
    },
    /// A variable, by its name.
    Variable(String),
    /// An option of the command line.
    Option(&'static str),
}

impl Place {
    /// Of a list's element, as far as it is known.
    pub(super) fn element(&self, index: usize) -> Self {
        match self {
            Self::File { name, line, elements } => {
                let line = elements.get(index).copied().unwrap_or(*line);
                Self::File { name: name.clone(), line, elements: Vec::new() }
            }
            place => place.clone(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Development => f.write_str("development"),
            Self::File { name, line, .. } => write!(f, "{name}:{line}"),
            Self::Variable(name) => f.write_str(name),
            Self::Option(name) => f.write_str(name),
        }
    }
}
