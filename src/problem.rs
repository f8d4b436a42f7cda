//! What is wrong in a file that a person edits, and where.

use std::fmt;
use std::path::{Path, PathBuf};

/// One fault in a config, rules or answers file. Shown as `file:line:col: message`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, as the user named it.
    pub file: PathBuf,
    /// 1-based; 0 when the whole file is meant (it cannot be read, say).
    pub line: usize,
    /// 1-based, in characters; 0 with line 0.
    pub col: usize,
    /// Lower case; carries the offending text and what is allowed.
    pub message: String,
}

impl Problem {
    /// A fault at a byte offset of `text`.
    pub fn at(file: &Path, text: &str, offset: usize, message: impl Into<String>) -> Self {
        let (line, col) = position(text, offset);
        Self { file: file.to_owned(), line, col, message: message.into() }
    }

    /// A fault of the file as a whole.
    pub fn whole(file: &Path, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: 0, col: 0, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.col)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Line and column (both 1-based, the column in characters) of a byte offset.
/// An offset past the end, or inside a character, is taken as the nearest one before.
pub fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(offset)];
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

/// The closest of `known` to `given`, if it is near enough to be what was meant.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = given.chars().count() / 3 + 1;
    known.into_iter().map(|k| (distance(given, k), k)).filter(|(d, _)| *d <= limit).min().map(|(_, k)| k)
}

/// Levenshtein distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_not_bytes() {
        let text = "a = 1\nимя = \"x\"\n";
        assert_eq!(position(text, 0), (1, 1));
        assert_eq!(position(text, text.find('"').unwrap()), (2, 7));
        assert_eq!(position(text, 10_000), (3, 1));
    }

    #[test]
    fn the_nearest_name_is_offered_only_when_near() {
        let known = ["coding", "reasoning", "general"];
        assert_eq!(nearest("codng", known), Some("coding"));
        assert_eq!(nearest("weather", known), None);
    }
}
