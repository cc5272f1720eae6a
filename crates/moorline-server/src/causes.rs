//! Errors as people read them.

use std::error::Error;

/// An error and what caused it, in one line. A cause that the error before it ends with is not said again.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.map(ToString::to_string).fold(error.to_string(), |said, cause| {
        if said.ends_with(&cause) { said } else { format!("{said}: {cause}") }
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("closing: {0}")]
    struct Telling(#[source] Silent);

    #[derive(Debug, thiserror::Error)]
    #[error("writing")]
    struct Silent(#[source] io::Error);

    #[test]
    fn each_cause_is_said_once() {
        let error = Telling(Silent(io::Error::other("no space")));
        assert_eq!(causes(&error), "closing: writing: no space");
    }
}
