//! What people said of decisions: `FILE.labels` beside the log FILE, one JSON line for each text. It has the texts
//! itself, so that the log may turn over.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::file::with_ending;
use super::past::Past;
use super::{LogError, texts};
use crate::category::Label;
use crate::intent::labelled::{Labelled, MAX_CHARS};
use crate::problem::{Problem, nearest};

/// A person's word on one text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Said {
    label: String,
    text: String,
    /// The log's own.
    #[serde(default)]
    hash: String,
    /// What it had been taken for.
    #[serde(default)]
    category: String,
}

/// The labels beside a log.
#[derive(Debug)]
pub struct Labels {
    path: PathBuf,
    said: Vec<Said>,
}

impl Labels {
    /// Those beside that log; none if there are none yet.
    ///
    /// # Errors
    /// If they cannot be read, or a line is none of them: it would be lost with the next word written.
    pub fn beside(log: &Path) -> Result<Self, LogError> {
        let path = with_ending(log, "labels");
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            read => read.map_err(|error| LogError::Io(path.clone(), error))?,
        };
        let mut said = Vec::new();
        for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let wrong = |e| LogError::NoLabel(path.clone(), i + 1, e);
            said.push(serde_json::from_str(line).map_err(wrong)?);
        }
        Ok(Self { path, said })
    }

    /// Where they are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The texts that somebody has said a word on.
    pub fn texts(&self) -> HashSet<&str> {
        self.said.iter().map(|said| &*said.text).collect()
    }

    /// Takes a word and writes it.
    ///
    /// # Errors
    /// If it cannot be written; the file is as it was.
    pub fn add(&mut self, past: &Past, label: Label) -> Result<(), LogError> {
        self.said.push(Said {
            label: label.name().to_owned(),
            text: past.text.clone(),
            hash: past.hash.clone(),
            category: past.category.clone(),
        });
        self.save()
    }

    /// Takes the word on that text back.
    ///
    /// # Errors
    /// If that cannot be written; the file is as it was.
    pub fn take_back(&mut self, text: &str) -> Result<(), LogError> {
        self.said.retain(|said| said.text != text);
        self.save()
    }

    /// Beside and renamed: whoever reads sees the old file or the new one, whole.
    fn save(&self) -> Result<(), LogError> {
        let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let write = || {
            let mut out = Vec::new();
            for said in &self.said {
                serde_json::to_writer(&mut out, said)?;
                out.push(b'\n');
            }
            // Of a name that nobody can have laid a link under, and for its owner's eyes only.
            let mut file = tempfile::NamedTempFile::new_in(dir)?;
            file.write_all(&out)?;
            file.as_file().sync_all()?;
            file.persist(&self.path)?;
            Ok(())
        };
        write().map_err(|error| LogError::Io(self.path.clone(), error))
    }
}

#[derive(Deserialize)]
struct Line {
    label: Option<String>,
    text: Option<String>,
}

/// The labelled lines of a log: of `FILE.labels`, and of the log itself where somebody wrote `"label"` into a line.
/// The last word on a text counts. FILE may be a file of labels, too.
///
/// # Errors
/// Everything that is wrong with it, or that there are none.
pub fn labelled(log: &Path) -> Result<Vec<Labelled>, Vec<Problem>> {
    let whole = |error: LogError| vec![Problem::whole(log, error.why())];
    let labels = with_ending(log, "labels");
    let mut files = Vec::new();
    // Labels outlive their log.
    if super::past::exists(log) || !labels.exists() {
        files = texts(log).map_err(whole)?;
    }
    if labels.exists() {
        files.append(&mut texts(&labels).map_err(whole)?);
    }
    let (mut lines, mut problems): (Vec<Labelled>, Vec<Problem>) = (Vec::new(), Vec::new());
    let mut place: HashMap<String, usize> = HashMap::new();
    for (file, text) in &files {
        let mut offset = 0;
        for line in text.split_inclusive('\n') {
            match one(line) {
                Ok(None) => {}
                Ok(Some(labelled)) => match place.get(&labelled.text) {
                    Some(at) => lines[*at] = labelled,
                    None => {
                        place.insert(labelled.text.clone(), lines.len());
                        lines.push(labelled);
                    }
                },
                Err(message) => problems.push(Problem::at(file, text, offset, message)),
            }
            offset += line.len();
        }
    }
    if lines.is_empty() && problems.is_empty() {
        let message = "no labelled decision in it; label some with `brainstem review`";
        problems.push(Problem::whole(log, message));
    }
    if problems.is_empty() { Ok(lines) } else { Err(problems) }
}

