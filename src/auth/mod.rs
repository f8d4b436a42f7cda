//! Who gets in: the keys of `auth.keys`, hashed in their file, taken up when it changes.
//!
//! A request's key is looked for among all of them, and each is compared in constant time, so that how long a
//! refusal takes says nothing about the keys there are. What a key may do is [`paths`]' and [`Models`]' matter.

mod bucket;
mod file;
mod paths;
mod token;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderMap, Method, header};

use self::bucket::Bucket;
use self::token::Fingerprint;
use crate::problem::Problem;
use crate::upstream::canonical;

pub use self::paths::{Need, need};
pub use self::token::PREFIX;

/// Anthropic's header for a key.
pub const X_API_KEY: header::HeaderName = header::HeaderName::from_static("x-api-key");

/// The keys, and what was last wrong with their file.
#[derive(Debug)]
pub struct Auth {
    file: PathBuf,
    ring: ArcSwap<Ring>,
}

/// The keys of one reading of the file.
#[derive(Debug, Default)]
struct Ring {
    keys: Vec<Arc<Key>>,
    /// Of the file's text: the same text is no change.
    contents: Option<Fingerprint>,
}

/// Somebody who gets in.
#[derive(Debug)]
pub struct Key {
    /// As the file names it; of a closed set, so it may stand in metrics.
    pub name: Arc<str>,
    fingerprint: Fingerprint,
    /// May manage models, and look at what is the operator's.
    pub admin: bool,
    models: Option<Models>,
    /// Shared with the same key of the file's next reading: saving the file gives nobody a fresh allowance.
    bucket: Option<Arc<Bucket>>,
}

/// The models that a key may use.
#[derive(Debug)]
pub struct Models(Vec<Pattern>);

#[derive(Debug)]
enum Pattern {
    Name(String),
    Prefix(String),
}

/// Why a request does not get in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No key.
    #[error("an API key is required: \"Authorization: Bearer …\" or \"x-api-key: …\"")]
    NoKey,
    /// A key that nobody has.
    #[error("this API key is unknown")]
    Unknown,
    /// Too often.
    #[error("this API key has reached its rate limit")]
    TooOften(Duration),
    /// A path that needs `admin = true`.
    #[error("this API key may not do that; it needs admin = true")]
    NotAdmin,
    /// A path on which the model cannot be told.
    #[error("this API key is limited to some models, and which one is used here cannot be told")]
    AnyModel,
}

/// What came of looking at the file again.
#[derive(Debug)]
pub enum Reload {
    /// So many keys are let in now.
    Swapped(usize),
    /// It is wrong in these ways; the keys from before go on.
    Refused(Vec<Problem>),
    /// It says what it said.
    Same,
}

impl Auth {
    /// Reads the file.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn open(file: &Path) -> Result<Self, Vec<Problem>> {
        let ring = Ring::read(file, &Ring::default())?;
        Ok(Self { file: file.to_owned(), ring: ArcSwap::from_pointee(ring) })
    }

    /// Looks at the file again.
    pub fn reload(&self) -> Reload {
        let before = self.ring.load();
        match Ring::read(&self.file, &before) {
            Err(problems) => Reload::Refused(problems),
            Ok(ring) if ring.contents == before.contents => Reload::Same,
            Ok(ring) => {
                let count = ring.keys.len();
                self.ring.store(Arc::new(ring));
                Reload::Swapped(count)
            }
        }
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The names of all keys.
    pub fn names(&self) -> Vec<Arc<str>> {
        self.ring.load().keys.iter().map(|key| key.name.clone()).collect()
    }

    /// Whether a key has that name.
    pub fn has(&self, name: &str) -> bool {
        self.names().iter().any(|known| **known == *name)
    }

    /// Whose key these headers carry.
    ///
    /// # Errors
    /// If they carry none, or one that nobody has.
    pub fn recognise(&self, headers: &HeaderMap) -> Result<Arc<Key>, Refusal> {
        let print = Fingerprint::of(given(headers).ok_or(Refusal::NoKey)?);
        let ring = self.ring.load();
        let mut found = None;
        for key in &ring.keys {
            if key.fingerprint.is(&print) {
                found = Some(key.clone());
            }
        }
        found.ok_or(Refusal::Unknown)
    }
}

