//! Names: of sessions, users, rooms and publishes. All are checked once, where they enter, and cheap to clone: one word, since
//! every session, mark and table holds some.

use std::fmt;

use arcstr::ArcStr;

/// Why a name was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It has no characters.
    #[error("is empty")]
    Empty,
    /// It is longer than its kind allows, in bytes of UTF-8.
    #[error("is longer than {0} bytes")]
    TooLong(usize),
    /// It holds a control character.
    #[error("holds a control character")]
    Control,
    /// A room name that begins with `@`: those are the server's own.
    #[error("begins with '@', which is reserved")]
    Reserved,
}

fn check(text: &str, max_bytes: usize) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > max_bytes {
        return Err(NameError::TooLong(max_bytes));
    }
    if text.chars().any(char::is_control) {
        return Err(NameError::Control);
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(ArcStr);

        impl $name {
            /// The longest there may be, in bytes of UTF-8.
            pub const MAX_BYTES: usize = $max;

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        name!($(#[$doc])* $name, 128);

        impl $name {
            /// Checks an id: 1 to 128 bytes without control characters.
            ///
            /// # Errors
            /// Says what is wrong with it.
            pub fn new(text: &str) -> Result<Self, NameError> {
                check(text, Self::MAX_BYTES)?;
                Ok(Self(text.into()))
            }
        }
    };
}

id! {
    /// Names a session: the peer that survives reconnects (requirement R1).
    SessionId
}
id! {
    /// Names a user, whom any number of sessions may belong to.
    UserId
}
id! {
    /// Names a publish within its sender and room, so that repeating it does no harm.
    PublishId
}
name! {
    /// Names a stream within its room: 1 to 255 bytes without control characters, no `@` first.
    StreamName, 255
}

impl StreamName {
    /// Checks a name, by the rules of room names.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn new(text: &str) -> Result<Self, NameError> {
        RoomName::new(text).map(|RoomName(name)| Self(name))
    }
}

name! {
    /// Names a room: 1 to 255 bytes without control characters. A first `@` marks the server's own rooms.
    RoomName, 255
}

/// Whom an own room belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// `@all`: everyone.
    All,
    /// `@user/{id}`: every session of one user.
    User(UserId),
    /// `@session/{id}`: one session.
    Session(SessionId),
}

impl RoomName {
    /// The room that everyone is in.
    pub const ALL: &str = "@all";

    /// Checks the name of a room that applications may use.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn new(text: &str) -> Result<Self, NameError> {
        check(text, Self::MAX_BYTES)?;
        if text.starts_with('@') {
            return Err(NameError::Reserved);
        }
        Ok(Self(text.into()))
    }

    /// The own room of `owner`.
    #[must_use]
    pub fn own(owner: &Owner) -> Self {
        match owner {
            Owner::All => Self(Self::ALL.into()),
            Owner::User(user) => Self(format!("@user/{user}").into()),
            Owner::Session(session) => Self(format!("@session/{session}").into()),
        }
    }

    /// Whose own room this is; none for a room of the application's.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        let name = self.0.strip_prefix('@')?;
        if name == "all" {
            return Some(Owner::All);
        }
        let (kind, id) = name.split_once('/')?;
        match kind {
            "user" => UserId::new(id).ok().map(Owner::User),
            "session" => SessionId::new(id).ok().map(Owner::Session),
            _ => None,
        }
    }

    /// Whether this is one of the server's own rooms.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.0.starts_with('@')
    }

    /// A room name that a store kept: own rooms are accepted too.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn stored(text: &str) -> Result<Self, NameError> {
        check(text, Self::MAX_BYTES)?;
        let name = Self(text.into());
        if name.is_own() && name.owner().is_none() {
            return Err(NameError::Reserved);
        }
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        let long = "x".repeat(300);
        for (text, why) in [
            ("", NameError::Empty),
            (long.as_str(), NameError::TooLong(255)),
            ("a\nb", NameError::Control),
            ("a\u{85}b", NameError::Control),
            ("@all", NameError::Reserved),
        ] {
            assert_eq!(RoomName::new(text), Err(why));
        }
        assert_eq!(SessionId::new(&"x".repeat(129)), Err(NameError::TooLong(128)));
        assert!(RoomName::new("request:7/ö").is_ok());
    }

    #[test]
    fn own_rooms_know_their_owner() {
        let user = Owner::User(UserId::new("a/b").unwrap());
        for owner in [Owner::All, user, Owner::Session(SessionId::new("s").unwrap())] {
            let room = RoomName::own(&owner);
            assert!(room.is_own());
            assert_eq!(room.owner(), Some(owner));
            assert_eq!(RoomName::stored(room.as_str()), Ok(room));
        }
        assert_eq!(RoomName::stored("@what/x"), Err(NameError::Reserved));
    }
}
