//! Peers that mean harm: the right refusal, and no memory for it.

mod common;

use common::{BINARY, CONTINUATION, Driver, FIN, Frame, Length, PING, TEXT};
use moorline_ws::{frame::Role, violation::Violation};

const LIMIT: usize = 64 * 1024;

#[test]
fn a_length_of_two_to_the_62_is_refused_before_anything_is_kept() {
    let mut frame = Frame::whole(BINARY, []);
    frame.length = Length::Declared(1 << 62);
    let mut driver = Driver::new(Role::Server, LIMIT);
    driver.feed(&frame.bytes());
    assert_eq!(driver.outcome.violation, Some(Violation::TooBig { limit: LIMIT }));
    assert_eq!(driver.most_held, 0);
}

#[test]
fn memory_follows_what_was_received_not_what_was_declared() {
    let bytes = Frame::whole(BINARY, vec![0; LIMIT]).bytes();
    let mut driver = Driver::new(Role::Server, LIMIT);
    driver.feed(&bytes[..20]);
    assert!(driver.decoder.held_bytes() <= Driver::OVERHEAD);
    driver.feed(&bytes[20..1000]);
    assert!(driver.decoder.held_bytes() <= 2000 + Driver::OVERHEAD);
}

#[test]
fn room_for_a_message_that_comes_slowly_ends_at_the_limit() {
    let limit = 3000;
    for first in [FIN | BINARY, BINARY, TEXT] {
        let mut driver = Driver::new(Role::Server, limit);
        for byte in &Frame::new(first, vec![b'a'; limit]).bytes()[..limit + 7] {
            driver.feed(std::slice::from_ref(byte));
        }
        assert!(driver.most_held >= limit - 1);
    }
}

#[test]
fn the_bytes_of_a_cut_character_count_against_the_limit() {
    let frames = [Frame::new(TEXT, b"aaa\xe2"), Frame::whole(CONTINUATION, b"\x82\xac")];
    assert_eq!(common::decode(&common::stream(&frames), 6).violation, None);
    let refused = common::decode(&common::stream(&frames), 5).violation;
    assert_eq!(refused, Some(Violation::TooBig { limit: 5 }));
}

#[test]
fn two_hundred_thousand_empty_fragments_hold_nothing() {
    let mut driver = Driver::new(Role::Server, LIMIT);
    driver.feed(&Frame::new(TEXT, []).bytes());
    let empty = Frame::new(CONTINUATION, []).bytes().repeat(1000);
    for _ in 0..200 {
        driver.feed(&empty);
    }
    assert!(driver.most_held <= Driver::OVERHEAD);
    driver.feed(&Frame::whole(CONTINUATION, "end").bytes());
    assert_eq!(driver.outcome.violation, None);
    assert_eq!(driver.outcome.events, [moorline_ws::event::Event::Text("end".into())]);
    assert!(driver.decoder.is_idle());
}

#[test]
fn four_mebibytes_in_fragments_of_64_bytes_end_at_the_limit() {
    let mut driver = Driver::new(Role::Server, LIMIT);
    driver.feed(&Frame::new(BINARY, [7; 64]).bytes());
    let fragment = Frame::new(CONTINUATION, [7; 64]).bytes();
    let mut fragments = 1;
    while driver.outcome.violation.is_none() && fragments < (4 << 20) / 64 {
        driver.feed(&fragment);
        fragments += 1;
    }
    assert_eq!(driver.outcome.violation, Some(Violation::TooBig { limit: LIMIT }));
    assert_eq!(fragments, LIMIT / 64 + 1);
    assert_eq!(driver.outcome.violation.unwrap().close_code(), 1009);
}

#[test]
fn an_unmasked_frame_is_refused_by_a_server_and_a_masked_one_by_a_client() {
    let masked = Frame::whole(TEXT, "a");
    let unmasked = Frame { mask: None, ..masked.clone() };
    let table = [(Role::Server, unmasked, Violation::Unmasked), (Role::Client, masked, Violation::Masked)];
    for (role, frame, violation) in table {
        let mut driver = Driver::new(role, LIMIT);
        driver.feed(&frame.bytes());
        assert_eq!(driver.outcome.violation, Some(violation));
        assert_eq!(violation.close_code(), 1002);
    }
}

#[test]
fn a_message_of_the_limit_is_taken_and_one_byte_more_is_not() {
    for (len, violation) in [(LIMIT, None), (LIMIT + 1, Some(Violation::TooBig { limit: LIMIT }))] {
        assert_eq!(common::decode(&Frame::whole(BINARY, vec![0; len]).bytes(), LIMIT).violation, violation);
        let half = Frame::new(BINARY, vec![0; len / 2]);
        let rest = Frame::new(FIN | CONTINUATION, vec![0; len - len / 2]);
        assert_eq!(common::decode(&common::stream(&[half, rest]), LIMIT).violation, violation);
    }
}

#[test]
fn a_limit_of_nothing_still_takes_empty_messages_and_control_frames() {
    let frames = [Frame::whole(TEXT, ""), Frame::whole(PING, [0; 125])];
    assert_eq!(common::decode(&common::stream(&frames), 0).events.len(), 2);
    let refused = common::decode(&Frame::whole(TEXT, "a").bytes(), 0).violation;
    assert_eq!(refused, Some(Violation::TooBig { limit: 0 }));
}

#[test]
fn pings_fed_byte_by_byte_hold_one_ping() {
    let mut driver = Driver::new(Role::Server, LIMIT);
    for byte in Frame::whole(PING, [9; 125]).bytes().repeat(200) {
        driver.feed(&[byte]);
    }
    assert_eq!(driver.outcome.events.len(), 200);
    assert!(driver.most_held <= Driver::OVERHEAD);
    assert!(driver.decoder.is_idle());
}
