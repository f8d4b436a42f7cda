//! From what is typed to what holds: ranges, names, units.

mod entry;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::env::SaidBy;
use super::raw::{Key, RawCategory, RawConfig, RawExperiment, RawTrace, RawUpstream};
use super::{
    CategoryPolicy, Classifier, Config, Decisions, Experiment, Isolation, Light, Limits, Log, Manage, Mode,
    Proxy, Route, Trace, Upstream,
};
use crate::category::Category;
use crate::problem::{Problem, nearest};

/// A pool may have no more servers: those that an ask has tried are bits of one word.
pub const MOST_SERVERS: usize = 64;

/// Collects problems while it turns raw values into checked ones; a wrong value is noted and its default
/// stands in, so that one run names every fault.
pub(super) struct Checker<'a> {
    file: &'a Path,
    text: &'a str,
    said: SaidBy,
    problems: Vec<Problem>,
}

impl<'a> Checker<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str, said: SaidBy) -> Self {
        Self { file, text, said, problems: Vec::new() }
    }

    pub(super) fn config(
        mut self,
        raw: RawConfig,
        mut warnings: Vec<String>,
    ) -> Result<Config, Vec<Problem>> {
        let upstreams = self.upstreams(raw.upstream);
        let categories = self.categories(raw.categories, &upstreams);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let proxy = Proxy {
            listen: self.read("proxy.listen", &raw.proxy.listen, "127.0.0.1:11440", address),
            threads: match self.plain("proxy.threads", &raw.proxy.threads, 0, 0..=256) {
                0 => cores.min(4),
                n => n,
            },
            rules: PathBuf::from(self.take(raw.proxy.rules, "rules".to_owned())),
            multi_turn: self.take(raw.proxy.multi_turn, false),
            allow_system: self.take(raw.proxy.allow_system, false),
            bypass_models: self.take(raw.proxy.bypass_models, Vec::new()),
            list_auto: self.take(raw.proxy.list_auto, true),
            grace: self.span("proxy.grace", &raw.proxy.grace, "30s", "0s", "1h"),
            origins: self.origins(raw.proxy.origins),
            tls: self.tls(raw.proxy.tls),
            upgrade_sock: Some(self.take(raw.proxy.upgrade_sock, String::new())).filter(|at| !at.is_empty()),
        };
        let admin_key = raw.admin.require_key.as_ref().map(toml::Spanned::span);
        let require_key = self.take(raw.admin.require_key, false);
        let auth = self.auth(raw.auth);
        if require_key && auth.is_none() {
            let message = "true needs auth.keys, with a key that has admin = true".to_owned();
            self.note("admin.require_key", admin_key.map_or(0, |span| span.start), message);
        }
        let admin = self.read("admin.listen", &raw.admin.listen, "127.0.0.1:9464", address);
        let enabled = self.take(raw.admin.enabled, true);
        let classifier = Classifier {
            mode: self.read("classifier.mode", &raw.classifier.mode, "on", mode),
            model: PathBuf::from(self.take(raw.classifier.model, "models/intent".to_owned())),
            timeout: self.span("classifier.timeout", &raw.classifier.timeout, "8s", "1s", "10s"),
            queue: self.plain("classifier.queue", &raw.classifier.queue, 8, 0..=64),
            cooldown: self.span("classifier.cooldown", &raw.classifier.cooldown, "30s", "1s", "1h"),
            isolation: self.read("classifier.isolation", &raw.classifier.isolation, "in-process", isolation),
        };
        self.plain("light.max_concurrent", &raw.light.max_concurrent, 1, 1..=1);
        self.plain("light.max_cached_models", &raw.light.max_cached_models, 1, 1..=1);
        let light = Light {
            only_light: self.take(raw.light.only_light, true),
            max_bytes: self.size("light.max_bytes", &raw.light.max_bytes, "64MiB"),
            preload: self.preload(raw.light.preload),
            cache_limit: self.size("light.cache_limit", &raw.light.cache_limit, "64MiB"),
            model: PathBuf::from(self.take(raw.light.model, String::new())),
            max_parameters: self.read("light.max_parameters", &raw.light.max_parameters, "4B", count),
            max_model_bytes: self.size("light.max_model_bytes", &raw.light.max_model_bytes, "3GiB"),
            memory_limit: self.size("light.memory_limit", &raw.light.memory_limit, "0B"),
            context: self.plain("light.context", &raw.light.context, 4096, 64..=131_072),
            idle_unload: self.span("light.idle_unload", &raw.light.idle_unload, "30m", "0s", "24h"),
        };
        let tasks = self.tasks(raw.tasks, &mut warnings);
        let limits = Limits {
            max_body: self.bytes("limits.max_body", &raw.limits.max_body, "64MiB"),
            max_inspect: self.bytes("limits.max_inspect", &raw.limits.max_inspect, "16MiB"),
            inflight: self.bytes("limits.inflight", &raw.limits.inflight, "256MiB"),
            body_timeout: self.span("limits.body_timeout", &raw.limits.body_timeout, "30s", "1s", "1h"),
            body_deadline: self.span("limits.body_deadline", &raw.limits.body_deadline, "10m", "1s", "24h"),
            header_timeout: self.span("limits.header_timeout", &raw.limits.header_timeout, "90s", "1s", "1h"),
            send_timeout: self.span("limits.send_timeout", &raw.limits.send_timeout, "5m", "1s", "24h"),
            max_headers: self.bytes("limits.max_headers", &raw.limits.max_headers, "256KiB"),
            connections: self.plain("limits.connections", &raw.limits.connections, 4096, 1..=1_000_000),
            connections_per_address: self.plain(
                "limits.connections_per_address",
                &raw.limits.connections_per_address,
                1024,
                1..=1_000_000,
            ),
            idle_timeout: self.span("limits.idle_timeout", &raw.limits.idle_timeout, "75s", "1s", "24h"),
        };
        let decisions = Decisions {
            file: PathBuf::from(self.take(raw.log.decisions, String::new())),
            text: self.take(raw.log.decisions_text, false),
            max_size: self.read("log.decisions_max_size", &raw.log.decisions_max_size, "16MiB", file_size),
            keep: self.plain("log.decisions_keep", &raw.log.decisions_keep, 4, 0..=100),
        };
        let log = Log {
            text: decisions.text,
            level: self.read("log.level", &raw.log.level, "info", filter),
            json: self.read("log.format", &raw.log.format, "text", format) == "json",
            decisions: Some(decisions).filter(|d| !d.file.as_os_str().is_empty()),
        };
        let mut experiment = self.experiment(raw.experiment);
        let trace = self.trace(raw.trace);
        // No fault: the older system's variable must switch the classifier off under any config.
        if classifier.mode != Mode::On && experiment.take().is_some() {
            warnings.push("experiment.enabled needs classifier.mode = \"on\"; asks are not split".to_owned());
        }
        if self.problems.is_empty() {
            let admin = enabled.then_some(admin);
            warnings.extend(entry::exposed(&proxy, admin, auth.as_ref(), require_key));
            Ok(Config {
                proxy,
                admin,
                auth,
                admin_key: require_key,
                upstreams,
                categories,
                classifier,
                light,
                tasks,
                limits,
                log,
                experiment,
                trace,
                warnings,
            })
        } else {
            self.problems.sort();
            Err(self.problems)
        }
    }

    fn upstreams(&mut self, raw: std::collections::BTreeMap<String, RawUpstream>) -> Vec<Upstream> {
        let mut raw = raw;
        raw.entry("default".to_owned()).or_default();
        let mut all: Vec<Upstream> = raw.into_iter().map(|(name, raw)| self.upstream(name, raw)).collect();
        all.sort_by_key(|u| u.name != "default");
        all
    }

    fn upstream(&mut self, name: String, raw: RawUpstream) -> Upstream {
        let key = |k: &str| format!("upstream.{name}.{k}");
        let (servers, https) = self.servers(&name, &raw);
        let trust = self.trust(&key("ca"), raw.ca, https);
        let own_key = self.own_key(&key("key_file"), raw.key_file, &key("key_env"), raw.key_env);
        let connect_timeout = self.span(&key("connect_timeout"), &raw.connect_timeout, "2s", "10ms", "1m");
        let read_timeout = self.span(&key("read_timeout"), &raw.read_timeout, "10m", "1s", "24h");
        let poll = self.span(&key("poll"), &raw.poll, "10s", "100ms", "1h");
        let manage = self.read(&key("manage"), &raw.manage, "first", manage);
        let spill = self.plain(&key("spill"), &raw.spill, 4, 1..=10_000);
        let cool_off = self.span(&key("cool_off"), &raw.cool_off, "5s", "0s", "10m");
        let sticky = self.span(&key("sticky"), &raw.sticky, "5m", "0s", "24h");
        Upstream {
            name,
            servers,
            connect_timeout,
            read_timeout,
            poll,
            trust,
            key: own_key,
            manage,
            spill,
            cool_off,
            sticky,
        }
    }

    /// `url` or `urls`; of both, the one that a variable or a flag set. And whether they are `https`.
    fn servers(&mut self, name: &str, raw: &RawUpstream) -> (Vec<String>, bool) {
        let (one, many) = (format!("upstream.{name}.url"), format!("upstream.{name}.urls"));
        let given = raw.urls.as_ref().filter(|urls| !urls.get_ref().is_empty());
        let (Some(urls), url_was_said) = (given, self.said.get(&one)) else {
            return self.only_server(&one, raw);
        };
        let start = urls.span().start;
        if raw.url.is_some() {
            match (url_was_said, self.said.get(&many)) {
                (Some(who), many) if many.is_none() || who.starts_with("--") => {
                    return self.only_server(&one, raw);
                }
                (None, Some(_)) => {}
                _ => self.note(&many, start, "there is a url, too; allowed: one of both".to_owned()),
            }
        }
        let mut servers = Vec::new();
        let mut schemes = Vec::new();
        for text in urls.get_ref() {
            match url(text) {
                Ok(server) if servers.contains(&server.authority) => {
                    self.note(&many, start, format!("\"{text}\" stands there twice"));
                }
                Ok(server) => {
                    servers.push(server.authority);
                    schemes.push(server.https);
                }
                Err(message) => self.note(&many, start, message),
            }
        }
        if urls.get_ref().len() > MOST_SERVERS {
            let message = format!("{} servers; allowed: at most {MOST_SERVERS}", urls.get_ref().len());
            self.note(&many, start, message);
        }
        let https = schemes.contains(&true);
        if https && schemes.contains(&false) {
            let message = "http:// and https:// in one upstream; allowed: all of one kind".to_owned();
            self.note(&many, start, message);
        }
        (servers, https)
    }

    fn only_server(&mut self, key: &str, raw: &RawUpstream) -> (Vec<String>, bool) {
        let Server { authority, https } = self.read(key, &raw.url, "http://127.0.0.1:11434", url);
        (vec![authority], https)
    }

    fn categories(
        &mut self,
        raw: std::collections::BTreeMap<String, RawCategory>,
        upstreams: &[Upstream],
    ) -> Vec<CategoryPolicy> {
        let mut raw = raw;
        let built_in = Category::BUILT_IN.map(|c| (c, raw.remove(c.name()).unwrap_or_default()));
        let own: Vec<_> = raw.into_iter().map(|(name, raw)| (Category::intern(&name), raw)).collect();
        built_in.into_iter().chain(own).map(|(c, raw)| self.category(c, raw, upstreams)).collect()
    }

    fn category(&mut self, category: Category, raw: RawCategory, upstreams: &[Upstream]) -> CategoryPolicy {
        let key = |k: &str| format!("categories.{category}.{k}");
        let default = if category == Category::FAST { "local" } else { "upstream" };
        let names: Vec<&str> = upstreams.iter().map(|u| u.name.as_str()).collect();
        CategoryPolicy {
            category,
            route: self.read(&key("route"), &raw.route, default, route),
            upstream: self.read(&key("upstream"), &raw.upstream, "default", |name| one_of(name, &names)),
            model: named(raw.model),
            small_model: named(raw.small_model),
            heavy_model: named(raw.heavy_model),
        }
    }

    fn experiment(&mut self, raw: RawExperiment) -> Option<Experiment> {
        let classifier_share = self.share("experiment.classifier_share", raw.classifier_share, 0.5)?;
        let shadow = self.take(raw.shadow, false);
        self.take(raw.enabled, false).then_some(Experiment { classifier_share, shadow })
    }

    fn trace(&mut self, raw: RawTrace) -> Option<Trace> {
        let endpoint = self.read("trace.endpoint", &raw.endpoint, "", collector);
        let sample = self.share("trace.sample", raw.sample, 1.0)?;
        (!endpoint.is_empty()).then_some(Trace { endpoint, sample })
    }

    /// A number from 0 to 1.
    fn share(&mut self, key: &str, raw: Key<f64>, default: f64) -> Option<f64> {
        match raw {
            Some(share) if !(0.0..=1.0).contains(share.get_ref()) => {
                let message = format!("{} is out of range; allowed: 0 to 1", share.get_ref());
                self.note(key, share.span().start, message);
                None
            }
            share => Some(self.take(share, default)),
        }
    }

    fn preload(&mut self, raw: Key<Vec<String>>) -> bool {
        let Some(list) = raw else { return true };
        for name in list.get_ref().iter().filter(|n| *n != "fast") {
            let message =
                format!("\"{name}\" cannot be preloaded; allowed: \"fast\" (the classifier), or []");
            self.note("light.preload", list.span().start, message);
        }
        !list.get_ref().is_empty()
    }

    pub(super) fn take<T>(&mut self, raw: Key<T>, default: T) -> T {
        raw.map_or(default, toml::Spanned::into_inner)
    }

    fn plain(
        &mut self,
        key: &str,
        raw: &Key<usize>,
        default: usize,
        allowed: std::ops::RangeInclusive<usize>,
    ) -> usize {
        match raw {
            Some(n) if !allowed.contains(n.get_ref()) => {
                let (low, high) = allowed.into_inner();
                let range = if low == high { format!("only {low}") } else { format!("{low} to {high}") };
                let message = format!("{} is out of range; allowed: {range}", n.get_ref());
                self.note(key, n.span().start, message);
                default
            }
            Some(n) => *n.get_ref(),
            None => default,
        }
    }

    /// A text read by `how`; its default is read the same way.
    pub(super) fn read<T>(
        &mut self,
        key: &str,
        raw: &Key<String>,
        default: &str,
        how: impl Fn(&str) -> Result<T, String>,
    ) -> T
    where
        T: Fallback,
    {
        if let Some(text) = raw {
            match how(text.get_ref()) {
                Ok(value) => return value,
                Err(message) => self.note(key, text.span().start, message),
            }
        }
        how(default).unwrap_or_else(|_| T::fallback())
    }

    pub(super) fn span(
        &mut self,
        key: &str,
        raw: &Key<String>,
        default: &str,
        low: &str,
        high: &str,
    ) -> Duration {
        let parse = |text: &str| {
            let bad = |_| format!("\"{text}\" is no time span; write it like \"500ms\", \"8s\", \"10m\"");
            let span = jiff::SignedDuration::from_str(text).map_err(bad)?;
            Duration::try_from(span).map_err(|_| format!("\"{text}\" is negative"))
        };
        let within = |text: &str| {
            let (span, least, most) = (parse(text)?, parse(low)?, parse(high)?);
            if (least..=most).contains(&span) {
                Ok(span)
            } else {
                Err(format!("\"{text}\" is out of range; allowed: {low} to {high}"))
            }
        };
        self.read(key, raw, default, within)
    }

    fn size(&mut self, key: &str, raw: &Key<String>, default: &str) -> u64 {
        self.read(key, raw, default, size)
    }

    fn bytes(&mut self, key: &str, raw: &Key<String>, default: &str) -> usize {
        usize::try_from(self.size(key, raw, default)).unwrap_or(usize::MAX)
    }

    /// A fault of a key: at its place in the file, or under the name of the variable or flag that set it.
    pub(super) fn note(&mut self, key: &str, offset: usize, message: String) {
        self.problems.push(match self.said.get(key) {
            Some(who) => Problem::whole(Path::new(who), message),
            None => Problem::at(self.file, self.text, offset, format!("{key}: {message}")),
        });
    }
}

