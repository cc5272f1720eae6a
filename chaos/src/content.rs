//! The messages that are published: what each says follows from its key, so that a receiver knows a whole one.

use std::fmt::{self, Write as _};

/// Names one message of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    /// Who published it.
    pub(crate) publisher: u32,
    /// Its place among that publisher's messages.
    pub(crate) number: u32,
}

/// Publishers from this number on publish large messages, until [`BULK_END`].
pub(crate) const BULK: u32 = 500;
/// See [`BULK`].
pub(crate) const BULK_END: u32 = 600;

/// The publisher of the last message of each room, after which a member has everything.
pub(crate) const LAST: u32 = 0;

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.publisher, self.number)
    }
}

impl Key {
    fn parse(text: &str) -> Option<Self> {
        let (publisher, number) = text.split_once('.')?;
        Some(Self { publisher: publisher.parse().ok()?, number: number.parse().ok()? })
    }

    /// The message as JSON text.
    pub(crate) fn text(self) -> String {
        let mixed =
            (u64::from(self.publisher) << 32 | u64::from(self.number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // A few are larger than a segment of TCP.
        let words = match self.publisher {
            BULK..BULK_END => 4_000,
            _ if mixed.is_multiple_of(61) => 400,
            _ => mixed % 8,
        };
        let mut text = format!(r#"{{"type":"chaos","key":"{self}","pad":""#);
        for word in 0..words {
            // Writing to a string cannot fail.
            let _done = write!(text, "{:08x}", (mixed >> 32) ^ word);
        }
        text.push_str("\"}");
        text
    }
}

/// What stands in a stream from one place to another; places are counted in code points, of which some have several bytes.
pub(crate) fn letters(stream: &str, from: usize, to: usize) -> String {
    const LETTERS: [char; 16] =
        ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'k', ' ', '"', 'é', '漢', '😀', '\n'];
    let name = stream.bytes().fold(7, |sum: usize, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let letter = |at: usize| {
        let mixed = (at ^ name).wrapping_mul(0x9e37_79b9);
        LETTERS[(mixed >> 12 ^ mixed >> 5) % LETTERS.len()]
    };
    (from..to).map(letter).collect()
}

/// What a received envelope says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// One of ours, whole.
    Whole(Key),
    /// Something else: its beginning.
    Torn(String),
}

impl Content {
    /// Reads an envelope: the message as it was published, and what the server adds at its end.
    pub(crate) fn read(envelope: &str, key: Option<&str>) -> Self {
        let whole = key.and_then(Key::parse).filter(|key| {
            let text = key.text();
            envelope.strip_prefix(&text[..text.len() - 1]).is_some_and(|rest| rest.starts_with(','))
        });
        whole.map_or_else(|| Self::Torn(envelope.chars().take(200).collect()), Self::Whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_message_is_told_from_a_torn_one() {
        for number in 0..200 {
            let key = Key { publisher: 3, number };
            let text = key.text();
            let envelope = format!("{},\"room\":\"r\"}}", &text[..text.len() - 1]);
            assert_eq!(Content::read(&envelope, Some(&key.to_string())), Content::Whole(key));
            let torn = envelope.replacen("pad\":\"", "pad\":\"!", 1);
            assert!(matches!(Content::read(&torn, Some(&key.to_string())), Content::Torn(_)));
            assert!(matches!(Content::read(&envelope, None), Content::Torn(_)));
        }
    }
}
