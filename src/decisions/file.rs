//! A file that is put aside when it is full: FILE, FILE.1 (newer) … FILE.N (older). Readable by its owner alone.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// As many as the config may ask to keep.
const MOST: usize = 100;

/// What a prompt's text deserves.
const OWNER_ONLY: u32 = 0o600;

/// The running file and those before it.
#[derive(Debug)]
pub struct Rotating {
    path: PathBuf,
    max_size: u64,
    keep: usize,
    /// Absent after an error: opened anew for the next line.
    open: Option<File>,
    size: u64,
}

impl Rotating {
    /// Opens the running file, which may have lines from before.
    ///
    /// # Errors
    /// As the system says.
    pub fn open(path: &Path, max_size: u64, keep: usize) -> io::Result<Self> {
        let mut rotating = Self { path: path.to_owned(), max_size, keep, open: None, size: 0 };
        rotating.file()?;
        Ok(rotating)
    }

    /// The running file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a line with its end, into a new file if this one would grow too large.
    ///
    /// # Errors
    /// As the system says; the next line tries again.
    pub fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let len = line.len() as u64;
        self.file()?;
        if self.size > 0 && self.size + len > self.max_size {
            self.put_aside()?;
        }
        let written = self.file()?.write_all(line);
        match written {
            Ok(()) => self.size += len,
            Err(_) => self.open = None,
        }
        written
    }

    fn file(&mut self) -> io::Result<&mut File> {
        let file = match self.open.take() {
            Some(file) => file,
            None => {
                let (file, size) = open_at_its_end(&self.path)?;
                self.size = size;
                file
            }
        };
        Ok(self.open.insert(file))
    }

    fn put_aside(&mut self) -> io::Result<()> {
        self.open = None;
        // Above `keep`, too: it may have been larger once.
        for n in self.keep.max(1)..=MOST {
            gone(std::fs::remove_file(numbered(&self.path, n)))?;
        }
        for n in (1..self.keep).rev() {
            gone(std::fs::rename(numbered(&self.path, n), numbered(&self.path, n + 1)))?;
        }
        match self.keep {
            0 => gone(std::fs::remove_file(&self.path)),
            _ => gone(std::fs::rename(&self.path, numbered(&self.path, 1))),
        }
    }
}

/// All files of a log that are there, oldest first.
pub fn all(path: &Path) -> Vec<PathBuf> {
    let aside = (1..=MOST).rev().map(|n| numbered(path, n));
    aside.chain([path.to_owned()]).filter(|file| file.exists()).collect()
}

/// `FILE` and `1` → `FILE.1`.
fn numbered(path: &Path, n: usize) -> PathBuf {
    with_ending(path, &n.to_string())
}

/// `FILE` and `labels` → `FILE.labels`.
pub(super) fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

/// Options for a file that only its owner may read.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).mode(OWNER_ONLY);
    options
}

/// A file to append to, and its size. A line that was cut off (a full disk, a crash) is ended first.
fn open_at_its_end(path: &Path) -> io::Result<(File, u64)> {
    // A pipe or a device has no end to look at, a link may lead to somebody else's file: neither is ours to change.
    if std::fs::symlink_metadata(path).is_ok_and(|there| !there.is_file()) {
        return Err(io::Error::new(ErrorKind::InvalidInput, "no regular file"));
    }
    let mut file = private().read(true).append(true).open(path)?;
    // One that was there already may be open to others.
    file.set_permissions(Permissions::from_mode(OWNER_ONLY))?;
    let mut size = file.metadata()?.len();
    if size > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
            size += 1;
        }
    }
    Ok((file, size))
}

/// What is not there need not be moved.
fn gone(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(keep: usize, lines: usize) -> Vec<(String, String)> {
        let dir = tempfile::tempdir().unwrap();
        let mut file = Rotating::open(&dir.path().join("d"), 8, keep).unwrap();
        for n in 0..lines {
            file.write(format!("{n}..\n").as_bytes()).unwrap();
        }
        let read = |file: PathBuf| {
            let name = file.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(file).unwrap().replace("..\n", ""))
        };
        let there = std::fs::read_dir(dir.path()).unwrap().count();
        let all: Vec<_> = all(&dir.path().join("d")).into_iter().map(read).collect();
        assert_eq!(there, all.len(), "nothing else lies about");
        all
    }

    fn named(files: &[(&str, &str)]) -> Vec<(String, String)> {
        files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn a_full_file_is_put_aside_and_only_so_many_are_kept() {
        assert_eq!(written(2, 2), named(&[("d", "01")]));
        assert_eq!(written(2, 3), named(&[("d.1", "01"), ("d", "2")]));
        assert_eq!(written(2, 9), named(&[("d.2", "45"), ("d.1", "67"), ("d", "8")]));
        assert_eq!(written(1, 9), named(&[("d.1", "67"), ("d", "8")]));
        assert_eq!(written(0, 9), named(&[("d", "8")]));
    }

    #[test]
    fn a_line_above_the_limit_has_a_file_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d");
        let mut file = Rotating::open(&path, 8, 3).unwrap();
        for line in ["a\n", "0123456789\n", "b\n"] {
            file.write(line.as_bytes()).unwrap();
        }
        let texts: Vec<_> = all(&path).iter().map(|f| std::fs::read_to_string(f).unwrap()).collect();
        assert_eq!(texts, ["a\n", "0123456789\n", "b\n"]);
    }

    #[test]
    fn what_is_there_is_kept_its_torn_line_ended_and_others_shut_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d");
        std::fs::write(&path, "torn").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        Rotating::open(&path, 8, 1).unwrap().write(b"b\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "torn\nb\n");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        Rotating::open(&path, 8, 1).unwrap().write(b"next\n").unwrap();
        assert_eq!((mode(&path), mode(&numbered(&path, 1))), (0o600, 0o600));
    }

    #[test]
    fn only_a_regular_file_will_do() {
        for other in ["/dev/null", "/"] {
            assert_eq!(Rotating::open(Path::new(other), 8, 1).unwrap_err().to_string(), "no regular file");
        }
    }

    #[test]
    fn an_error_is_not_for_good() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("away/d");
        std::fs::create_dir(dir.path().join("away")).unwrap();
        let mut file = Rotating::open(&path, 8, 1).unwrap();
        file.write(b"before\n").unwrap();
        std::fs::remove_dir_all(dir.path().join("away")).unwrap();
        assert!(file.write(b"lost\n").is_err());
        std::fs::create_dir(dir.path().join("away")).unwrap();
        file.write(b"after\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "after\n");
    }

    #[test]
    fn fewer_kept_than_before_leaves_no_old_ones() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d");
        for n in 1..=4 {
            std::fs::write(numbered(&path, n), "old\n").unwrap();
        }
        std::fs::write(&path, "running\n").unwrap();
        Rotating::open(&path, 8, 2).unwrap().write(b"new\n").unwrap();
        let names: Vec<_> = all(&path).iter().map(|f| f.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["d.2", "d.1", "d"]);
    }
}
