//! The frames that the spec names are the frames that there are.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

use moorline_proto::codec;
use moorline_proto::frame::ClientFrame;
use moorline_proto::message::RESERVED_TYPES;

const SPEC: &str = include_str!("../../../spec/protocol.md");

/// The section that begins with this heading.
fn section(heading: &str) -> &'static str {
    let text =
        SPEC.split(&format!("\n## {heading}\n")).nth(1).unwrap_or_else(|| panic!("no section {heading}"));
    text.split("\n## ").next().unwrap()
}

/// The first words of what stands in backticks in the first column of a section's tables.
fn frames_of(section: &str) -> Vec<&str> {
    let cells =
        section.lines().filter(|line| line.starts_with("| `")).map(|line| line.split('|').nth(1).unwrap());
    cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .filter_map(|code| code.split([' ', '{']).next())
        .collect()
}

#[test]
fn every_client_frame_of_the_spec_is_known_and_no_other() {
    let frames = frames_of(section("3. Client frames"));
    assert!(frames.len() >= 10, "{frames:?}");
    for name in frames {
        let decoded = codec::decode(&format!("{{\"type\":\"{name}\"}}")).frame;
        // Not the application's: known, or refused for what it lacks.
        assert!(!matches!(decoded, Ok(ClientFrame::Application { .. })), "{name}");
    }
    let other = codec::decode("{\"type\":\"anything\"}").frame;
    assert!(matches!(other, Ok(ClientFrame::Application { .. })));
}

#[test]
fn the_server_frames_of_the_spec_are_the_reserved_types() {
    let mut frames = frames_of(section("4. Server frames"));
    // Free for applications too.
    frames.retain(|&name| name != "error");
    frames.sort_unstable();
    let mut reserved = RESERVED_TYPES.to_vec();
    reserved.sort_unstable();
    assert_eq!(frames, reserved);
    for name in RESERVED_TYPES {
        assert!(section("1. Messages").contains(&format!("`{name}`")), "{name}");
    }
}