/// A name that may be left empty.
pub(super) fn named(raw: Key<String>) -> Option<String> {
    raw.map(toml::Spanned::into_inner).filter(|name| !name.is_empty())
}

/// What stands in for a default that its own reader refuses; only the compiler needs it.
pub(super) trait Fallback {
    fn fallback() -> Self;
}

macro_rules! fallback {
    ($($kind:ty => $value:expr),* $(,)?) => {
        $(impl Fallback for $kind { fn fallback() -> Self { $value } })*
    };
}

fallback! {
    SocketAddr => SocketAddr::from(([127, 0, 0, 1], 0)),
    Duration => Duration::ZERO,
    Isolation => Isolation::InProcess,
    u64 => 0,
    usize => 0,
    Manage => Manage::First,
    Mode => Mode::Off,
    Route => Route::Upstream,
    Server => Server { authority: String::new(), https: false },
    String => String::new(),
}

fn size(text: &str) -> Result<u64, String> {
    let bad = |_| format!("\"{text}\" is no size; write it like \"64MiB\", \"512KiB\", \"1GiB\"");
    bytesize::ByteSize::from_str(text).map(|b| b.as_u64()).map_err(bad)
}

/// A number of parameters as models are named: "500M", "1.5B".
fn count(text: &str) -> Result<u64, String> {
    let bad = || format!("\"{text}\" is no number of parameters; write it like \"500M\", \"1.5B\"");
    let (digits, unit) = match text.strip_suffix(['M', 'B']) {
        Some(digits) if text.ends_with('M') => (digits, 1e6),
        Some(digits) => (digits, 1e9),
        None => (text, 1.0),
    };
    let number: f64 = digits.trim().parse().map_err(|_| bad())?;
    if (0.0..1e6).contains(&number) || unit == 1.0 && number >= 0.0 {
        Ok((number * unit) as u64)
    } else {
        Err(bad())
    }
}

