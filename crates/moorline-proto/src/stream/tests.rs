use std::time::Duration;

use super::*;
use crate::time::{Instant, Now};

fn now(millis: u64) -> Now {
    Now { instant: Instant::since_start(Duration::from_millis(millis)), ..Now::default() }
}

fn opening() -> Open {
    let (session, data, except, expected) = (None, None, None, Expected::Any);
    Open { principal: "key/k".into(), session, data, except, lease: Lease::DEFAULT, expected }
}

/// With that text, shown in pieces of so many code points, from offset 10 on.
fn stream(text: &str, piece: usize) -> (Stream, Holder) {
    let mut stream = Stream::new((StreamName::new("s").unwrap(), Offset(10), 1), &opening(), now(0));
    let holder = Holder { principal: "key/k".into(), session: None, fence: stream.fence() };
    let letters: Vec<char> = text.chars().collect();
    for (offset, piece) in (10..).zip(letters.chunks(piece)) {
        let fresh: String = piece.iter().collect();
        stream.accept(&holder, &fresh, now(0));
        stream.show(Offset(offset), now(0));
    }
    (stream, holder)
}

#[test]
fn r27_streams_what_overlaps_is_compared_in_code_points() {
    for text in ["abcdef", "aö€🦀bc", "🦀🦀🦀🦀🦀🦀", "e\u{301}👩\u{200d}👧x"] {
        let count = text.chars().count();
        let part = |from: usize, to: usize| text.chars().skip(from).take(to - from).collect::<String>();
        for piece in [1, 2, 5, 64] {
            let (stream, holder) = stream(text, piece);
            let check = |at: usize, content: &str| {
                stream.check_append(&holder, at as u64, content).map(str::to_owned)
            };
            for from in 0..=count {
                for to in from..=count {
                    assert_eq!(check(from, &part(from, to)), Ok(String::new()), "{text} {from}..{to}");
                }
                assert_eq!(check(from, &(part(from, count) + "z€")), Ok("z€".into()), "{text} {from}");
                let other = part(from, count).chars().rev().collect::<String>() + "\0\0";
                let expected = if from == count { Ok(other.clone()) } else { Err(StreamError::Conflict) };
                let is_same = part(from, count) == part(from, count).chars().rev().collect::<String>();
                assert_eq!(check(from, &other), if is_same { Ok("\0\0".into()) } else { expected });
            }
            let at = count as u64;
            assert_eq!(check(count + 1, ""), Err(StreamError::AtMismatch { at }), "{text}");
        }
    }
}

#[test]
fn r27_streams_a_piece_ends_between_characters_and_is_at_most_a_chunk() {
    for letter in ['a', 'ö', '€', '🦀'] {
        let text: String = std::iter::repeat_n(letter, CHUNK_MAX_BYTES).collect();
        let (mut stream, holder) = stream("x", 1);
        let fresh = stream.check_append(&holder, 1, &text).unwrap().to_owned();
        stream.accept(&holder, &fresh, now(0));
        let mut offset = 20;
        while stream.has_more() {
            stream.show(Offset(offset), now(0));
            offset += 1;
        }
        let pieces: Vec<Piece<'_>> = stream.pieces(Offset(0)).collect();
        assert!(pieces.iter().all(|piece| piece.content.len() <= CHUNK_MAX_BYTES));
        let mut at = 0;
        for piece in &pieces {
            assert_eq!(piece.at, at);
            at += piece.content.chars().count() as u64;
        }
        assert_eq!(at, stream.at());
        assert_eq!(pieces.len(), 1 + letter.len_utf8() + usize::from(letter == '€'));
    }
}

#[test]
fn r27_streams_text_is_shown_at_once_and_then_together() {
    let (mut stream, holder) = stream("", 1);
    stream.show(Offset(10), now(0));
    assert_eq!(stream.show_at(), None);
    for (millis, content, waits_until) in [(0, "a", 0), (5, "b", 50), (49, "c", 50)] {
        stream.accept(&holder, content, now(millis));
        assert_eq!(stream.show_at().map(Instant::elapsed), Some(Duration::from_millis(waits_until)));
        if stream.may_show(now(millis)) {
            stream.show(Offset(11 + millis), now(millis));
        }
    }
    assert!(!stream.may_show(now(49)) && stream.may_show(now(50)));
    stream.show(Offset(99), now(50));
    let contents: Vec<&str> = stream.pieces(Offset(0)).map(|piece| piece.content).collect();
    assert_eq!(contents, ["", "a", "bc"]);
}

#[test]
fn r27_streams_a_merged_page_says_how_far_each_record_brings_a_reader() {
    let (a, _) = stream("abcd", 1);
    let record = |offset| Record {
        offset: Offset(offset),
        timestamp: crate::time::Timestamp(0),
        except: None,
        message: crate::message::Message::stored(Bytes::from_static(b"{\"type\":\"m\"}")),
    };
    let pieces: Vec<Piece<'_>> = a.pieces(Offset(0)).collect();
    let records = [record(20), record(22)];
    let mut merging = Merging::new(None);
    for (piece, offset) in pieces.iter().zip([19, 21, 23]) {
        let moved = Piece { offset: Offset(offset), ..*piece };
        merging.push(Entry::Piece(moved));
        if let Some(record) = records.iter().find(|record| record.offset.0 == offset + 1) {
            merging.push(Entry::Record(record));
        }
    }
    let (records, reached) = merging.finish();
    let offsets: Vec<u64> = records.iter().map(|record| record.offset.0).collect();
    assert_eq!((offsets, reached), (vec![19, 20, 22], vec![Offset(19), Offset(21), Offset(23)]));
    assert!(std::str::from_utf8(records[0].message.as_bytes()).unwrap().contains("\"content\":\"abc\""));
}
