//! How much room the log of decisions takes, and how much its disk has left.

use std::path::Path;

use super::file;

/// In bytes, by kind: `used` by the log's files, `free` on their disk. What the system does not tell is left out.
pub fn of(log: &Path) -> Vec<(&'static str, u64)> {
    let sizes = file::all(log).into_iter().filter_map(|file| Some(file.metadata().ok()?.len()));
    let folder = log.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let disk = rustix::fs::statvfs(folder).ok();
    let free = disk.map(|disk| ("free", disk.f_bavail.saturating_mul(disk.f_frsize)));
    [("used", sizes.sum())].into_iter().chain(free).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_of_the_log_count() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("d.jsonl");
        std::fs::write(&log, "12345").unwrap();
        std::fs::write(dir.path().join("d.jsonl.1"), "123").unwrap();
        let told = of(&log);
        assert_eq!(told[0], ("used", 8));
        assert!(told[1].0 == "free" && told[1].1 > 0, "{told:?}");
    }

    #[test]
    fn a_folder_that_is_not_there_has_no_disk() {
        assert_eq!(of(Path::new("/nowhere/at/all/d.jsonl")), [("used", 0)]);
    }
}
