//! The files of a rules directory, as they lie on disk.

use std::fs;
use std::path::{Path, PathBuf};

use crate::fnv;
use crate::problem::Problem;

/// How files of taught phrases end.
const EXAMPLES: &str = "tsv";

/// Above this a rules file is surely something else.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// One file's name and text.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    /// Offsets of its lines: a file may have ten thousand rules, each with its line.
    lines: Vec<usize>,
}

impl Source {
    pub(super) fn new(path: PathBuf, text: String) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { path, text, lines }
    }

    /// Whether it holds taught phrases, not rules.
    pub(crate) fn teaches(&self) -> bool {
        self.path.extension().is_some_and(|ending| ending == EXAMPLES)
    }

    /// The line (1-based) of a byte offset.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start <= offset)
    }

    /// As [`Problem::at`].
    pub(crate) fn problem(&self, offset: usize, message: impl Into<String>) -> Problem {
        let line = self.line(offset);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        let end = self.text.floor_char_boundary(offset);
        let col = self.text.get(start..end).unwrap_or_default().chars().count() + 1;
        Problem { file: self.path.clone(), line, col, message: message.into() }
    }
}

/// All files of a rules directory, read at one moment.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) files: Vec<Source>,
    /// Of names and contents, in hex: two directories with the same hash hold the same rules.
    pub(crate) hash: String,
    /// What could not be read.
    pub(crate) problems: Vec<Problem>,
}

impl Sources {
    /// Adds a file that is not on disk, where it would stand if it were, in place of one of that name.
    pub(super) fn put(&mut self, dir: &Path, file: &str, text: String) {
        let path = dir.join(file);
        let depth = |path: &Path| path.components().count();
        let after = |other: &Source| {
            (depth(&other.path), other.teaches(), &*other.path) > (depth(&path), false, &*path)
        };
        self.problems.retain(|problem| problem.file != path);
        self.files.retain(|source| source.path != path);
        let at = self.files.iter().position(after).unwrap_or(self.files.len());
        self.files.insert(at, Source::new(path, text));
    }
}

/// Reads `dir/*.toml`, `dir/answers/*.toml` and `dir/examples/*.tsv`, each sorted by file name, in this order.
pub(crate) fn read(dir: &Path) -> Sources {
    let mut sources = Sources { files: Vec::new(), hash: String::new(), problems: Vec::new() };
    let mut hash = Fnv::new();
    let places = [(dir.to_owned(), "toml"), (dir.join("answers"), "toml"), (dir.join("examples"), EXAMPLES)];
    for (sub, ending) in places {
        for path in list(&sub, ending, sub == dir, &mut sources.problems) {
            hash.text(path.strip_prefix(dir).unwrap_or(&path).to_string_lossy().as_bytes());
            match read_file(&path) {
                Ok(text) => {
                    hash.text(text.as_bytes());
                    sources.files.push(Source::new(path, text));
                }
                Err(problem) => {
                    hash.text(problem.to_string().as_bytes());
                    sources.problems.push(problem);
                }
            }
        }
    }
    sources.problems.iter().for_each(|p| hash.text(p.to_string().as_bytes()));
    sources.hash = format!("{:016x}", hash.0);
    sources
}

/// The files of one directory that end so. Hidden files and editors' leavings are not among them.
fn list(dir: &Path, ending: &str, required: bool, problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if !required && error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            let message = format!(
                "the rules directory cannot be read ({error}); create it (an empty one will do) \
                 or name another with --rules"
            );
            problems.push(Problem::whole(dir, message));
            return Vec::new();
        }
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| is_ours(name, ending)))
        .map(|entry| entry.path())
        .filter(|path| !path.is_dir())
        .collect();
    paths.sort();
    paths
}

fn is_ours(name: &str, ending: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(stem, found)| found == ending && !stem.is_empty())
        && !name.starts_with('.')
}

fn read_file(path: &Path) -> Result<String, Problem> {
    let unreadable = |error: std::io::Error| Problem::whole(path, format!("cannot be read: {error}"));
    let size = fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_FILE_BYTES {
        let message = format!("{size} bytes; a rules file may have {MAX_FILE_BYTES} at most: split it");
        return Err(Problem::whole(path, message));
    }
    String::from_utf8(fs::read(path).map_err(unreadable)?).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes());
        Problem::at(path, &text, valid, "not UTF-8 text; save the file as UTF-8")
    })
}

/// The hash of a set of files.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(fnv::BASIS)
    }

    /// A text and its end, so that "a","bc" and "ab","c" differ.
    fn text(&mut self, bytes: &[u8]) {
        let length = fnv::more(self.0, &(bytes.len() as u64).to_le_bytes());
        self.0 = fnv::more(length, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rule_files_are_read_in_order_rules_first() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("answers")).unwrap();
        for name in
            ["b.toml", "a.toml", "a.toml~", ".hidden.toml", "x.toml.swp", "README.md", "answers/0.toml"]
        {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let sources = read(dir.path());
        let names: Vec<&str> = sources.files.iter().map(|s| s.text.as_str()).collect();
        assert_eq!(names, ["a.toml", "b.toml", "answers/0.toml"]);
        assert!(sources.problems.is_empty());
    }

    #[test]
    fn a_file_that_is_not_there_takes_its_place_in_the_order() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("answers")).unwrap();
        fs::create_dir(dir.path().join("examples")).unwrap();
        for name in ["a.toml", "c.toml", "answers/b.toml", "examples/a.tsv"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let order = |file: &str| {
            let mut sources = read(dir.path());
            sources.put(dir.path(), file, "new".into());
            sources.files.into_iter().map(|s| s.text).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(order("b.toml"), "a.toml new c.toml answers/b.toml examples/a.tsv");
        assert_eq!(order("d.toml"), "a.toml c.toml new answers/b.toml examples/a.tsv");
        assert_eq!(order("a.toml"), "new c.toml answers/b.toml examples/a.tsv");
        assert_eq!(order("answers/c.toml"), "a.toml c.toml answers/b.toml new examples/a.tsv");
    }

    #[test]
    fn the_hash_is_of_names_and_contents() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.toml"), "x").unwrap();
        let first = read(dir.path()).hash;
        assert_eq!(first, read(dir.path()).hash);
        fs::rename(dir.path().join("a.toml"), dir.path().join("b.toml")).unwrap();
        let second = read(dir.path()).hash;
        assert_ne!(first, second);
        fs::write(dir.path().join("b.toml"), "y").unwrap();
        assert_ne!(second, read(dir.path()).hash);
    }

    #[test]
    fn a_missing_directory_and_bytes_that_are_no_text_are_problems() {
        let dir = tempfile::tempdir().unwrap();
        let missing = read(&dir.path().join("nowhere"));
        assert!(missing.problems[0].message.contains("--rules"), "{missing:?}");
        fs::write(dir.path().join("a.toml"), b"# ok\n\xff").unwrap();
        let problem = &read(dir.path()).problems[0];
        assert_eq!((problem.line, problem.col), (2, 1));
    }
}
