//! The config: what is typed ([`raw`]), what the environment adds ([`env`]), what holds after checking ([`Config`]).

mod check;
mod env;
mod raw;
mod secret;
mod tasks;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use self::check::MOST_SERVERS;
pub use self::secret::Secret;
pub use self::tasks::{Background, Clarifying, Complexity, Safety, Tasks};

use crate::category::Category;
use crate::problem::Problem;
use crate::tls::Trust;

/// The config file that is read when none is named and it exists.
pub const DEFAULT_PATH: &str = "config/brainstem.toml";

/// Where a package puts the config; read when none is named and [`DEFAULT_PATH`] does not exist.
pub const INSTALLED_PATH: &str = "/etc/brainstem/brainstem.toml";

/// A checked config. Every name in it resolves, every number is in its range.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[proxy]`
    pub proxy: Proxy,
    /// `[admin]`, absent if not enabled.
    pub admin: Option<SocketAddr>,
    /// `[auth]`, absent if no keys are named.
    pub auth: Option<Auth>,
    /// `admin.require_key`: metrics, rules and explain only for keys with `admin = true`.
    pub admin_key: bool,
    /// `[upstream.NAME]`; the first is `default`.
    pub upstreams: Vec<Upstream>,
    /// `[categories.NAME]`; the five built-in ones first.
    pub categories: Vec<CategoryPolicy>,
    /// `[classifier]`
    pub classifier: Classifier,
    /// `[light]`
    pub light: Light,
    /// `[tasks]`
    pub tasks: Tasks,
    /// `[limits]`
    pub limits: Limits,
    /// `[log]`
    pub log: Log,
    /// `[experiment]`, absent if not enabled or if the classifier is not on.
    pub experiment: Option<Experiment>,
    /// `[trace]`, absent if no endpoint is named.
    pub trace: Option<Trace>,
    /// What is worth a warning at start: variables that look like ours and name no key.
    pub warnings: Vec<String>,
}

/// The listener and what holds for every ask.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// Where clients come in.
    pub listen: SocketAddr,
    /// Worker threads.
    pub threads: usize,
    /// The directory of rules and answers.
    pub rules: PathBuf,
    /// Whether an ask with earlier turns may be answered locally.
    pub multi_turn: bool,
    /// Whether an ask with a system prompt of its own may be answered locally.
    pub allow_system: bool,
    /// Models whose asks are forwarded untouched.
    pub bypass_models: Vec<String>,
    /// Whether `auto` is added to `/api/tags` and `/v1/models`.
    pub list_auto: bool,
    /// How long SIGTERM lets running requests go on.
    pub grace: Duration,
    /// Origins of web pages that are let in besides Ollama's defaults.
    pub origins: Vec<String>,
    /// `[proxy.tls]`, absent if no certificate is named.
    pub tls: Option<Tls>,
    /// Where listeners are handed over, if they may be.
    pub upgrade_sock: Option<String>,
}

/// `[proxy.tls]`
#[derive(Debug, Clone)]
pub struct Tls {
    /// The chain, in PEM form.
    pub cert: PathBuf,
    /// Its private key, in PEM form.
    pub key: PathBuf,
}

/// `[auth]`
#[derive(Debug, Clone)]
pub struct Auth {
    /// The file of hashed keys.
    pub keys: PathBuf,
    /// Whether a client's key goes on to the upstream.
    pub forward: bool,
}

/// One Ollama server, or several that stand for each other.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// As rules and categories name it.
    pub name: String,
    /// `host:port` of each, also sent as `Host`; never empty.
    pub servers: Vec<String>,
    /// For the TCP connection.
    pub connect_timeout: Duration,
    /// Between two reads of an ask's reply; the first waits for the model to load.
    pub read_timeout: Duration,
    /// Between two looks at what a server has.
    pub poll: Duration,
    /// Whom to trust, if its servers are `https`.
    pub trust: Option<Trust>,
    /// Our own key there.
    pub key: Option<Secret>,
    /// Which of several servers a pull, create, delete or copy is for.
    pub manage: Manage,
    /// From so many asks in flight at the servers that have a model in memory, another one may load it, too.
    pub spill: usize,
    /// How long one of several servers is left alone after it was busy or broke off.
    pub cool_off: Duration,
    /// How long a conversation keeps its server after its last ask.
    pub sticky: Duration,
}

