//! Labelled lines for training and evaluation: `label<TAB>text[<TAB>source]`.

use std::path::Path;

use crate::category::Label;
use crate::problem::{Problem, nearest};

/// The longest text that a line may hold, in characters.
pub const MAX_CHARS: usize = 2_000;

/// One labelled line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labelled {
    /// What the text is.
    pub label: Label,
    /// What somebody might write.
    pub text: String,
    /// Where it comes from; empty if the line does not say.
    pub source: String,
}

/// The lines of a file, or everything that is wrong with it. Empty lines and lines that begin with `#` and
/// have no tab are skipped; the source is the file's name unless a third column gives it.
pub fn read(path: &Path) -> Result<Vec<Labelled>, Vec<Problem>> {
    let text = std::fs::read_to_string(path).map_err(|e| vec![Problem::whole(path, e.to_string())])?;
    parse(path, &text)
}

/// The same for a text already read.
pub fn parse(path: &Path, text: &str) -> Result<Vec<Labelled>, Vec<Problem>> {
    let name = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let (mut lines, mut problems) = (Vec::new(), Vec::new());
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        match parse_line(line.trim_end_matches(['\n', '\r']).trim_start_matches('\u{feff}')) {
            Ok(None) => {}
            Ok(Some(mut labelled)) => {
                if labelled.source.is_empty() {
                    labelled.source.clone_from(&name);
                }
                lines.push(labelled);
            }
            Err((at, message)) => problems.push(Problem::at(path, text, offset + at, message)),
        }
        offset += line.len();
    }
    if problems.is_empty() { Ok(lines) } else { Err(problems) }
}

/// A line, nothing, or the byte offset in the line and what is wrong there.
fn parse_line(line: &str) -> Result<Option<Labelled>, (usize, String)> {
    if line.trim().is_empty() || (line.starts_with('#') && !line.contains('\t')) {
        return Ok(None);
    }
    let allowed = || Label::ALL.map(Label::name).join(", ");
    let Some((name, rest)) = line.split_once('\t') else {
        return Err((0, format!("no tab: a line is label<TAB>text, the label one of {}", allowed())));
    };
    let label = Label::of(name).ok_or_else(|| {
        let hint = nearest(name, Label::ALL.map(Label::name)).map(|n| format!(", did you mean {n:?}?"));
        (0, format!("unknown label {name:?}: allowed are {}{}", allowed(), hint.unwrap_or_default()))
    })?;
    let (text, source) = rest.split_once('\t').unwrap_or((rest, ""));
    let at = name.len() + 1;
    if text.trim().is_empty() {
        return Err((at, "empty text after the label".to_owned()));
    }
    let chars = text.chars().count();
    if chars > MAX_CHARS {
        return Err((at, format!("a text of {chars} characters: {MAX_CHARS} are allowed")));
    }
    Ok(Some(Labelled { label, text: text.trim().to_owned(), source: source.trim().to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_a_label_a_text_and_perhaps_a_source() {
        let text = "# a note\n\ngreeting\tпривет\ncoding\tfix the bug\tours/en\r\n";
        let lines = parse(Path::new("dir/own.tsv"), text).unwrap();
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[0].label, &*lines[0].text, &*lines[0].source), (Label::Greeting, "привет", "own"));
        assert_eq!(
            (lines[1].label, &*lines[1].text, &*lines[1].source),
            (Label::Coding, "fix the bug", "ours/en")
        );
    }

    #[test]
    fn everything_wrong_is_told_with_its_place() {
        let long = "x".repeat(MAX_CHARS + 1);
        let text = format!("greeting\tok\ncodng\tx\nno tab here\ngeneral\t \ngeneral\t{long}\n");
        let found: Vec<String> =
            parse(Path::new("a.tsv"), &text).unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 4);
        assert_eq!(
            found[0],
            "a.tsv:2:1: unknown label \"codng\": allowed are greeting, data_question, coding, reasoning, general, \
             did you mean \"coding\"?"
        );
        assert!(found[1].starts_with("a.tsv:3:1: no tab: "), "{}", found[1]);
        assert_eq!(found[2], "a.tsv:4:9: empty text after the label");
        assert_eq!(found[3], "a.tsv:5:9: a text of 2001 characters: 2000 are allowed");
    }

    #[test]
    fn a_missing_file_is_a_problem_too() {
        assert_eq!(read(Path::new("/nonexistent/x.tsv")).unwrap_err()[0].line, 0);
    }
}