/// A size below which a file would be put aside for every other line.
fn file_size(text: &str) -> Result<u64, String> {
    match size(text)? {
        0..1024 => Err(format!("\"{text}\" is out of range; allowed: 1KiB and more")),
        size => Ok(size),
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let bad = || format!("\"{text}\" is no address; write it like \"127.0.0.1:11440\"");
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    text.to_socket_addrs().map_err(|_| bad())?.next().ok_or_else(bad)
}

/// What an upstream's `url` says.
struct Server {
    authority: String,
    https: bool,
}

fn url(text: &str) -> Result<Server, String> {
    let bad = || format!("\"{text}\" is no server address; write it like \"http://127.0.0.1:11434\"");
    let uri: http::Uri = text.trim_end_matches('/').parse().map_err(|_| bad())?;
    let https = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(bad()),
    };
    let authority = uri.authority().ok_or_else(bad)?;
    if authority.as_str().contains('@') {
        return Err("has a name or password in it; a key of ours goes into key_file or key_env".to_owned());
    }
    if !matches!(uri.path(), "" | "/") {
        return Err(format!("\"{text}\" has a path; only http://host:port is allowed"));
    }
    let port = authority.port_u16().unwrap_or(if https { 443 } else { 80 });
    Ok(Server { authority: format!("{}:{port}", authority.host()), https })
}

