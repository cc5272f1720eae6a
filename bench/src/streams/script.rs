//! What a stream's text will be. It is known beforehand, so that readers can check every byte of it.

use anyhow::{Context as _, Result, ensure};

/// The first of each token: two bytes, one code point, so that bytes and code points differ.
const MARK: &str = "·";

/// A text of tokens, one for each append, all of one length.
#[derive(Debug)]
pub(crate) struct Script {
    text: String,
    token_bytes: usize,
}

impl Script {
    /// `token_bytes` is at least 3.
    pub(crate) fn new(stream: u32, tokens: u32, token_bytes: usize) -> Self {
        let mut text = String::with_capacity(token_bytes * tokens as usize);
        let mut state = u64::from(stream) << 32;
        for token in 1..=tokens as usize {
            text.push_str(MARK);
            while text.len() < token * token_bytes {
                text += &format!("{:016x}", mixed(&mut state));
            }
            text.truncate(token * token_bytes);
        }
        Self { text, token_bytes }
    }

    /// What the append of this number, from 0, adds.
    pub(crate) fn token(&self, number: u64) -> Result<&str> {
        let begin = usize::try_from(number)? * self.token_bytes;
        self.text.get(begin..begin + self.token_bytes).context("an append beyond the script")
    }

    /// Code points of each token.
    pub(crate) fn token_points(&self) -> u64 {
        (self.token_bytes + 1 - MARK.len()) as u64
    }

    /// The text's length in code points.
    pub(crate) fn points(&self) -> u64 {
        (self.text.len() / self.token_bytes) as u64 * self.token_points()
    }

    /// Where `content` ends that stands at `at`, both in code points; an error where it is not this text's.
    pub(crate) fn check(&self, at: u64, content: &str) -> Result<u64> {
        let begin = self.byte_at(at)?;
        let end = begin + content.len();
        ensure!(
            self.text.as_bytes().get(begin..end) == Some(content.as_bytes()),
            "at {at} stands another text"
        );
        Ok(self.point_at(end))
    }

    fn byte_at(&self, point: u64) -> Result<usize> {
        let (tokens, rest) = (point / self.token_points(), usize::try_from(point % self.token_points())?);
        let within = if rest == 0 { 0 } else { rest + MARK.len() - 1 };
        Ok(usize::try_from(tokens)? * self.token_bytes + within)
    }

    /// Of a byte that begins a character.
    fn point_at(&self, byte: usize) -> u64 {
        let (tokens, rest) = (byte / self.token_bytes, byte % self.token_bytes);
        let within = if rest == 0 { 0 } else { rest + 1 - MARK.len() };
        tokens as u64 * self.token_points() + within as u64
    }
}

/// The next number of the generator SplitMix64.
fn mixed(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_the_tokens_one_after_the_other() {
        for token_bytes in [3, 9, 51, 1_024] {
            let script = Script::new(7, 20, token_bytes);
            let tokens: Vec<&str> = (0..20).map(|number| script.token(number).unwrap()).collect();
            assert_eq!(tokens.concat(), script.text);
            assert!(tokens.iter().all(|token| token.len() == token_bytes && token.starts_with(MARK)));
            assert_eq!(script.points(), script.text.chars().count() as u64);
            assert!(script.token(20).is_err());
        }
        assert_ne!(Script::new(1, 20, 9).text, Script::new(2, 20, 9).text);
    }

    #[test]
    fn any_part_is_found_where_it_stands_and_nowhere_else() {
        let script = Script::new(1, 5, 9);
        let characters: Vec<char> = script.text.chars().collect();
        for begin in 0..=characters.len() {
            for end in begin..=characters.len() {
                let part: String = characters[begin..end].iter().collect();
                assert_eq!(script.check(begin as u64, &part).unwrap(), end as u64, "{begin} to {end}");
                assert!(end - begin < 9 || script.check(begin as u64 + 1, &part).is_err());
            }
        }
        assert!(script.check(0, &format!("{}x", script.text)).is_err(), "beyond its end");
    }
}