impl Upstream {
    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.trust.is_some() { "https" } else { "http" }
    }

    /// `http://host:port` of each server.
    pub fn urls(&self) -> String {
        let scheme = self.scheme();
        self.servers.iter().map(|server| format!("{scheme}://{server}")).collect::<Vec<_>>().join(", ")
    }
}

/// Which of several servers a pull, create, delete or copy is for, if the client names none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manage {
    /// The first that answers.
    First,
    /// Every one that answers.
    All,
}

/// Where an ask goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Answered here if an answer fits and no guard speaks against it.
    Local,
    /// Forwarded.
    Upstream,
}

impl Route {
    /// As in headers and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Upstream => "upstream",
        }
    }
}

/// What holds for a category's asks.
#[derive(Debug, Clone)]
pub struct CategoryPolicy {
    /// Which.
    pub category: Category,
    /// Where they go.
    pub route: Route,
    /// Index into [`Config::upstreams`].
    pub upstream: usize,
    /// The model for asks that leave the choice to us (`auto`).
    pub model: Option<String>,
    /// The one for such asks of complexity 1 and 2, while complexity routes.
    pub small_model: Option<String>,
    /// The one for such asks of complexity 4 and 5.
    pub heavy_model: Option<String>,
}

/// Whether the classifier's word counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Asked, and its label is taken.
    On,
    /// Asked and counted; changes nothing, delays nothing.
    Shadow,
    /// Not loaded.
    Off,
}

/// Where the classifier lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// On a thread of the proxy's own process.
    InProcess,
    /// In a process of its own, which may die without harm.
    Process,
}

/// `[classifier]`
#[derive(Debug, Clone)]
pub struct Classifier {
    /// Whether it is asked.
    pub mode: Mode,
    /// The weights.
    pub model: PathBuf,
    /// How long an ask waits for it; 1 s to 10 s.
    pub timeout: Duration,
    /// How many asks may stand behind the running one; more are told "busy".
    pub queue: usize,
    /// How long the breaker stays open.
    pub cooldown: Duration,
    /// Where it lives.
    pub isolation: Isolation,
}

/// `[light]`: the guards of everything that MLX runs.
#[derive(Debug, Clone)]
pub struct Light {
    /// Refuse what is above the limits below.
    pub only_light: bool,
    /// The largest weights of a classifier.
    pub max_bytes: u64,
    /// Load at start, not at the first ask.
    pub preload: bool,
    /// MLX's cache of freed buffers, in bytes.
    pub cache_limit: u64,
    /// The light language model's directory; empty: none.
    pub model: PathBuf,
    /// The most numbers that it may have.
    pub max_parameters: u64,
    /// The largest weights of it.
    pub max_model_bytes: u64,
    /// What MLX is asked to stay below, in bytes; 0: its own default.
    pub memory_limit: u64,
    /// Tokens that a prompt and its reply may have together.
    pub context: usize,
    /// The model is let go after so long without a request; zero: never.
    pub idle_unload: Duration,
}

impl Light {
    /// What a classifier alone needs of it; no light model.
    pub fn of_classifier(only_light: bool, max_bytes: u64, cache_limit: u64) -> Self {
        Self {
            only_light,
            max_bytes,
            preload: true,
            cache_limit,
            model: PathBuf::new(),
            max_parameters: 0,
            max_model_bytes: 0,
            memory_limit: 0,
            context: 0,
            idle_unload: Duration::ZERO,
        }
    }
}

/// `[limits]`
#[derive(Debug, Clone)]
pub struct Limits {
    /// An ask's body above this is answered 413.
    pub max_body: usize,
    /// An ask's body above this is forwarded unread.
    pub max_inspect: usize,
    /// All bodies held for inspection at one time; past it asks are forwarded unread.
    pub inflight: usize,
    /// Between two reads of a request's body.
    pub body_timeout: Duration,
    /// An ask's body in all.
    pub body_deadline: Duration,
    /// From when a connection is ready for a request until its header is there.
    pub header_timeout: Duration,
    /// A client that takes nothing of its reply for so long is left.
    pub send_timeout: Duration,
    /// The size of a request's header lines together.
    pub max_headers: usize,
    /// Connections of clients at one time.
    pub connections: usize,
    /// Of these, from one address (an IPv6 address' /64).
    pub connections_per_address: usize,
    /// How long a connection may wait for its next request.
    pub idle_timeout: Duration,
}