/// Nothing, or a collector's address; without a path it is OTLP's own.
fn collector(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let bad = || format!("\"{text}\" is no collector's address; write it like \"http://127.0.0.1:4318\"");
    let uri: http::Uri = text.parse().map_err(|_| bad())?;
    match (uri.scheme_str(), uri.authority(), uri.path()) {
        (Some("https"), ..) => {
            Err(format!("\"{text}\": https is not supported; use http, or a collector beside"))
        }
        (Some("http"), Some(_), "" | "/") => Ok(format!("{}/v1/traces", text.trim_end_matches('/'))),
        (Some("http"), Some(_), _) => Ok(text.to_owned()),
        _ => Err(bad()),
    }
}

pub(super) fn one_of(name: &str, allowed: &[&str]) -> Result<usize, String> {
    allowed.iter().position(|a| *a == name).ok_or_else(|| unknown(name, allowed))
}

pub(super) fn unknown(name: &str, allowed: &[&str]) -> String {
    let hint = nearest(name, allowed.iter().copied()).map(|n| format!("; did you mean \"{n}\"?"));
    let list = allowed.iter().map(|a| format!("\"{a}\"")).collect::<Vec<_>>().join(", ");
    format!("\"{name}\" is unknown; allowed: {list}{}", hint.unwrap_or_default())
}

fn route(text: &str) -> Result<Route, String> {
    Ok([Route::Local, Route::Upstream][one_of(text, &["local", "upstream"])?])
}

fn manage(text: &str) -> Result<Manage, String> {
    Ok([Manage::First, Manage::All][one_of(text, &["first", "all"])?])
}

fn mode(text: &str) -> Result<Mode, String> {
    Ok([Mode::On, Mode::Off, Mode::Shadow][one_of(text, &["on", "off", "shadow"])?])
}

fn isolation(text: &str) -> Result<Isolation, String> {
    Ok([Isolation::InProcess, Isolation::Process][one_of(text, &["in-process", "process"])?])
}

fn format(text: &str) -> Result<String, String> {
    one_of(text, &["text", "json"]).map(|_| text.to_owned())
}

fn filter(text: &str) -> Result<String, String> {
    let bad = |e| {
        format!(
            "\"{text}\" is no log filter ({e}); allowed: error, warn, info, debug, trace, or target=level lists"
        )
    };
    tracing_subscriber::EnvFilter::builder().parse(text).map(|_| text.to_owned()).map_err(bad)
}
