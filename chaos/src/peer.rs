//! A connection without a client behind it: it says what it is told to, and may fall silent.

use std::time::Duration;

use serde_json::Value;

use crate::session::Greeting;
use crate::socket::{Incoming, Place, Socket, SocketError};

/// How long a greeting may take.
const GREETING: Duration = Duration::from_secs(30);

/// Why there is no such connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("the server closed it with {0:?} instead of greeting")]
    Closed(Option<u16>),
    #[error("the server does not greet")]
    Silent,
}

/// An established connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) socket: Socket,
    pub(crate) greeting: Greeting,
}

impl Peer {
    /// Connects, as a user where one is named, says `hello` with these fields and waits for the greeting.
    pub(crate) async fn open(place: &Place, user: Option<&str>, hello: &Value) -> Result<Self, PeerError> {
        let path = user.map_or_else(|| "/ws".to_owned(), |user| format!("/ws?user={user}"));
        let mut socket = Socket::open(place, &path).await?;
        let mut hello = hello.clone();
        hello["type"] = "hello".into();
        socket.text(&hello.to_string()).await?;
        let greeted = tokio::time::timeout(GREETING, async {
            loop {
                match socket.receive().await? {
                    Incoming::Text(text) => {
                        if let Some(greeting) = Greeting::read(&text) {
                            return Ok(greeting);
                        }
                    }
                    Incoming::Ping(_) => {}
                    Incoming::Closed(code) => return Err(PeerError::Closed(code)),
                }
            }
        });
        let greeting = greeted.await.map_err(|_| PeerError::Silent)??;
        Ok(Self { socket, greeting })
    }

    /// All texts until one of them is what is waited for, the end of the connection, or the limit; and how it ended.
    pub(crate) async fn texts(
        &mut self,
        limit: Duration,
        is_last: impl Fn(&str) -> bool,
    ) -> (Vec<String>, Heard) {
        let mut texts = Vec::new();
        let reading = async {
            loop {
                match self.socket.receive().await {
                    Ok(Incoming::Text(text)) => {
                        let found = is_last(&text);
                        texts.push(text);
                        if found {
                            return Heard::Last;
                        }
                    }
                    Ok(Incoming::Ping(_)) => {}
                    Ok(Incoming::Closed(code)) => return Heard::Closed(code),
                    Err(_) => return Heard::Closed(None),
                }
            }
        };
        let heard = tokio::time::timeout(limit, reading).await.unwrap_or(Heard::Nothing);
        (texts, heard)
    }
}

/// How listening ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// With what was waited for.
    Last,
    Closed(Option<u16>),
    /// It is still open.
    Nothing,
}