/// `[log]`
#[derive(Debug, Clone)]
pub struct Log {
    /// A `tracing` filter: `info`, `debug`, `brainstem=debug,pingora=warn`, …
    pub level: String,
    /// One JSON object a line.
    pub json: bool,
    /// The log of decisions, absent if no file is named.
    pub decisions: Option<Decisions>,
    /// Whether decisions carry what was asked, in the log and on the console.
    pub text: bool,
}

/// `[log] decisions…`: the log of decisions.
#[derive(Debug, Clone)]
pub struct Decisions {
    /// Where its lines go.
    pub file: PathBuf,
    /// Whether they carry what was asked.
    pub text: bool,
    /// A file of this size is put aside.
    pub max_size: u64,
    /// How many files that were put aside are kept.
    pub keep: usize,
}

/// `[trace]`: spans for an OpenTelemetry collector.
#[derive(Debug, Clone)]
pub struct Trace {
    /// Where spans are posted, path included.
    pub endpoint: String,
    /// The share of asks that are traced where the client does not say, 0 to 1.
    pub sample: f64,
}

/// `[experiment]`: asks with and without the classifier, side by side.
#[derive(Debug, Clone, Copy)]
pub struct Experiment {
    /// The share of asks in the arm `classifier`, 0 to 1; the others are in the arm `rules`.
    pub classifier_share: f64,
    /// Whether the classifier is asked about those others, too, in passing: counted, not heeded.
    pub shadow: bool,
}

/// What the command line says over the file and the environment.
#[derive(Debug, Default, Clone)]
pub struct Overrides {
    /// `--listen`
    pub listen: Option<String>,
    /// `--admin`
    pub admin: Option<String>,
    /// `--upstream`
    pub upstream: Option<String>,
    /// `--rules`
    pub rules: Option<String>,
}

impl Config {
    /// Reads, overlays and checks. Without a path: [`DEFAULT_PATH`] or [`INSTALLED_PATH`] if one is there, else
    /// the defaults.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place.
    pub fn load(path: Option<&Path>, overrides: &Overrides) -> Result<Self, Vec<Problem>> {
        // A variable that is no Unicode is none of ours.
        let variables =
            std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Self::from_parts(path, variables, overrides)
    }

    /// The file that is read where none is named, if it exists.
    pub fn default_file() -> Option<PathBuf> {
        [DEFAULT_PATH, INSTALLED_PATH].map(PathBuf::from).into_iter().find(|file| file.exists())
    }

    fn from_parts(
        path: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
        overrides: &Overrides,
    ) -> Result<Self, Vec<Problem>> {
        let default = Path::new(DEFAULT_PATH);
        let usual = Self::default_file();
        let file = path.or(usual.as_deref());
        let text = match file {
            None => String::new(),
            Some(file) => std::fs::read_to_string(file).map_err(|e| {
                vec![Problem::whole(file, format!("cannot be read ({e}); name another with --config"))]
            })?,
        };
        let file = file.unwrap_or(default);
        let typed = toml::from_str(&text).map_err(|e| vec![toml_problem(file, &text, &e)])?;
        let (raw, said, warnings) = env::overlay(typed, &text, variables, overrides)?;
        check::Checker::new(file, &text, said).config(raw, warnings)
    }

    /// A config of that text alone, for tests.
    #[cfg(test)]
    pub(crate) fn of_text(text: &str) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Self::from_parts(Some(file.path()), std::iter::empty(), &Overrides::default()).unwrap()
    }

    /// The policy of a category. Every [`Category`] comes from this config, so the last arm is never taken;
    /// it would forward.
    pub fn policy(&self, category: Category) -> &CategoryPolicy {
        let general = self.categories.iter().find(|p| p.category == Category::GENERAL);
        let found = self.categories.iter().find(|p| p.category == category).or(general);
        found.unwrap_or(&self.categories[0])
    }

    /// The category of that name, if the config knows it.
    pub fn category(&self, name: &str) -> Option<Category> {
        self.categories.iter().map(|p| p.category).find(|c| c.name() == name)
    }

    /// The names of all categories.
    pub fn category_names(&self) -> Vec<Category> {
        self.categories.iter().map(|p| p.category).collect()
    }

    /// The names of all upstreams.
    pub fn upstream_names(&self) -> Vec<String> {
        self.upstreams.iter().map(|u| u.name.clone()).collect()
    }
}

