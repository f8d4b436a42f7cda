//! A brainstem started from the built binary, with a directory of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::{Connection, DEADLINE, Reply, Request, Upstream, eventually, send};

/// Rules that every test's brainstem has unless it brings its own.
pub(crate) const RULES: &str = r#"
[[rule]]
name = "code-words"
category = "coding"
priority = 50
any = ["refactor", "stack trace"]

[[rule]]
name = "forbidden"
refuse = "that is not talked about here"
priority = 90
any = ["forbidden topic"]
"#;

/// Answers that every test's brainstem has unless it brings its own.
pub(crate) const ANSWERS: &str = r#"
filler = ["please"]

[[answer]]
name = "greeting"
priority = 10
examples = ["good evening"]
ru = "Привет! Чем могу помочь сегодня?"
en = "Hello! How can I help you today?"

[answer.match]
only = true
any = ["hello", "hi", "привет"]
"#;

/// How it is to be started.
pub(crate) struct Options {
    config: toml::Table,
    rules: Vec<(String, String)>,
    rules_at: Option<PathBuf>,
    environment: Vec<(String, String)>,
    files: Vec<(String, Vec<u8>)>,
    admin_key: Option<String>,
    upstream: Option<SocketAddr>,
    at: [SocketAddr; 2],
    upgrade: bool,
}

impl Options {
    /// In front of that upstream, without a classifier.
    pub(crate) fn before(upstream: &Upstream) -> Self {
        let mut options = Self::bare().set("upstream.default.url", upstream.url());
        options.upstream = Some(upstream.address);
        options
    }

    /// In front of a port where nobody listens.
    pub(crate) fn before_nobody() -> Self {
        Self::bare().set("upstream.default.url", format!("http://{}", nobody()))
    }

    /// Does not wait until its upstream is seen.
    pub(crate) fn anywhere(mut self) -> Self {
        self.upstream = None;
        self
    }

    /// Without an upstream yet.
    pub(crate) fn bare() -> Self {
        let rules =
            vec![("rules.toml".into(), RULES.into()), ("answers/answers.toml".into(), ANSWERS.into())];
        let environment = Vec::new();
        Self {
            config: toml::Table::new(),
            rules,
            rules_at: None,
            environment,
            files: Vec::new(),
            admin_key: None,
            upstream: None,
            at: [SocketAddr::from(([127, 0, 0, 1], 0)); 2],
            upgrade: false,
        }
        .set("classifier.mode", "off")
        .set("upstream.default.poll", "100ms")
        .set("proxy.threads", 2)
        .set("proxy.grace", "2s")
    }

    /// `section.key` or `section.name.key`.
    pub(crate) fn set(mut self, key: &str, value: impl Into<toml::Value>) -> Self {
        let mut words: Vec<&str> = key.split('.').collect();
        let last = words.pop().unwrap();
        let mut table = &mut self.config;
        for word in words {
            let inner = table.entry(word).or_insert_with(|| toml::Table::new().into());
            table = inner.as_table_mut().unwrap();
        }
        table.insert(last.to_owned(), value.into());
        self
    }

    /// A file below the rules directory, in place of one of that name.
    pub(crate) fn rules(mut self, file: &str, text: &str) -> Self {
        self.rules.retain(|(name, _)| name != file);
        self.rules.push((file.into(), text.into()));
        self
    }

    /// A file in the directory that it runs in.
    pub(crate) fn file(mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.push((name.into(), bytes.into()));
        self
    }

    /// The key that its admin address asks for.
    pub(crate) fn admin_key(mut self, key: &str) -> Self {
        self.admin_key = Some(key.to_owned());
        self
    }

    /// A rules directory elsewhere.
    pub(crate) fn rules_at(mut self, dir: &Path) -> Self {
        self.rules_at = Some(dir.to_owned());
        self
    }

    /// On these addresses: proxy, admin.
    pub(crate) fn at(mut self, proxy: SocketAddr, admin: SocketAddr) -> Self {
        self.at = [proxy, admin];
        self
    }

    /// Takes the listeners over from one that runs there.
    pub(crate) fn upgrading(mut self) -> Self {
        self.upgrade = true;
        self
    }

    /// With the classifier that ships.
    pub(crate) fn classifier(self, mode: &str) -> Self {
        self.set("classifier.mode", mode).set("classifier.model", shipped_model().display().to_string())
    }

    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    #[track_caller]
    pub(crate) fn start(self) -> Running {
        Running::start(self)
    }
}

/// The weights that ship with the project.
pub(crate) fn shipped_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/intent")
}

