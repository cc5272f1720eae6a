//! The only place that names backends: what a command runs on.

use moorline::{Config, Node, StartError};

/// A node for development: everything in memory.
pub(crate) fn dev(config: Config) -> Result<Node, StartError> {
    Node::in_memory(config)
}