impl Key {
    /// Whether it may send this request, now. What it names as its model is judged by [`Key::may_use`], later.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&self, method: &Method, path: &str) -> Result<(), Refusal> {
        if let Some(bucket) = &self.bucket {
            bucket.take().map_err(Refusal::TooOften)?;
        }
        match need(method, path) {
            Need::Admin if !self.admin => Err(Refusal::NotAdmin),
            Need::AnyModel if self.models.is_some() => Err(Refusal::AnyModel),
            _ => Ok(()),
        }
    }

    /// Whether there are models that it may not use.
    pub fn is_limited(&self) -> bool {
        self.models.is_some()
    }

    /// Whether it may use that model.
    pub fn may_use(&self, model: &str) -> bool {
        self.models.as_ref().is_none_or(|models| models.have(model))
    }
}

impl Models {
    fn new(names: impl Iterator<Item = String>) -> Self {
        let pattern = |name: String| match name.strip_suffix('*') {
            Some(start) => Pattern::Prefix(start.trim().to_lowercase()),
            None => Pattern::Name(canonical(&name)),
        };
        Self(names.map(pattern).collect())
    }

    fn have(&self, model: &str) -> bool {
        let model = canonical(model);
        self.0.iter().any(|pattern| match pattern {
            Pattern::Name(name) => *name == model,
            Pattern::Prefix(start) => model.starts_with(start.as_str()),
        })
    }
}

impl Ring {
    fn read(file: &Path, before: &Self) -> Result<Self, Vec<Problem>> {
        let text = std::fs::read_to_string(file)
            .map_err(|e| vec![Problem::whole(file, format!("the keys cannot be read: {e}"))])?;
        let keys = file::read(file, &text)?.into_iter().map(|described| {
            let file::Described { mut key, rate } = described;
            let kept = before.keys.iter().find(|old| old.fingerprint == key.fingerprint);
            let kept = kept.and_then(|old| old.bucket.clone()).filter(|bucket| Some(bucket.rate) == rate);
            key.bucket = kept.or_else(|| rate.map(|rate| Arc::new(Bucket::new(rate))));
            Arc::new(key)
        });
        Ok(Self { keys: keys.collect(), contents: Some(Fingerprint::of(text.as_bytes())) })
    }
}

/// The key in a request's headers: `Authorization: Bearer …`, else `x-api-key`.
fn given(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
    });
    let key = bearer.or_else(|| headers.get(X_API_KEY).map(|value| value.as_bytes().trim_ascii()))?;
    (!key.is_empty()).then_some(key)
}

