//! The grammar of `Sec-WebSocket-Extensions` (RFC 6455 §9.1), in requests and answers alike.

use http::{HeaderMap, header::SEC_WEBSOCKET_EXTENSIONS};

/// The most extensions a header may name, over all its lines; one offered several times counts each time.
pub(crate) const MAX_EXTENSIONS: usize = 16;
/// The most parameters one of them may have.
pub(crate) const MAX_PARAMETERS: usize = 16;

/// One element of the list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Extension<'a> {
    pub(super) name: &'a str,
    pub(super) parameters: Vec<Parameter<'a>>,
}

/// A name and its value, taken out of its quotes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parameter<'a> {
    pub(super) name: &'a str,
    pub(super) value: Option<String>,
}

/// The header is not a list of extensions, or is longer than the bounds above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Reads all lines of the header; empty elements do not count (RFC 9110 §5.6.1).
pub(super) fn parse(headers: &HeaderMap) -> Result<Vec<Extension<'_>>, Malformed> {
    let mut extensions = Vec::new();
    for line in headers.get_all(SEC_WEBSOCKET_EXTENSIONS) {
        let mut line = Line { rest: line.to_str().map_err(|_| Malformed)? };
        line.read(&mut extensions)?;
    }
    Ok(extensions)
}

struct Line<'a> {
    rest: &'a str,
}

impl<'a> Line<'a> {
    fn read(&mut self, extensions: &mut Vec<Extension<'a>>) -> Result<(), Malformed> {
        loop {
            while self.takes(',') {}
            if self.rest.is_empty() {
                return Ok(());
            }
            if extensions.len() == MAX_EXTENSIONS {
                return Err(Malformed);
            }
            extensions.push(self.extension()?);
            if !self.rest.is_empty() && !self.takes(',') {
                return Err(Malformed);
            }
        }
    }

    fn extension(&mut self) -> Result<Extension<'a>, Malformed> {
        let name = self.token()?;
        let mut parameters = Vec::new();
        while self.takes(';') {
            if parameters.len() == MAX_PARAMETERS {
                return Err(Malformed);
            }
            let name = self.token()?;
            let value = if self.takes('=') { Some(self.value()?) } else { None };
            parameters.push(Parameter { name, value });
        }
        Ok(Extension { name, parameters })
    }

    /// Skips white space, then the character if it is there, then white space.
    fn takes(&mut self, wanted: char) -> bool {
        self.skip_space();
        let Some(rest) = self.rest.strip_prefix(wanted) else { return false };
        self.rest = rest;
        self.skip_space();
        true
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    fn token(&mut self) -> Result<&'a str, Malformed> {
        let end = self.rest.bytes().position(|byte| !is_token_byte(byte)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        if token.is_empty() { Err(Malformed) } else { Ok(token) }
    }

    /// A token, or a quoted string that is one once its escapes are undone.
    fn value(&mut self) -> Result<String, Malformed> {
        let Some(quoted) = self.rest.strip_prefix('"') else { return self.token().map(str::to_owned) };
        let mut value = String::new();
        let mut characters = quoted.chars();
        loop {
            match characters.next().ok_or(Malformed)? {
                '"' => break,
                '\\' => value.push(characters.next().ok_or(Malformed)?),
                plain => value.push(plain),
            }
        }
        self.rest = characters.as_str();
        let is_token = !value.is_empty() && value.bytes().all(is_token_byte);
        if is_token { Ok(value) } else { Err(Malformed) }
    }
}

/// What a token is made of (RFC 9110 §5.6.2).
const fn is_token_byte(byte: u8) -> bool {
    matches!(
        byte,
        b'!' | b'#'
            | b'$'
            | b'%'
            | b'&'
            | b'\''
            | b'*'
            | b'+'
            | b'-'
            | b'.'
            | b'^'
            | b'_'
            | b'`'
            | b'|'
            | b'~'
    ) || byte.is_ascii_alphanumeric()
}
