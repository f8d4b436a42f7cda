//! The environment's and the command line's word over the file's.
//!
//! Every key has a twin `BRAINSTEM_<SECTION>_<KEY>` (`BRAINSTEM_UPSTREAM_<NAME>_URL` where the section has
//! names); the older system's variables keep working and yield to the twins.

use std::collections::BTreeMap;
use std::path::Path;

use toml::{Table, Value};

use super::raw::{KEYS, NAMED_SECTIONS, RawConfig};
use super::{Overrides, toml_problem};
use crate::problem::Problem;

const PREFIX: &str = "BRAINSTEM_";

/// Variables that are ours and name no key of the config.
const NOT_KEYS: [&str; 2] = ["BRAINSTEM_CONFIG", "BRAINSTEM_BIN"];

/// Who set a key, where it was not the file: `section.key` or `section.name.key` to the variable or flag.
pub(super) type SaidBy = BTreeMap<String, String>;

/// Lays environment and flags over the typed file.
pub(super) fn overlay(
    typed: RawConfig,
    text: &str,
    variables: impl IntoIterator<Item = (String, String)>,
    overrides: &Overrides,
) -> Result<(RawConfig, SaidBy, Vec<String>), Vec<Problem>> {
    let mut said = Vec::new();
    let mut warnings = Vec::new();
    let mut twins = Vec::new();
    for (variable, value) in variables {
        if let Some(legacy) = legacy(&variable, &value) {
            said.push((variable, legacy.0, legacy.1));
        } else if variable.starts_with(PREFIX) && !NOT_KEYS.contains(&variable.as_str()) {
            match place_of(&variable[PREFIX.len()..].to_ascii_lowercase()) {
                Some(place) => {
                    let value = read_value(&place, &value);
                    twins.push((variable, place, value));
                }
                None => warnings.push(format!("{variable} names no key of the config and is ignored")),
            }
        }
    }
    said.sort_by(|a, b| a.0.cmp(&b.0));
    twins.sort_by(|a, b| a.0.cmp(&b.0));
    said.append(&mut twins);
    said.extend(flags(overrides));
    if said.is_empty() {
        return Ok((typed, SaidBy::new(), warnings));
    }
    let mut table: Table =
        toml::from_str(text).map_err(|e| vec![toml_problem(Path::new("config"), text, &e)])?;
    let mut raw = typed;
    let mut said_by = SaidBy::new();
    let mut problems = Vec::new();
    for (who, place, value) in said {
        let mut trial = table.clone();
        let shown = value.to_string();
        set(&mut trial, &place, value);
        // Serialised and read again, so that one deserialiser judges file and environment alike.
        match toml::from_str(&trial.to_string()) {
            Ok(read) => {
                (raw, table) = (read, trial);
                said_by.insert(place.join("."), who);
            }
            Err(e) => {
                let message = e.message().trim().replace('\n', "; ");
                problems.push(Problem::whole(Path::new(&who), format!("{message} (given: {shown})")));
            }
        }
    }
    if problems.is_empty() { Ok((raw, said_by, warnings)) } else { Err(problems) }
}

/// `upstream_local_url` → `[upstream, local, url]`; `classifier_mode` → `[classifier, mode]`.
fn place_of(name: &str) -> Option<Vec<String>> {
    KEYS.iter().find_map(|(section, keys)| {
        let rest = name.strip_prefix(&section.replace('.', "_"))?.strip_prefix('_')?;
        let named = NAMED_SECTIONS.contains(section);
        keys.iter().find_map(|key| {
            let parts = if named {
                let inner = rest.strip_suffix(key)?.strip_suffix('_')?;
                vec![*section, inner, *key]
            } else if rest == *key {
                section.split('.').chain([*key]).collect()
            } else {
                return None;
            };
            (!parts.contains(&"")).then(|| parts.into_iter().map(str::to_owned).collect())
        })
    })
}

/// A variable's text as the TOML value that its key wants: a string stays one, anything else is parsed.
fn read_value(place: &[String], text: &str) -> Value {
    let as_toml = || {
        let table: Table = toml::from_str(&format!("v = {text}")).ok()?;
        table.get("v").filter(|v| !v.is_str()).cloned()
    };
    let wants_text = |value: Value| {
        let mut table = Table::new();
        set(&mut table, place, value);
        toml::from_str::<RawConfig>(&table.to_string()).is_ok()
    };
    let plain = Value::String(text.to_owned());
    if wants_text(plain.clone()) { plain } else { as_toml().unwrap_or(plain) }
}

fn set(table: &mut Table, place: &[String], value: Value) {
    match place {
        [] => {}
        [key] => {
            table.insert(key.clone(), value);
        }
        [head, rest @ ..] => {
            let inner = table.entry(head.clone()).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                set(inner, rest, value);
            }
        }
    }
}

fn flags(overrides: &Overrides) -> Vec<(String, Vec<String>, Value)> {
    let all: [(&str, &[&str], &Option<String>); 4] = [
        ("--listen", &["proxy", "listen"], &overrides.listen),
        ("--admin", &["admin", "listen"], &overrides.admin),
        ("--upstream", &["upstream", "default", "url"], &overrides.upstream),
        ("--rules", &["proxy", "rules"], &overrides.rules),
    ];
    all.into_iter()
        .filter_map(|(flag, place, value)| {
            let place = place.iter().map(|p| (*p).to_owned()).collect();
            Some((flag.to_owned(), place, Value::String(value.clone()?)))
        })
        .collect()
}

/// The older system's variables.
fn legacy(variable: &str, value: &str) -> Option<(Vec<String>, Value)> {
    let place = |section: &str, key: &str| vec![section.to_owned(), key.to_owned()];
    let truth = match value.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    };
    let as_written = || Value::String(value.to_owned());
    let number = || value.trim().parse().map_or_else(|_| as_written(), Value::Integer);
    Some(match variable {
        "VICTORIA_MLX_LIGHT_CLASSIFY" => {
            let mode = truth.map_or(value, |on| if on { "on" } else { "off" });
            (place("classifier", "mode"), Value::String(mode.to_owned()))
        }
        "MLX_ONLY_LIGHT" => (place("light", "only_light"), truth.map_or_else(as_written, Value::Boolean)),
        "MLX_MAX_CONCURRENT" => (place("light", "max_concurrent"), number()),
        "MLX_MAX_CACHED_MODELS" => (place("light", "max_cached_models"), number()),
        "MLX_PRELOAD_MODELS" => {
            let names = value.split(',').map(str::trim).filter(|n| !n.is_empty());
            (place("light", "preload"), Value::Array(names.map(Value::from).collect()))
        }
        _ => return None,
    })
}
