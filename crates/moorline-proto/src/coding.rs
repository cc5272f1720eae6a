//! Compressed forms of messages: each is made when the first connection needs it, and shared by all that take the same.

use std::sync::OnceLock;

/// How the transport compresses the messages of a connection: each by itself, so that a compressed frame belongs to no
/// connection. Three sizes of window do for all that clients may ask for, so a batch has three compressed forms at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// Deflate that refers back by 512 bytes.
    Deflate9,
    /// By 4 KiB.
    Deflate12,
    /// By 32 KiB: what nearly all clients take.
    Deflate15,
}

impl Coding {
    /// How many there are.
    pub const COUNT: usize = 3;
}

/// How many bytes of frames are compressed at once: 1 MiB takes some 10 ms, in which the shard does nothing else. What of a burst lies
/// further is sent as it is, or as it was compressed before.
pub(crate) const BURST_BYTES: usize = 1024 * 1024;

/// Appends the compressed form of one whole frame to `out`, or nothing and says false where the frame is to be sent as it is.
pub type Compress<'a> = dyn FnMut(&[u8], &mut Vec<u8>) -> bool + 'a;

/// Whole frames, one behind the other.
#[derive(Clone, Copy, Debug)]
pub struct Frames<'a> {
    /// All of them.
    pub wire: &'a [u8],
    /// Where each ends in `wire`.
    pub ends: &'a [usize],
}

impl<'a> Frames<'a> {
    /// The frame at `index`.
    #[must_use]
    pub fn frame(&self, index: usize) -> &'a [u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.wire[start..self.ends[index]]
    }

    fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        (0..self.ends.len()).map(|index| self.frame(index))
    }
}

/// Frames of which some are compressed. Never longer than the same frames as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Compressed {
    wire: Vec<u8>,
    ends: Vec<usize>,
}

impl Compressed {
    /// Compresses what becomes shorter by it, of the frames that begin within `budget` bytes; none where that is nothing. Copies
    /// nothing before the first that does.
    pub(crate) fn of(plain: Frames<'_>, budget: usize, compress: &mut Compress<'_>) -> Option<Box<Self>> {
        let mut made: Option<Self> = None;
        let mut out = Vec::new();
        for (index, frame) in plain.iter().enumerate() {
            out.clear();
            let start = plain.ends[index] - frame.len();
            let is_compressed = start < budget && compress(frame, &mut out);
            if is_compressed && made.is_none() {
                made = Some(Self { wire: plain.wire[..start].to_vec(), ends: plain.ends[..index].to_vec() });
            }
            if let Some(made) = &mut made {
                made.push(if is_compressed { &out } else { frame });
            }
        }
        made.map(Self::boxed)
    }

    /// One behind the other; none where all of them are plain. Each is its plain frames and its compressed form, if it has one.
    pub(crate) fn joined<'a>(
        parts: impl Iterator<Item = (Frames<'a>, Option<&'a Self>)>,
    ) -> Option<Box<Self>> {
        let (mut joined, mut is_compressed) = (Self::default(), false);
        for (plain, compressed) in parts {
            is_compressed |= compressed.is_some();
            let frames = compressed.map_or(plain, Self::frames);
            joined.ends.extend(frames.ends.iter().map(|end| joined.wire.len() + end));
            joined.wire.extend_from_slice(frames.wire);
        }
        is_compressed.then(|| joined.boxed())
    }

    pub(crate) fn frames(&self) -> Frames<'_> {
        Frames { wire: &self.wire, ends: &self.ends }
    }

    fn push(&mut self, frame: &[u8]) {
        self.wire.extend_from_slice(frame);
        self.ends.push(self.wire.len());
    }

    /// They may wait as long as the slowest shard: without spare room.
    fn boxed(mut self) -> Box<Self> {
        self.wire.shrink_to_fit();
        Box::new(self)
    }
}

/// The compressed forms of some frames, as far as they are made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coded([OnceLock<Option<Box<Compressed>>>; Coding::COUNT]);

impl Coded {
    /// The compressed form, which `make` makes where it is asked for first. Whoever asks meanwhile waits: it would do the same work.
    pub(crate) fn get_or_make(
        &self,
        coding: Coding,
        make: impl FnOnce() -> Option<Box<Compressed>>,
    ) -> Option<&Compressed> {
        self.0[coding as usize].get_or_init(make).as_deref()
    }

    /// The compressed form, where it is made.
    pub(crate) fn made(&self, coding: Coding) -> Option<&Compressed> {
        self.0[coding as usize].get()?.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes two bytes of each frame that is longer than three.
    fn shorten(frame: &[u8], out: &mut Vec<u8>) -> bool {
        if frame.len() > 3 {
            out.extend_from_slice(&[b'<', frame[0]]);
        }
        frame.len() > 3
    }

    fn text(frames: Frames<'_>) -> Vec<&str> {
        frames.iter().map(|frame| std::str::from_utf8(frame).unwrap()).collect()
    }

    #[test]
    fn r34_frames_keep_their_boundaries_and_short_ones_stay_as_they_are() {
        let plain = Frames { wire: b"onethreetwofoursix", ends: &[3, 8, 11, 15, 18] };
        let compressed = Compressed::of(plain, BURST_BYTES, &mut shorten).unwrap();
        assert_eq!(text(compressed.frames()), ["one", "<t", "two", "<f", "six"]);
        let short = Frames { wire: b"onetwo", ends: &[3, 6] };
        assert_eq!(Compressed::of(short, BURST_BYTES, &mut shorten), None);
        assert_eq!(Compressed::of(Frames { wire: b"", ends: &[] }, BURST_BYTES, &mut shorten), None);
        let joined = Compressed::joined([(short, None), (plain, Some(&*compressed))].into_iter()).unwrap();
        assert_eq!(text(joined.frames()), ["one", "two", "one", "<t", "two", "<f", "six"]);
        assert_eq!(Compressed::joined([(short, None), (short, None)].into_iter()), None);
    }

    #[test]
    fn r34_of_a_burst_only_so_much_is_compressed() {
        let (large, count) = (BURST_BYTES / 4, 8);
        let wire = vec![b'x'; large * count];
        let ends: Vec<usize> = (1..=count).map(|number| number * large).collect();
        let compressed =
            Compressed::of(Frames { wire: &wire, ends: &ends }, BURST_BYTES, &mut shorten).unwrap();
        let lengths: Vec<usize> = compressed.frames().iter().map(<[u8]>::len).collect();
        assert_eq!(lengths, [2, 2, 2, 2, large, large, large, large]);
    }

    #[test]
    fn r34_each_form_is_made_once() {
        let coded = Coded::default();
        let plain = Frames { wire: b"three", ends: &[5] };
        let mut made = 0;
        for coding in [Coding::Deflate9, Coding::Deflate15, Coding::Deflate9, Coding::Deflate15] {
            let form = coded.get_or_make(coding, || {
                made += 1;
                Compressed::of(plain, BURST_BYTES, &mut shorten)
            });
            assert_eq!(text(form.unwrap().frames()), ["<t"]);
        }
        assert_eq!(made, 2);
    }
}
