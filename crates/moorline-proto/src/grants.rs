//! What a token allows (spec/protocol.md, section 11).

use crate::id::{RoomName, SessionId, UserId};

/// What stands in a pattern for the token's user.
const USER: &str = "{user}";

/// A name, or many: `*` stands for any run of characters, `{user}` for the token's user, and nothing else is special.
///
/// ```
/// use moorline_proto::grants::Pattern;
/// use moorline_proto::id::UserId;
///
/// let ann = UserId::new("ann")?;
/// let pattern = Pattern::new("chat:{user}:*")?;
/// assert!(pattern.matches("chat:ann:7", Some(&ann)));
/// assert!(!pattern.matches("chat:bob:7", Some(&ann)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern(Box<str>);

/// Why a pattern was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It has no characters.
    #[error("is empty")]
    Empty,
    /// It is longer than a room's name may be.
    #[error("is longer than {} bytes", RoomName::MAX_BYTES)]
    TooLong,
    /// It has too many stars: each costs a search.
    #[error("has more than {} stars", Pattern::STARS_MAX)]
    TooManyStars,
    /// It holds a control character, which no name does.
    #[error("holds a control character")]
    Control,
}

impl std::fmt::Debug for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Pattern {
    /// How many stars one may have.
    pub const STARS_MAX: usize = 8;

    /// Checks a pattern.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > RoomName::MAX_BYTES {
            return Err(PatternError::TooLong);
        }
        if text.bytes().filter(|byte| *byte == b'*').count() > Self::STARS_MAX {
            return Err(PatternError::TooManyStars);
        }
        if text.chars().any(char::is_control) {
            return Err(PatternError::Control);
        }
        Ok(Self(text.into()))
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it can mean other names than the one that it looks like.
    #[must_use]
    pub fn is_many(&self) -> bool {
        self.0.contains('*') || self.0.contains(USER)
    }

    /// Whether the whole of `name` is meant. A pattern with `{user}` matches nothing where there is no user.
    #[must_use]
    pub fn matches(&self, name: &str, user: Option<&UserId>) -> bool {
        if name.starts_with('@') != self.0.starts_with('@') {
            return false;
        }
        let Some(user) = user else { return !self.0.contains(USER) && run(&self.0, name, "") };
        run(&self.0, name, user.as_str())
    }
}

/// Matches the parts between stars: the first at the beginning, the last at the end, the others wherever they come first.
fn run(pattern: &str, name: &str, user: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| strip(name, first, user)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some((_, behind)) = find(rest, part, user) else { return false };
        rest = behind;
    }
    let last = last.replace(USER, user);
    rest.ends_with(&last)
}

/// `text` behind `part`, with which it begins.
fn strip<'a>(text: &'a str, part: &str, user: &str) -> Option<&'a str> {
    let mut rest = text;
    for (index, literal) in part.split(USER).enumerate() {
        rest = if index > 0 { rest.strip_prefix(user)? } else { rest };
        rest = rest.strip_prefix(literal)?;
    }
    Some(rest)
}

/// Where `part` comes first in `text`, and what is behind it.
fn find<'a>(text: &'a str, part: &str, user: &str) -> Option<(usize, &'a str)> {
    let literal = part.replace(USER, user);
    let at = text.find(&literal)?;
    Some((at, &text[at + literal.len()..]))
}

/// Which names are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// Every one.
    All,
    /// Those that one of these matches.
    Matching(Vec<Pattern>),
}

impl Names {
    /// How many patterns one list may have.
    pub const PATTERNS_MAX: usize = 64;

    /// No name.
    pub const NONE: Self = Self::Matching(Vec::new());

    /// Whether `name` is one of them.
    #[must_use]
    pub fn include(&self, name: &str, user: Option<&UserId>) -> bool {
        match self {
            Self::All => true,
            Self::Matching(patterns) => patterns.iter().any(|pattern| pattern.matches(name, user)),
        }
    }
}

/// What its token allows a session to do by itself. What the application does to it needs no grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grants {
    /// Rooms that it may join, its URL's included. Its own rooms need no grant.
    pub join: Names,
    /// Rooms that it may publish to, own ones included: `@user/…`, `@session/…`, `@all`.
    pub publish: Names,
    /// Session ids that it may choose where they are free.
    pub session: Names,
}