/// A labelled line, or nothing. A line that a crash cut off has no label.
fn one(line: &str) -> Result<Option<Labelled>, String> {
    let Ok(Line { label: Some(label), text }) = serde_json::from_str(line) else { return Ok(None) };
    let named = Label::of(&label).ok_or_else(|| {
        let names = Label::ALL.map(Label::name);
        let hint = nearest(&label, names).map(|n| format!(", did you mean {n:?}?")).unwrap_or_default();
        format!("unknown label {label:?}: allowed are {}{hint}", names.join(", "))
    })?;
    let text = text.filter(|text| !text.trim().is_empty()).ok_or("a label, but no text")?;
    match text.chars().count() {
        0..=MAX_CHARS => Ok(Some(Labelled { label: named, text, source: "log".to_owned() })),
        chars => Err(format!("a text of {chars} characters: {MAX_CHARS} are allowed")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::past::sample as past;
    use super::*;

    fn pairs(lines: &[Labelled]) -> Vec<(&str, &str)> {
        lines.iter().map(|line| (line.label.name(), &*line.text)).collect()
    }

    #[test]
    fn words_are_kept_taken_back_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("d.jsonl");
        let mut labels = Labels::beside(&log).unwrap();
        labels.add(&past("two\nlines"), Label::Coding).unwrap();
        labels.add(&past("a slip"), Label::General).unwrap();
        labels.take_back("a slip").unwrap();
        let again = Labels::beside(&log).unwrap();
        assert_eq!(again.texts(), HashSet::from(["two\nlines"]));
        assert_eq!(std::fs::metadata(again.path()).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(pairs(&labelled(&log).unwrap()), [("coding", "two\nlines")], "the log itself may be gone");
        let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["d.jsonl.labels"], "nothing is left beside it");
    }

    #[test]
    fn labels_in_the_log_count_and_the_last_word_wins() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("d.jsonl");
        let text = r#"{"category":"general","text":"by hand","label":"reasoning"}
{"category":"general","text":"unlabelled"}
{"category":"gener"#;
        std::fs::write(&log, text).unwrap();
        assert_eq!(pairs(&labelled(&log).unwrap()), [("reasoning", "by hand")]);
        let mut labels = Labels::beside(&log).unwrap();
        labels.add(&past("by hand"), Label::Coding).unwrap();
        assert_eq!(pairs(&labelled(&log).unwrap()), [("coding", "by hand")]);
        assert_eq!(pairs(&labelled(labels.path()).unwrap()), [("coding", "by hand")]);
    }

    #[test]
    fn faults_are_told_with_their_place() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("d.jsonl");
        std::fs::write(&log, "{\"label\":\"codng\",\"text\":\"x\"}\n{\"label\":\"coding\"}\n").unwrap();
        let found: Vec<String> = labelled(&log).unwrap_err().iter().map(ToString::to_string).collect();
        assert!(
            found[0].contains("d.jsonl:1:1: unknown label \"codng\"") && found[0].contains("\"coding\"?")
        );
        assert!(found[1].ends_with("d.jsonl:2:1: a label, but no text"), "{found:?}");
        std::fs::write(&log, "{\"text\":\"x\"}\n").unwrap();
        assert!(labelled(&log).unwrap_err()[0].message.contains("brainstem review"));
        std::fs::write(dir.path().join("d.jsonl.labels"), "no JSON\n").unwrap();
        assert!(Labels::beside(&log).unwrap_err().to_string().contains("d.jsonl.labels:1: "));
    }
}
