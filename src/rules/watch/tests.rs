//! Real files, real events; deadlines that a busy machine meets too.

use std::sync::mpsc::RecvTimeoutError;

use super::*;
use crate::category::Category;
use crate::rules::tests::vocabulary;

/// Far more than a reload takes, for machines that are busy.
const PATIENT: Duration = Duration::from_secs(20);
/// Long enough for an unwanted reload to show.
const STILL: Duration = Duration::from_millis(1200);

struct Bench {
    _root: tempfile::TempDir,
    root: PathBuf,
    store: Arc<ArcSwap<Snapshot>>,
    events: Receiver<Reload>,
    watch: Option<Watch>,
}

fn rule(category: &str) -> String {
    format!("[[rule]]\nname = 'r'\ncategory = '{category}'\nany = ['x']\n")
}

impl Bench {
    /// `make` lays out the root; the rules directory is `rules` in it.
    fn new(make: impl FnOnce(&Path)) -> Self {
        let root = tempfile::tempdir().unwrap();
        make(root.path());
        let dir = root.path().join("rules");
        let snapshot = Snapshot::load(&dir, &vocabulary().borrow()).unwrap();
        let store = Arc::new(ArcSwap::from_pointee(snapshot));
        let (sender, events) = mpsc::channel();
        let send = move |event| sender.send(event).unwrap_or_default();
        let watch = Some(watch(&dir, vocabulary(), store.clone(), send).unwrap());
        Self { root: root.path().to_owned(), _root: root, store, events, watch }
    }

