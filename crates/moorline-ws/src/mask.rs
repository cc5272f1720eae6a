//! Masking and unmasking of payloads (RFC 6455 §5.3).

/// Masks or unmasks `bytes` in place; the operation is its own inverse.
///
/// `offset` is the position of `bytes[0]` in the frame's payload, so that a payload which arrives in parts
/// can be unmasked part by part.
///
/// ```
/// # use moorline_ws::mask;
/// let mut payload = *b"hello";
/// mask::apply(&mut payload, [1, 2, 3, 4], 0);
/// mask::apply(&mut payload[..2], [1, 2, 3, 4], 0);
/// mask::apply(&mut payload[2..], [1, 2, 3, 4], 2);
/// assert_eq!(&payload, b"hello");
/// ```
pub fn apply(bytes: &mut [u8], mut key: [u8; 4], offset: usize) {
    key.rotate_left(offset % 4);
    let [a, b, c, d] = key;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    // Whole words first: the compiler turns this loop into vector instructions.
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for chunk in words {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_definition_at_every_length_and_offset() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for len in 0..40 {
            for offset in 0..9 {
                let plain: Vec<u8> = (0..len).collect();
                let expected: Vec<u8> =
                    plain.iter().enumerate().map(|(i, b)| b ^ key[(i + offset) % 4]).collect();
                let mut actual = plain;
                apply(&mut actual, key, offset);
                assert_eq!(actual, expected, "length {len}, offset {offset}");
            }
        }
    }

    #[test]
    fn unmasks_the_example_of_the_rfc() {
        let mut payload = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
        apply(&mut payload, [0x37, 0xfa, 0x21, 0x3d], 0);
        assert_eq!(&payload, b"Hello");
    }
}