/// A new key under that name: the key itself, for its owner, and the lines for the file.
///
/// # Errors
/// If the name or what the key may do is wrong, or the system has no randomness to give.
pub fn fresh_key(
    name: &str,
    admin: bool,
    models: &[String],
    rate: Option<&str>,
) -> Result<(String, String), String> {
    file::check_name(name)?;
    models.iter().try_for_each(|model| file::check_model(model))?;
    rate.map(|rate| file::rate(rate, None)).transpose()?;
    let key = token::fresh().ok_or("the system gives no random numbers")?;
    let mut lines =
        format!("\n[[key]]\nname = \"{name}\"\nsha256 = \"{}\"\n", Fingerprint::of(key.as_bytes()));
    if admin {
        lines += "admin = true\n";
    }
    if !models.is_empty() {
        let models = models.iter().map(|model| toml::Value::from(model.as_str()).to_string());
        lines += &format!("models = [{}]\n", models.collect::<Vec<_>>().join(", "));
    }
    if let Some(rate) = rate {
        lines += &format!("rate = \"{rate}\"\n");
    }
    Ok((key, lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(keys: &[(String, String)]) -> (Auth, tempfile::NamedTempFile) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text: String = keys.iter().map(|(_, lines)| lines.as_str()).collect();
        std::fs::write(file.path(), text).unwrap();
        (Auth::open(file.path()).unwrap(), file)
    }

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())])
    }

    #[test]
    fn both_headers_carry_a_key() {
        let alice = fresh_key("alice", false, &[], None).unwrap();
        let bob = fresh_key("bob", true, &[], None).unwrap();
        let (auth, _file) = auth(&[alice.clone(), bob.clone()]);
        let who = |headers: &HeaderMap| auth.recognise(headers).map(|key| key.name.to_string());
        let bearer = |scheme: &str, key: &str| headers("authorization", &format!("{scheme} {key}"));
        for scheme in ["Bearer", "bearer", "BEARER"] {
            assert_eq!(who(&bearer(scheme, &alice.0)), Ok("alice".into()));
        }
        assert_eq!(who(&headers("x-api-key", &bob.0)), Ok("bob".into()));
        assert_eq!(who(&HeaderMap::new()), Err(Refusal::NoKey));
        assert_eq!(who(&headers("authorization", "Basic eDp5")), Err(Refusal::NoKey));
        assert_eq!(who(&bearer("Bearer", "")), Err(Refusal::NoKey));
        for wrong in ["ollama", &alice.0[1..], &format!("{}0", alice.0), &alice.0.to_uppercase()] {
            assert_eq!(who(&bearer("Bearer", wrong)), Err(Refusal::Unknown), "{wrong}");
        }
    }

    #[test]
    fn a_hash_is_no_key() {
        let (key, lines) = fresh_key("alice", false, &[], None).unwrap();
        assert!(!lines.contains(&key));
        let hash = Fingerprint::of(key.as_bytes()).to_string();
        let (auth, _file) = auth(&[(key, lines)]);
        assert!(auth.recognise(&headers("x-api-key", &hash)).is_err());
        assert!(!format!("{auth:?}").contains(&hash[..8]), "not even the hash is in what is printed");
    }

    #[test]
    fn models_count_in_every_spelling() {
        let models = ["llama3.2".to_owned(), "Qwen2.5:*".to_owned(), "hf.co/me/*".to_owned()];
        let (auth, _file) = auth(&[fresh_key("a", false, &models, None).unwrap()]);
        let key = auth.ring.load().keys[0].clone();
        for model in [
            "llama3.2",
            "LLAMA3.2:latest",
            "registry.ollama.ai/library/llama3.2",
            "qwen2.5:32b",
            "hf.co/me/x:q4",
        ] {
            assert!(key.may_use(model), "{model}");
        }
        for model in ["llama3.2:70b", "qwen2.5-coder", "hf.co/you/x", "auto", ""] {
            assert!(!key.may_use(model), "{model}");
        }
    }

    #[test]
    fn a_broken_file_keeps_the_keys_and_a_good_one_keeps_the_allowance() {
        let made = fresh_key("alice", false, &[], Some("2/1h")).unwrap();
        let (auth, file) = auth(std::slice::from_ref(&made));
        let ask = || auth.recognise(&headers("x-api-key", &made.0))?.admit(&Method::GET, "/api/tags");
        ask().unwrap();
        std::fs::write(file.path(), "[[key]").unwrap();
        let Reload::Refused(problems) = auth.reload() else { panic!("taken") };
        assert!(problems[0].to_string().contains(":1:"), "{problems:?}");
        std::fs::write(file.path(), format!("# a comment\n{}", made.1)).unwrap();
        assert!(matches!(auth.reload(), Reload::Swapped(1)));
        assert!(matches!(auth.reload(), Reload::Same));
        ask().unwrap();
        assert!(matches!(ask(), Err(Refusal::TooOften(_))));
        std::fs::write(file.path(), "").unwrap();
        assert!(matches!(auth.reload(), Reload::Swapped(0)));
        assert_eq!(ask(), Err(Refusal::Unknown));
    }

    #[test]
    fn a_key_does_what_it_may() {
        let limited = ["llama3.2".to_owned()];
        let (auth, _file) = auth(&[
            fresh_key("user", false, &[], None).unwrap(),
            fresh_key("limited", false, &limited, None).unwrap(),
            fresh_key("operator", true, &[], None).unwrap(),
        ]);
        let keys = auth.ring.load().keys.clone();
        let may =
            |path: &str| keys.iter().map(|key| key.admit(&Method::POST, path).is_ok()).collect::<Vec<_>>();
        assert_eq!(may("/api/chat"), [true, true, true]);
        assert_eq!(may("/v1/audio/transcriptions"), [true, false, true]);
        assert_eq!(may("/api/pull"), [false, false, true]);
    }
}