    fn with_rule(category: &str) -> Self {
        Self::new(|root| {
            fs::create_dir(root.join("rules")).unwrap();
            fs::write(root.join("rules/a.toml"), rule(category)).unwrap();
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn category(&self) -> Category {
        self.store.load().rules()[0].category
    }

    /// Waits until the rule has that category; refusals in between may be.
    fn becomes(&self, category: Category) -> u64 {
        let deadline = Instant::now() + PATIENT;
        while self.category() != category {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(_) => {}
                Err(error) => panic!("still {}: {error}", self.category()),
            }
        }
        self.store.load().generation
    }

    fn refused(&self) -> Vec<Problem> {
        match self.events.recv_timeout(PATIENT) {
            Ok(Reload::Refused(problems)) => problems,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_written_and_a_renamed_file_are_taken_up() {
    let bench = Bench::with_rule("coding");
    fs::write(bench.path("rules/a.toml"), rule("reasoning")).unwrap();
    assert_eq!(bench.becomes(Category::REASONING), 2);
    fs::write(bench.path("rules/.a.toml.tmp"), rule("fast")).unwrap();
    fs::rename(bench.path("rules/.a.toml.tmp"), bench.path("rules/a.toml")).unwrap();
    assert_eq!(bench.becomes(Category::FAST), 3);
}

#[test]
fn answers_made_later_are_seen() {
    let bench = Bench::with_rule("coding");
    fs::create_dir(bench.path("rules/answers")).unwrap();
    fs::write(bench.path("rules/answers/a.toml"), "[[answer]]\nname = 'a'\nen = 'x'\n").unwrap();
    let deadline = Instant::now() + PATIENT;
    while bench.store.load().answers().len() == 0 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    }
    fs::write(bench.path("rules/answers/a.toml"), "[[answer]]\nname = 'b'\nen = 'x'\n").unwrap();
    while bench.store.load().answer("b").is_none() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_broken_file_changes_nothing_and_is_told_once() {
    let bench = Bench::with_rule("coding");
    fs::write(bench.path("rules/a.toml"), &rule("reasoning")[..40]).unwrap();
    let problems = bench.refused();
    assert!(problems[0].to_string().contains("a.toml:3:"), "{problems:?}");
    assert_eq!((bench.category(), bench.store.load().generation), (Category::CODING, 1));
    fs::write(bench.path("rules/notes.txt"), "nothing").unwrap();
    assert!(matches!(bench.events.recv_timeout(STILL), Err(RecvTimeoutError::Timeout)));
    fs::write(bench.path("rules/a.toml"), rule("reasoning")).unwrap();
    assert_eq!(bench.becomes(Category::REASONING), 2);
}

#[test]
fn going_back_to_what_is_loaded_ends_the_complaint() {
    let bench = Bench::with_rule("coding");
    fs::write(bench.path("rules/a.toml"), "broken").unwrap();
    bench.refused();
    fs::write(bench.path("rules/a.toml"), rule("coding")).unwrap();
    match bench.events.recv_timeout(PATIENT) {
        Ok(Reload::Swapped { generation: 1, rules: 1, answers: 0, .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_same_contents_are_no_reload() {
    let bench = Bench::with_rule("coding");
    fs::write(bench.path("rules/a.toml"), rule("coding")).unwrap();
    fs::write(bench.path("rules/a.toml~"), "junk").unwrap();
    assert!(matches!(bench.events.recv_timeout(STILL), Err(RecvTimeoutError::Timeout)));
    assert_eq!(bench.store.load().generation, 1);
}

#[test]
fn a_directory_deleted_and_made_again_is_watched_again() {
    let bench = Bench::with_rule("coding");
    fs::remove_dir_all(bench.path("rules")).unwrap();
    bench.refused();
    fs::create_dir(bench.path("rules")).unwrap();
    fs::write(bench.path("rules/a.toml"), rule("fast")).unwrap();
    bench.becomes(Category::FAST);
    fs::write(bench.path("rules/a.toml"), rule("general")).unwrap();
    bench.becomes(Category::GENERAL);
}

#[cfg(unix)]
#[test]
fn a_symlinked_directory_may_be_pointed_elsewhere() {
    use std::os::unix::fs::symlink;
    let bench = Bench::new(|root| {
        for (dir, category) in [("v1", "coding"), ("v2", "reasoning")] {
            fs::create_dir(root.join(dir)).unwrap();
            fs::write(root.join(dir).join("a.toml"), rule(category)).unwrap();
        }
        symlink("v1", root.join("rules")).unwrap();
    });
    symlink("v2", bench.path("next")).unwrap();
    fs::rename(bench.path("next"), bench.path("rules")).unwrap();
    bench.becomes(Category::REASONING);
    fs::write(bench.path("v2/a.toml"), rule("fast")).unwrap();
    bench.becomes(Category::FAST);
}

#[cfg(unix)]
#[test]
fn kubernetes_swaps_the_data_under_its_links() {
    use std::os::unix::fs::symlink;
    let bench = Bench::new(|root| {
        for (version, category) in [("..1", "coding"), ("..2", "reasoning"), ("..3", "fast")] {
            fs::create_dir_all(root.join("rules").join(version)).unwrap();
            fs::write(root.join("rules").join(version).join("a.toml"), rule(category)).unwrap();
        }
        symlink("..1", root.join("rules/..data")).unwrap();
        symlink("..data/a.toml", root.join("rules/a.toml")).unwrap();
    });
    for (version, category) in [("..2", Category::REASONING), ("..3", Category::FAST)] {
        symlink(version, bench.path("rules/..data_tmp")).unwrap();
        fs::rename(bench.path("rules/..data_tmp"), bench.path("rules/..data")).unwrap();
        bench.becomes(category);
    }
}

#[test]
fn a_dropped_watch_watches_no_more() {
    let mut bench = Bench::with_rule("coding");
    bench.watch.take();
    fs::write(bench.path("rules/a.toml"), rule("reasoning")).unwrap();
    assert!(bench.events.recv_timeout(STILL).is_err());
    assert_eq!(bench.category(), Category::CODING);
}

#[test]
fn polling_sees_changes_too() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.toml"), rule("coding")).unwrap();
    let (sender, signals) = mpsc::channel();
    let config = Config::default().with_poll_interval(Duration::from_millis(50)).with_compare_contents(true);
    let _watcher = poll(dir.path(), config, sender).unwrap();
    fs::write(dir.path().join("a.toml"), rule("reasoning")).unwrap();
    assert!(matches!(signals.recv_timeout(PATIENT), Ok(Signal::Changed)));
}
