//! The keys file: TOML as it is typed, then what holds.
//!
//! ```toml
//! [[key]]
//! name = "alice"                # in metrics and logs
//! sha256 = "…"                  # of the key; `brainstem key new alice` writes both
//! admin = false                 # true: may pull, create, copy, push and delete models
//! models = ["llama3.2", "qwen*"]  # absent: all
//! rate = "60/1m"                # absent: no limit
//! burst = 10                    # how many at once; absent: as many as `rate` names
//! ```

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::bucket::Rate;
use super::token::Fingerprint;
use super::{Key, Models};
use crate::problem::Problem;

/// Names longer than this make unreadable metrics.
const LONGEST_NAME: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    key: Vec<RawKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKey {
    name: Spanned<String>,
    sha256: Spanned<String>,
    #[serde(default)]
    admin: bool,
    models: Option<Vec<Spanned<String>>>,
    rate: Option<Spanned<String>>,
    burst: Option<Spanned<u32>>,
}

/// A key as the file describes it.
pub(super) struct Described {
    pub(super) key: Key,
    pub(super) rate: Option<Rate>,
}

/// Reads a keys file's text.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn read(file: &Path, text: &str) -> Result<Vec<Described>, Vec<Problem>> {
    let raw: RawFile = toml::from_str(text).map_err(|e| vec![crate::config::toml_problem(file, text, &e)])?;
    let mut problems = Vec::new();
    let mut all: Vec<Described> = Vec::new();
    for raw in raw.key {
        let mut note =
            |offset: usize, message: String| problems.push(Problem::at(file, text, offset, message));
        let (at, name) = (raw.name.span().start, raw.name.into_inner());
        if let Err(message) = check_name(&name) {
            note(at, message);
        } else if all.iter().any(|other| *other.key.name == *name) {
            note(at, format!("\"{name}\" is there already; each key has a name of its own"));
        }
        let at = raw.sha256.span().start;
        let fingerprint = Fingerprint::parse(raw.sha256.get_ref());
        match &fingerprint {
            None => note(at, "no SHA-256; 64 hexadecimal digits are (`brainstem key new NAME`)".to_owned()),
            Some(print) if all.iter().any(|other| other.key.fingerprint.is(print)) => {
                note(at, "another name has this key already".to_owned());
            }
            Some(_) => {}
        }
        for model in raw.models.iter().flatten() {
            if let Err(message) = check_model(model.get_ref()) {
                note(model.span().start, message);
            }
        }
        let rate = match (&raw.rate, &raw.burst) {
            (None, Some(burst)) => {
                note(burst.span().start, "burst without rate means nothing".to_owned());
                None
            }
            (None, None) => None,
            (Some(text), burst) => match rate(text.get_ref(), burst.as_ref().map(|burst| *burst.get_ref())) {
                Ok(rate) => Some(rate),
                Err(message) => {
                    note(text.span().start, message);
                    None
                }
            },
        };
        let models = raw.models.map(|models| Models::new(models.into_iter().map(Spanned::into_inner)));
        let Some(fingerprint) = fingerprint else { continue };
        let key = Key { name: name.into(), fingerprint, admin: raw.admin, models, bucket: None };
        all.push(Described { key, rate });
    }
    if problems.is_empty() { Ok(all) } else { Err(problems) }
}

/// Whether that can be a key's name.
///
/// # Errors
/// Why not, and what can.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(fits) {
        return Err(format!(
            "\"{name}\" is no name for a key; allowed: 1 to {LONGEST_NAME} of a-z A-Z 0-9 - _ . @"
        ));
    }
    Ok(())
}

/// Whether that can name models.
///
/// # Errors
/// Why not.
pub(super) fn check_model(model: &str) -> Result<(), String> {
    let name = model.strip_suffix('*').unwrap_or(model);
    if model.trim().is_empty() || name.contains('*') {
        return Err(format!("\"{model}\" names no model; a * may stand at the end only"));
    }
    Ok(())
}

/// Reads `60/1m`.
///
/// # Errors
/// Why it is none.
pub(super) fn rate(text: &str, burst: Option<u32>) -> Result<Rate, String> {
    let bad = || format!("\"{text}\" is no rate; write it like \"60/1m\", \"5/1s\", \"1000/1h\"");
    let (requests, span) = text.split_once('/').ok_or_else(bad)?;
    let requests: u32 = requests.trim().parse().ok().filter(|n| *n > 0).ok_or_else(bad)?;
    let span = jiff::SignedDuration::from_str(span.trim()).map_err(|_| bad())?;
    let span = Duration::try_from(span).ok().filter(|span| !span.is_zero()).ok_or_else(bad)?;
    if burst == Some(0) {
        return Err("a burst of 0 lets nothing through".to_owned());
    }
    Ok(Rate::new(requests, span, burst.unwrap_or(requests)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn faults(text: &str) -> String {
        let Err(problems) = read(Path::new("keys.toml"), text) else { panic!("taken: {text}") };
        problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_key_with_all_there_is() {
        let text = format!(
            "[[key]]\nname = \"alice\"\nsha256 = \"{SHA}\"\nadmin = true\nmodels = [\"llama3.2\", \"qwen*\"]\n\
             rate = \"60/1m\"\nburst = 5\n"
        );
        let all = read(Path::new("k"), &text).unwrap();
        assert_eq!((&*all[0].key.name, all[0].key.admin), ("alice", true));
        assert_eq!(all[0].rate, Some(Rate::new(60, Duration::from_secs(60), 5)));
        assert!(read(Path::new("k"), "").unwrap().is_empty());
    }

    #[test]
    fn every_fault_is_told_with_its_place() {
        let text = format!(
            "[[key]]\nname = \"a b\"\nsha256 = \"12\"\n[[key]]\nname = \"x\"\nsha256 = \"{SHA}\"\n\
             models = [\"a*b\"]\nrate = \"often\"\n[[key]]\nname = \"x\"\nsha256 = \"{SHA}\"\nburst = 3\n"
        );
        insta::assert_snapshot!(faults(&text), @r#"
        keys.toml:2:8: "a b" is no name for a key; allowed: 1 to 64 of a-z A-Z 0-9 - _ . @
        keys.toml:3:10: no SHA-256; 64 hexadecimal digits are (`brainstem key new NAME`)
        keys.toml:7:11: "a*b" names no model; a * may stand at the end only
        keys.toml:8:8: "often" is no rate; write it like "60/1m", "5/1s", "1000/1h"
        keys.toml:10:8: "x" is there already; each key has a name of its own
        keys.toml:11:10: another name has this key already
        keys.toml:12:9: burst without rate means nothing
        "#);
        assert!(faults("[[key]]\nname = \"a\"\n").contains("sha256"));
        assert!(faults("[[key]]\nnam = \"a\"\n").starts_with("keys.toml:2:1: unknown field `nam`"));
    }

    #[test]
    fn a_fault_never_quotes_a_key() {
        // Somebody may have put the key itself where its hash belongs.
        assert!(!faults("[[key]]\nname = \"a\"\nsha256 = \"bsk_secret\"\n").contains("secret"));
    }
}
