//! Text of others, made fit for a terminal: it must not move the cursor, change the title or reorder what is shown.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a terminal would act on the character, or show its neighbours in another order.
const fn is_unsafe(character: char) -> bool {
    matches!(
        character,
        '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{61c}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
    )
}

/// The text with unsafe characters as JSON writes them: `\u001b`. All of them have four digits.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        push(&mut safe, character);
    }
    Cow::Owned(safe)
}

/// JSON text on one line, without space between its parts, and with unsafe characters escaped. Numbers, the order of keys
/// and every value stay as they were written. What is not JSON gives something that is safe to show as well.
pub(crate) fn compact(json: &str) -> String {
    let mut line = String::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for character in json.chars() {
        if !in_string && matches!(character, ' ' | '\t' | '\n' | '\r') {
            continue;
        }
        push(&mut line, character);
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = in_string,
            '"' => in_string = !in_string,
            _ => {}
        }
    }
    line
}

fn push(out: &mut String, character: char) {
    if is_unsafe(character) {
        // Writing to a String cannot fail.
        let _done = write!(out, "\\u{:04x}", u32::from(character));
    } else {
        out.push(character);
    }
}

/// Rows under their headings, in columns as wide as their widest cell, two spaces apart.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let width = |text: &str| text.chars().count();
    let rows: Vec<Vec<Cow<'_, str>>> =
        rows.iter().map(|row| row.iter().map(|cell| escape(cell)).collect()).collect();
    let mut widths: Vec<usize> = headings.iter().map(|heading| width(heading)).collect();
    for row in &rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = width(cell).max(*widest);
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (cell, widest) in cells.zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', widest.saturating_sub(width(cell)) + 2));
        }
        line.truncate(line.trim_end().len());
        line
    };
    let mut lines = vec![line(&mut headings.iter().copied())];
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(AsRef::as_ref))));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_escaped() {
        assert_eq!(escape("plain é 漢"), "plain é 漢");
        assert_eq!(escape("\x1b]0;x\x07\u{9b}2J\u{202e}\n"), "\\u001b]0;x\\u0007\\u009b2J\\u202e\\u000a");
    }

    #[test]
    fn json_becomes_one_line_and_stays_what_it_was() {
        let json =
            "{ \"a\" : [1.50, 12345678901234567890],\n\t\"b\":\"x \\\" y\\\\\", \"c\":\"\u{9b}\u{202e}\" }";
        let line = compact(json);
        assert_eq!(line, r#"{"a":[1.50,12345678901234567890],"b":"x \" y\\","c":"\u009b\u202e"}"#);
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&line), value(json));
    }

    #[test]
    fn columns_are_aligned_and_lines_do_not_end_in_space() {
        let rows = [vec!["long name".to_owned(), "1".to_owned()], vec!["é\x1b".to_owned(), String::new()]];
        assert_eq!(table(&["NAME", "N"], &rows), ["NAME       N", "long name  1", "é\\u001b"]);
    }
}
