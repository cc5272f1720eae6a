//! A small inflater that shares nothing with the library, written from RFC 1951 alone; it knows how far back the
//! blocks refer.

#![allow(dead_code, reason = "each test crate uses its own part of this")]

/// What a compressed message becomes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Inflated {
    pub(crate) message: Vec<u8>,
    /// The longest distance that was referred back.
    pub(crate) farthest: usize,
}

const LENGTHS: [(u16, u8); 29] = [
    (3, 0),
    (4, 0),
    (5, 0),
    (6, 0),
    (7, 0),
    (8, 0),
    (9, 0),
    (10, 0),
    (11, 1),
    (13, 1),
    (15, 1),
    (17, 1),
    (19, 2),
    (23, 2),
    (27, 2),
    (31, 2),
    (35, 3),
    (43, 3),
    (51, 3),
    (59, 3),
    (67, 4),
    (83, 4),
    (99, 4),
    (115, 4),
    (131, 5),
    (163, 5),
    (195, 5),
    (227, 5),
    (258, 0),
];
const DISTANCES: [(u16, u8); 30] = [
    (1, 0),
    (2, 0),
    (3, 0),
    (4, 0),
    (5, 1),
    (7, 1),
    (9, 2),
    (13, 2),
    (17, 3),
    (25, 3),
    (33, 4),
    (49, 4),
    (65, 5),
    (97, 5),
    (129, 6),
    (193, 6),
    (257, 7),
    (385, 7),
    (513, 8),
    (769, 8),
    (1025, 9),
    (1537, 9),
    (2049, 10),
    (3073, 10),
    (4097, 11),
    (6145, 11),
    (8193, 12),
    (12289, 12),
    (16385, 13),
    (24577, 13),
];
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: u8) -> Option<usize> {
        let mut value = 0;
        for bit in 0..count {
            let byte = *self.bytes.get(self.at / 8)?;
            value |= usize::from(byte >> (self.at % 8) & 1) << bit;
            self.at += 1;
        }
        Some(value)
    }

    fn align(&mut self) {
        self.at = self.at.next_multiple_of(8);
    }
}

/// A canonical Huffman code: how many codes there are of each length, and their symbols in order.
struct Code {
    counts: [usize; 16],
    symbols: Vec<usize>,
}

impl Code {
    /// A code must be complete: every sequence of bits is a symbol, but for a code of one bit or of nothing.
    fn checked(lengths: &[usize]) -> Option<Self> {
        let code = Self::new(lengths);
        let left = (1..16).try_fold(1, |left: usize, length| (2 * left).checked_sub(code.counts[length]))?;
        let longest = lengths.iter().max().copied().unwrap_or(0);
        (left == 0 || longest <= 1).then_some(code)
    }

    fn new(lengths: &[usize]) -> Self {
        let mut counts = [0; 16];
        let mut symbols = Vec::new();
        for (length, count) in counts.iter_mut().enumerate().skip(1) {
            let of_length = (0..lengths.len()).filter(|symbol| lengths[*symbol] == length);
            let before = symbols.len();
            symbols.extend(of_length);
            *count = symbols.len() - before;
        }
        Self { counts, symbols }
    }

    fn symbol(&self, bits: &mut Bits<'_>) -> Option<usize> {
        let (mut code, mut first, mut index) = (0, 0, 0);
        for length in 1..16 {
            code |= bits.take(1)?;
            if code < first + self.counts[length] {
                return self.symbols.get(index + code - first).copied();
            }
            index += self.counts[length];
            first = (first + self.counts[length]) << 1;
            code <<= 1;
        }
        None
    }
}

fn fixed() -> (Code, Code) {
    let lengths: Vec<usize> = (0..288)
        .map(|symbol| match symbol {
            0..144 => 8,
            144..256 => 9,
            256..280 => 7,
            _ => 8,
        })
        .collect();
    (Code::new(&lengths), Code::new(&[5; 30]))
}

fn dynamic(bits: &mut Bits<'_>) -> Option<(Code, Code)> {
    let (literals, distances, codes) = (bits.take(5)? + 257, bits.take(5)? + 1, bits.take(4)? + 4);
    let mut of_lengths = [0; 19];
    for place in &ORDER[..codes] {
        of_lengths[*place] = bits.take(3)?;
    }
    (literals <= 286 && distances <= 30).then_some(())?;
    let of_lengths = Code::checked(&of_lengths).filter(|code| code.symbols.len() != 1)?;
    let mut lengths: Vec<usize> = Vec::new();
    while lengths.len() < literals + distances {
        let (value, times) = match of_lengths.symbol(bits)? {
            16 => (*lengths.last()?, bits.take(2)? + 3),
            17 => (0, bits.take(3)? + 3),
            18 => (0, bits.take(7)? + 11),
            length => (length, 1),
        };
        lengths.extend(std::iter::repeat_n(value, times));
    }
    (lengths.len() == literals + distances && lengths[256] != 0).then_some(())?;
    Some((Code::checked(&lengths[..literals])?, Code::checked(&lengths[literals..])?))
}

/// Inflates the payload of a compressed message that comes after `before`; `None` if it is wrong or not whole.
pub(crate) fn inflate(before: &[u8], payload: &[u8]) -> Option<Inflated> {
    let bytes = [payload, &[0, 0, 0xff, 0xff]].concat();
    let mut bits = Bits { bytes: &bytes, at: 0 };
    let mut out = before.to_vec();
    let (mut farthest, mut ends_empty) = (0, false);
    while bits.at < 8 * bytes.len() {
        ends_empty = false;
        let is_final = bits.take(1)? == 1;
        match bits.take(2)? {
            0 => {
                bits.align();
                let (len, complement) = (bits.take(16)?, bits.take(16)?);
                (len == !complement & 0xffff).then_some(())?;
                let start = bits.at / 8;
                out.extend_from_slice(bytes.get(start..start + len)?);
                bits.at += 8 * len;
                ends_empty = len == 0;
            }
            1 => farthest = farthest.max(compressed(&mut bits, fixed(), &mut out)?),
            2 => {
                let codes = dynamic(&mut bits)?;
                farthest = farthest.max(compressed(&mut bits, codes, &mut out)?);
            }
            _ => return None,
        }
        if is_final {
            bits.align();
        }
    }
    // What was put behind the message must be the end of an empty block, not a part of the message.
    ends_empty.then_some(())?;
    Some(Inflated { message: out.split_off(before.len()), farthest })
}

fn compressed(bits: &mut Bits<'_>, (literals, distances): (Code, Code), out: &mut Vec<u8>) -> Option<usize> {
    let mut farthest = 0;
    loop {
        match literals.symbol(bits)? {
            256 => return Some(farthest),
            literal @ 0..256 => out.push(u8::try_from(literal).ok()?),
            symbol => {
                let (base, extra) = *LENGTHS.get(symbol - 257)?;
                let length = usize::from(base) + bits.take(extra)?;
                let (base, extra) = *DISTANCES.get(distances.symbol(bits)?)?;
                let distance = usize::from(base) + bits.take(extra)?;
                farthest = farthest.max(distance);
                for _ in 0..length {
                    out.push(*out.get(out.len().checked_sub(distance)?)?);
                }
            }
        }
    }
}