impl Grants {
    /// Everything, but to choose a session id: an id is not a secret, so whoever chooses one could wait for its owner.
    pub const ALL: Self = Self { join: Names::All, publish: Names::All, session: Names::NONE };

    /// Nothing.
    pub const NONE: Self = Self { join: Names::NONE, publish: Names::NONE, session: Names::NONE };

    /// Whether the session may join that room.
    #[must_use]
    pub fn may_join(&self, room: &RoomName, user: Option<&UserId>) -> bool {
        self.join.include(room.as_str(), user)
    }

    /// Whether the session may publish to that room.
    #[must_use]
    pub fn may_publish(&self, room: &RoomName, user: Option<&UserId>) -> bool {
        self.publish.include(room.as_str(), user)
    }

    /// Whether the session may have that id.
    #[must_use]
    pub fn may_choose(&self, session: &SessionId, user: Option<&UserId>) -> bool {
        self.session.include(session.as_str(), user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        let ann = UserId::new("ann").unwrap();
        for (pattern, name, matches) in [
            ("chat:1", "chat:1", true),
            ("chat:1", "chat:12", false),
            ("chat:*", "chat:", true),
            ("chat:*", "chat:a/b:c", true),
            ("chat:*", "chats", false),
            ("*", "anything", true),
            ("*", "@all", false),
            ("@*", "@all", true),
            ("@*", "all", false),
            ("@user/*", "@user/bob", true),
            ("@user/*", "@session/bob", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("*ab", "aab", true),
            ("ab*ba", "aba", false),
            ("{user}", "ann", true),
            ("u:{user}:*", "u:ann:x", true),
            ("u:{user}:*", "u:anna:x", false),
            ("*:{user}:*", "u:ann:x", true),
            ("*:{user}", "u:ann", true),
            ("*:{user}", "u:anna", false),
            ("{user}{user}", "annann", true),
            ("?", "x", false),
            ("[a]", "a", false),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap().matches(name, Some(&ann)), matches, "{pattern} {name}");
        }
    }

    #[test]
    fn a_users_own_name_is_never_a_pattern() {
        let star = UserId::new("*").unwrap();
        let nested = UserId::new("{user}").unwrap();
        let pattern = Pattern::new("u:{user}:*").unwrap();
        assert!(!pattern.matches("u:bob:1", Some(&star)));
        assert!(pattern.matches("u:*:1", Some(&star)));
        assert!(pattern.matches("u:{user}:1", Some(&nested)));
        assert!(!pattern.matches("u::1", None));
        assert!(!pattern.matches("u:{user}:1", None));
    }

    #[test]
    fn patterns_are_bounded() {
        let stars = "*".repeat(Pattern::STARS_MAX + 1);
        for (text, why) in [
            ("", PatternError::Empty),
            ("a\nb", PatternError::Control),
            (stars.as_str(), PatternError::TooManyStars),
            (&"x".repeat(256), PatternError::TooLong),
        ] {
            assert_eq!(Pattern::new(text), Err(why));
        }
    }

    /// The same as the obvious recursive matcher, on every short pattern and name.
    #[test]
    fn matching_equals_the_obvious_way() {
        fn obvious(pattern: &[u8], name: &[u8]) -> bool {
            match pattern {
                [] => name.is_empty(),
                [b'*', rest @ ..] => (0..=name.len()).any(|skip| obvious(rest, &name[skip..])),
                [first, rest @ ..] => name.first() == Some(first) && obvious(rest, &name[1..]),
            }
        }
        let words = |letters: &[u8], max: u32| -> Vec<String> {
            (1..=max)
                .flat_map(|length| (0..letters.len().pow(length)).map(move |number| (length, number)))
                .map(|(length, number)| {
                    (0..length)
                        .map(|place| letters[number / letters.len().pow(place) % letters.len()] as char)
                        .collect()
                })
                .collect()
        };
        for pattern in words(b"ab*", 5) {
            for name in words(b"ab", 5) {
                let ours = Pattern::new(&pattern).unwrap().matches(&name, None);
                assert_eq!(ours, obvious(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
            }
        }
    }
}
