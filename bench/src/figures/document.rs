//! The document that figures are written into. What stands outside of the markers is written by hand and stays.

use anyhow::{Context as _, Result, ensure};

const BEGIN: &str = "<!-- figures: what follows is written by the benchmark -->";
const END: &str = "<!-- figures: end -->";

/// The document with other figures.
pub(super) fn replaced(document: &str, figures: &str) -> Result<String> {
    for marker in [BEGIN, END] {
        ensure!(document.matches(marker).count() == 1, "the document must have one line `{marker}`");
    }
    let (before, rest) = document.split_once(BEGIN).context("no beginning")?;
    let (_, after) = rest.split_once(END).context("the end stands before the beginning")?;
    Ok(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", figures.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_by_hand_stays() {
        let document = format!("# Title\n\nBy hand.\n\n{BEGIN}\nold\n{END}\n\nA note.\n");
        let once = replaced(&document, "| new |\n").unwrap();
        assert_eq!(once, format!("# Title\n\nBy hand.\n\n{BEGIN}\n\n| new |\n\n{END}\n\nA note.\n"));
        assert_eq!(replaced(&once, "| new |").unwrap(), once);
    }

    #[test]
    fn a_document_without_its_markers_is_left_alone() {
        for document in
            [String::new(), BEGIN.to_owned(), format!("{END}{BEGIN}"), format!("{BEGIN}{BEGIN}{END}")]
        {
            assert!(replaced(&document, "x").is_err(), "{document}");
        }
    }
}
