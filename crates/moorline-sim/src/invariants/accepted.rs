//! Text that a producer was told to be accepted is never lost.

/// What is wrong with a stream that ends with so much text, of which that much was answered to be there.
#[must_use]
pub fn text(shown: usize, accepted: usize) -> Option<String> {
    (shown < accepted).then(|| format!("it ends with {shown} of text, and {accepted} were accepted"))
}

/// What is wrong with telling a producer that so much is there.
#[must_use]
pub fn told(at: usize, accepted: usize) -> Option<String> {
    (at < accepted).then(|| format!("its producer is told that {at} are there, and {accepted} were accepted"))
}
