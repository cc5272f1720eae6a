//! UTF-8 that comes in parts, which may end within a character.

/// Bytes that are no UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at} begins no character of UTF-8")]
pub(crate) struct NotUtf8 {
    /// How many bytes before it are text.
    pub(crate) at: u64,
}

/// Makes text of bytes.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// The beginning of a character, whose end has not come: up to three bytes.
    begun: Vec<u8>,
    /// How many bytes became text.
    decoded: u64,
}

impl Decoder {
    /// Puts what is text behind `text`.
    ///
    /// # Errors
    /// The first byte that is none. What came before it is in `text`.
    pub(crate) fn push(&mut self, bytes: &[u8], text: &mut String) -> Result<(), NotUtf8> {
        let mut rest = bytes;
        // Byte by byte until the character is whole, so that the rest needs no copy.
        while let [first, behind @ ..] = rest
            && !self.begun.is_empty()
        {
            let mut begun = std::mem::take(&mut self.begun);
            begun.push(*first);
            rest = behind;
            self.decode(&begun, text)?;
        }
        self.decode(rest, text)
    }

    /// Keeps what may yet become a character.
    fn decode(&mut self, bytes: &[u8], text: &mut String) -> Result<(), NotUtf8> {
        let (valid, is_wrong) = match std::str::from_utf8(bytes) {
            Ok(_) => (bytes.len(), false),
            Err(error) => (error.valid_up_to(), error.error_len().is_some()),
        };
        let (valid, behind) = bytes.split_at(valid);
        // Checked above: this borrows.
        text.push_str(&String::from_utf8_lossy(valid));
        self.decoded += valid.len() as u64;
        if is_wrong {
            return Err(NotUtf8 { at: self.decoded });
        }
        self.begun.extend_from_slice(behind);
        Ok(())
    }

    /// There is no more.
    ///
    /// # Errors
    /// It ends within a character.
    pub(crate) fn finish(&self) -> Result<(), NotUtf8> {
        if self.begun.is_empty() { Ok(()) } else { Err(NotUtf8 { at: self.decoded }) }
    }
}

/// Takes the longest beginning of `text` that has up to `max_bytes` (at least four) and cuts no character.
pub(crate) fn take_beginning(text: &mut String, max_bytes: usize) -> String {
    if text.len() <= max_bytes {
        return std::mem::take(text);
    }
    let cut = (0..=max_bytes).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    let rest = text.split_off(cut);
    std::mem::replace(text, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "aé漢😀\u{7f}\u{80}\u{10ffff}z";

    #[test]
    fn r27_streams_text_is_the_same_however_its_bytes_are_cut() {
        for size in 1..=TEXT.len() {
            let (mut decoder, mut text) = (Decoder::default(), String::new());
            for part in TEXT.as_bytes().chunks(size) {
                decoder.push(part, &mut text).unwrap();
                assert!(TEXT.starts_with(&text) && decoder.begun.len() < 4);
            }
            decoder.finish().unwrap();
            assert_eq!(text, TEXT, "parts of {size} bytes");
        }
    }

    #[test]
    fn r27_streams_what_is_no_text_is_told_with_its_place() {
        for (bytes, at) in [
            (&b"ab\xff"[..], 2),
            (b"\xc3\xa9\xc3(", 2),
            (b"a\xed\xa0\x80b", 1), // half a surrogate pair
            (b"a\xe6\xbc", 1),      // the end within a character
            (b"\xf4\x90\x80\x80", 0),
            (b"\xc0\x80", 0),
        ] {
            for size in 1..=bytes.len() {
                let (mut decoder, mut text) = (Decoder::default(), String::new());
                let mut parts = bytes.chunks(size);
                let pushed = parts.try_for_each(|part| decoder.push(part, &mut text));
                assert_eq!(
                    pushed.and_then(|()| decoder.finish()),
                    Err(NotUtf8 { at }),
                    "{bytes:?} by {size}"
                );
                assert_eq!(text.len() as u64, at, "{bytes:?} by {size}");
            }
        }
    }

    #[test]
    fn r27_streams_a_beginning_cuts_no_character() {
        let mut text = TEXT.to_owned();
        let mut taken = Vec::new();
        while !text.is_empty() {
            taken.push(take_beginning(&mut text, 5));
        }
        assert!(taken.iter().all(|part| !part.is_empty() && part.len() <= 5));
        assert_eq!(taken.concat(), TEXT);
    }
}