/// A TOML error (syntax, unknown key, wrong type) as a problem with its place, in one line.
pub(crate) fn toml_problem(file: &Path, text: &str, error: &toml::de::Error) -> Problem {
    let message = error.message().trim().replace('\n', "; ");
    match error.span() {
        Some(span) => Problem::at(file, text, span.start, message),
        None => Problem::whole(file, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("b.toml");
        std::fs::write(&file, text).unwrap();
        let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let shorten = |p: Problem| p.to_string().replace(&file.display().to_string(), "b.toml");
        Config::from_parts(Some(&file), variables, &Overrides::default())
            .map_err(|problems| problems.into_iter().map(shorten).collect())
    }

    #[test]
    fn the_shipped_file_says_the_defaults() {
        let shipped = Config::from_parts(
            Some(Path::new("config/brainstem.toml")),
            std::iter::empty(),
            &Overrides::default(),
        );
        let defaults = load("", &[]).unwrap();
        assert_eq!(format!("{:#?}", shipped.unwrap()), format!("{defaults:#?}"));
        let text = std::fs::read_to_string("config/brainstem.toml").unwrap();
        for key in raw::KEYS.iter().flat_map(|(_, keys)| *keys) {
            assert!(text.contains(&format!("{key} = ")), "config/brainstem.toml does not show {key}");
        }
    }

    #[test]
    fn every_fault_is_named_with_its_place() {
        let text = "[proxy]\nlisten = \"here\"\n[categories.coding]\nroute = \"locl\"\nupstream = \"big\"\n\
                    [classifier]\ntimeout = \"30s\"\n[limits]\nmax_body = \"64 pounds\"\n";
        insta::assert_snapshot!(load(text, &[]).unwrap_err().join("\n"));
        insta::assert_snapshot!(load("[proxy]\nlistn = 1\n", &[]).unwrap_err().join("\n"));
        insta::assert_snapshot!(load("[proxy\n", &[]).unwrap_err().join("\n"));
    }

    #[test]
    fn a_share_is_between_nothing_and_all() {
        let share =
            |given: &str| load(&format!("[experiment]\nenabled = true\nclassifier_share = {given}\n"), &[]);
        for (given, holds) in [("0", 0.0), ("0.25", 0.25), ("1", 1.0)] {
            assert_eq!(share(given).unwrap().experiment.unwrap().classifier_share, holds);
        }
        for given in ["-0.1", "1.5", "50", "nan", "inf"] {
            let said = share(given).unwrap_err().join("\n");
            assert!(said.starts_with("b.toml:3:20: experiment.classifier_share: "), "{said}");
            assert!(said.ends_with("is out of range; allowed: 0 to 1"), "{said}");
        }
        let said = load("", &[("BRAINSTEM_EXPERIMENT_CLASSIFIER_SHARE", "2")]).unwrap_err().join("\n");
        assert!(said.starts_with("BRAINSTEM_EXPERIMENT_CLASSIFIER_SHARE: 2 is out of range"), "{said}");
    }

    #[test]
    fn a_pool_has_one_server_or_several() {
        let servers = |text: &str, variables: &[(&str, &str)]| {
            load(text, variables).map(|config| config.upstreams[0].servers.clone())
        };
        assert_eq!(servers("", &[]).unwrap(), ["127.0.0.1:11434"]);
        let both = "[upstream.default]\nurl = \"http://a:1\"\nurls = [\"http://b:1\", \"http://c\"]\n";
        let many = both.replace("url = \"http://a:1\"\n", "");
        assert_eq!(servers(&many, &[]).unwrap(), ["b:1", "c:80"]);
        assert_eq!(
            servers(both, &[]).unwrap_err(),
            ["b.toml:3:8: upstream.default.urls: there is a url, too; allowed: one of both"]
        );
        // Who speaks over the file means it.
        let (url, urls) = ("BRAINSTEM_UPSTREAM_DEFAULT_URL", "BRAINSTEM_UPSTREAM_DEFAULT_URLS");
        assert_eq!(servers(&many, &[(url, "http://d:1")]).unwrap(), ["d:1"]);
        let one = "[upstream.default]\nurl = \"http://a:1\"\nurls = []\n";
        assert_eq!(servers(one, &[]).unwrap(), ["a:1"]);
        assert_eq!(servers(one, &[(urls, "[\"http://d:1\", \"http://e:1\"]")]).unwrap(), ["d:1", "e:1"]);
        let twice = many.replace("http://c", "http://b:1");
        assert!(servers(&twice, &[]).unwrap_err()[0].ends_with("\"http://b:1\" stands there twice"));
        assert!(servers(&many.replace("http://c", "c"), &[]).unwrap_err()[0].contains("no server address"));
    }

    #[test]
    fn an_experiment_without_its_classifier_is_worth_a_warning() {
        let text = "[experiment]\nenabled = true\n";
        assert!(load(text, &[]).unwrap().warnings.is_empty());
        let off = load(text, &[("VICTORIA_MLX_LIGHT_CLASSIFY", "off")]).unwrap();
        assert_eq!((off.experiment.is_none(), off.warnings.len()), (true, 1));
        assert!(off.warnings[0].contains("classifier.mode"), "{:?}", off.warnings);
    }

    #[test]
    fn decisions_are_logged_only_if_a_file_is_named() {
        assert!(load("[log]\ndecisions_text = true\n", &[]).unwrap().log.decisions.is_none());
        let log = load("", &[("BRAINSTEM_LOG_DECISIONS", "d.jsonl")]).unwrap().log.decisions.unwrap();
        assert_eq!((log.file.as_path(), log.text, log.keep), (Path::new("d.jsonl"), false, 4));
        let said = load("[log]\ndecisions_max_size = \"10B\"\n", &[]).unwrap_err().join("\n");
        assert_eq!(
            said,
            "b.toml:2:22: log.decisions_max_size: \"10B\" is out of range; allowed: 1KiB and more"
        );
    }

    #[test]
    fn the_environment_speaks_over_the_file() {
        let config = load(
            "[proxy]\nlisten = \"127.0.0.1:1\"\n",
            &[
                ("BRAINSTEM_PROXY_LISTEN", "127.0.0.1:2"),
                ("BRAINSTEM_CATEGORIES_DATA_QUESTION_MODEL", "qwen2.5:32b"),
                ("BRAINSTEM_CLASSIFIER_QUEUE", "3"),
                ("BRAINSTEM_PROXY_BYPASS_MODELS", "[\"a\", \"b\"]"),
                ("BRAINSTEM_NOISE", "1"),
            ],
        )
        .unwrap();
        assert_eq!(config.proxy.listen.port(), 2);
        assert_eq!(config.policy(Category::DATA_QUESTION).model.as_deref(), Some("qwen2.5:32b"));
        assert_eq!(config.classifier.queue, 3);
        assert_eq!(config.proxy.bypass_models, ["a", "b"]);
        assert_eq!(config.warnings.len(), 1, "{:?}", config.warnings);
    }

    #[test]
    fn a_fault_in_the_environment_names_the_variable() {
        insta::assert_snapshot!(load("", &[("BRAINSTEM_CLASSIFIER_QUEUE", "many")]).unwrap_err().join("\n"));
        insta::assert_snapshot!(load("", &[("BRAINSTEM_CLASSIFIER_TIMEOUT", "1h")]).unwrap_err().join("\n"));
    }

    #[test]
    fn the_older_systems_variables_are_honoured() {
        let off = load("", &[("VICTORIA_MLX_LIGHT_CLASSIFY", "0"), ("MLX_ONLY_LIGHT", "false")]).unwrap();
        assert_eq!(off.classifier.mode, Mode::Off);
        assert!(!off.light.only_light);
        let twin_wins =
            load("", &[("VICTORIA_MLX_LIGHT_CLASSIFY", "0"), ("BRAINSTEM_CLASSIFIER_MODE", "shadow")])
                .unwrap();
        assert_eq!(twin_wins.classifier.mode, Mode::Shadow);
        assert!(!load("", &[("MLX_PRELOAD_MODELS", "")]).unwrap().light.preload);
        assert!(load("", &[("MLX_MAX_CONCURRENT", "4")]).is_err());
    }

    #[test]
    fn a_category_of_ones_own_forwards_unless_told() {
        let config = load("[categories.legal]\nmodel = \"law\"\n", &[]).unwrap();
        let legal = config.category("legal").unwrap();
        assert_eq!(config.policy(legal).route, Route::Upstream);
        assert_eq!(config.policy(Category::FAST).route, Route::Local);
    }
}