/// An address where nobody listens: it was free a moment ago, and below the range that the system gives out.
pub(crate) fn nobody() -> SocketAddr {
    loop {
        let address = SocketAddr::from(([127, 0, 0, 1], fastrand::u16(20_000..30_000)));
        if std::net::TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// The binary, deaf to what this shell's environment says about brainstem.
pub(crate) fn brainstem() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brainstem"));
    for (name, _) in std::env::vars() {
        if ["BRAINSTEM_", "VICTORIA_", "MLX_"].iter().any(|ours| name.starts_with(ours)) {
            command.env_remove(name);
        }
    }
    command
}

/// A running brainstem; killed when dropped, its log shown if the test failed.
pub(crate) struct Running {
    pub(crate) proxy: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) dir: TempDir,
    pub(crate) child: Child,
    admin_key: Option<String>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Running {
    /// Two ports are taken for a moment, given back, and taken again by Pingora: somebody else may have one of
    /// them by then, so a start is tried more than once.
    #[track_caller]
    fn start(options: Options) -> Self {
        let mut why = String::new();
        for _ in 0..3 {
            match Self::try_start(&options) {
                Ok(running) => return running,
                Err(error) => why = error,
            }
        }
        panic!("brainstem does not start: {why}");
    }

    fn try_start(options: &Options) -> Result<Self, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("brainstem.toml"), options.config.to_string()).unwrap();
        for (name, bytes) in &options.files {
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        for (name, text) in &options.rules {
            let file = dir.path().join("rules").join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let mut child = brainstem()
            .args(["serve", "--config", "brainstem.toml", "--rules"])
            .arg(options.rules_at.as_deref().unwrap_or(Path::new("rules")))
            .args(["--listen", &options.at[0].to_string(), "--admin", &options.at[1].to_string()])
            .args(options.upgrade.then_some("--upgrade"))
            .envs(options.environment.iter().map(|(k, v)| (k, v)))
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let (reading, stderr) = (log.clone(), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                reading.lock().unwrap().push(line);
            }
        });
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let admin_key = options.admin_key.clone();
        let mut running = Self { proxy: anywhere, admin: anywhere, dir, child, admin_key, log };
        running.wait_for_ports()?;
        running.wait_until_ready(options)?;
        Ok(running)
    }

    fn wait_for_ports(&mut self) -> Result<(), String> {
        let clock = Instant::now();
        let address_after = |log: &[String], mark: &str| {
            let line = log.iter().find_map(|line| line.split_once(mark).map(|(_, rest)| rest.to_owned()))?;
            line.split([',', ' ', '"']).next()?.parse::<SocketAddr>().ok()
        };
        loop {
            let log = self.log();
            let proxy = address_after(&log, "listening on http://");
            let proxy = proxy.or_else(|| address_after(&log, "listening on https://"));
            let admin = address_after(&log, "explain on http://");
            if let (Some(proxy), Some(admin)) = (proxy, admin) {
                (self.proxy, self.admin) = (proxy, admin);
                return Ok(());
            }
            let over = self.child.try_wait().unwrap();
            if over.is_some() || clock.elapsed() > DEADLINE {
                return Err(format!("{over:?}\n{}", log.join("\n")));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Serves on both ports, has looked at its upstream, has its classifier or knows that it has none.
    fn wait_until_ready(&mut self, options: &Options) -> Result<(), String> {
        let clock = Instant::now();
        loop {
            let ready = self.looks_ready(options);
            if ready {
                return Ok(());
            }
            let over = self.child.try_wait().unwrap();
            if over.is_some() || clock.elapsed() > DEADLINE {
                return Err(format!("not ready, {over:?}\n{}", self.log().join("\n")));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn looks_ready(&self, options: &Options) -> bool {
        let connects = |address| std::net::TcpStream::connect_timeout(&address, DEADLINE).is_ok();
        if !connects(self.proxy) || !connects(self.admin) {
            return false;
        }
        let ready = self.ready();
        let upstream = &ready["upstreams"][0];
        let mine = options
            .upstream
            .is_none_or(|address| upstream["url"] == format!("http://{address}") && upstream["up"] == true);
        mine && ready["classifier"]["state"] != "loading"
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub(crate) fn send(&self, request: &Request) -> Reply {
        send(self.proxy, request)
    }

    #[track_caller]
    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.proxy)
    }

    /// A chat with one message.
    #[track_caller]
    pub(crate) fn chat(&self, text: &str) -> Reply {
        self.send(&super::asks::chat("llama3.2", text))
    }

    /// `GET` on the admin address.
    #[track_caller]
    pub(crate) fn admin(&self, path: &str) -> Reply {
        let request = Request::get(path);
        send(
            self.admin,
            &match &self.admin_key {
                Some(key) => request.header("Authorization", &format!("Bearer {key}")),
                None => request,
            },
        )
    }

    #[track_caller]
    pub(crate) fn ready(&self) -> Value {
        self.admin("/readyz").value()
    }

    /// The value of a metric's line, e.g. `classifier_requests_total{outcome="kept"}`; 0 if it is not there.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.admin("/metrics");
        let line = text.text().lines().find_map(|line| line.strip_prefix("brainstem_")?.strip_prefix(name));
        line.map_or(0.0, |rest| rest.trim().parse().unwrap())
    }

    /// Waits until the upstream of that name is seen up (or down) with that many models.
    #[track_caller]
    pub(crate) fn sees(&self, upstream: &str, up: bool, models: Option<usize>) {
        eventually(DEADLINE, &format!("{upstream} is seen up={up} with {models:?} models"), || {
            let ready = self.ready();
            let all = ready["upstreams"].as_array().unwrap();
            let seen = all.iter().find(|u| u["name"] == upstream).unwrap();
            seen["up"] == up && seen["models"].as_u64() == models.map(|n| n as u64)
        });
    }

    pub(crate) fn rules_dir(&self) -> PathBuf {
        self.dir.path().join("rules")
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// A line of the log that contains that, waited for.
    #[track_caller]
    pub(crate) fn log_line(&self, part: &str) -> String {
        let line = || self.log().into_iter().find(|line| line.contains(part));
        eventually(DEADLINE, &format!("the log says {part:?}"), || line().is_some());
        line().unwrap()
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn ended(&mut self, within: Duration) -> ExitStatus {
        let clock = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(clock.elapsed() < within, "still running after {within:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- brainstem's log\n{}\n---", self.log().join("\n"));
        }
    }
}
