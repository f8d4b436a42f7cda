//! The config as it is typed: TOML with positions kept, nothing checked yet.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

/// A value and where it stands, or nothing (then the default holds).
pub(super) type Key<T> = Option<Spanned<T>>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawConfig {
    pub(super) proxy: RawProxy,
    pub(super) admin: RawAdmin,
    pub(super) upstream: BTreeMap<String, RawUpstream>,
    pub(super) categories: BTreeMap<String, RawCategory>,
    pub(super) auth: RawAuth,
    pub(super) classifier: RawClassifier,
    pub(super) light: RawLight,
    pub(super) tasks: RawTasks,
    pub(super) limits: RawLimits,
    pub(super) log: RawLog,
    pub(super) experiment: RawExperiment,
    pub(super) trace: RawTrace,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawProxy {
    pub(super) listen: Key<String>,
    pub(super) threads: Key<usize>,
    pub(super) rules: Key<String>,
    pub(super) multi_turn: Key<bool>,
    pub(super) allow_system: Key<bool>,
    pub(super) bypass_models: Key<Vec<String>>,
    pub(super) list_auto: Key<bool>,
    pub(super) grace: Key<String>,
    pub(super) origins: Key<Vec<String>>,
    pub(super) upgrade_sock: Key<String>,
    pub(super) tls: RawTls,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawTls {
    pub(super) cert: Key<String>,
    pub(super) key: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawAuth {
    pub(super) keys: Key<String>,
    pub(super) forward: Key<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawAdmin {
    pub(super) enabled: Key<bool>,
    pub(super) listen: Key<String>,
    pub(super) require_key: Key<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawUpstream {
    pub(super) url: Key<String>,
    pub(super) urls: Key<Vec<String>>,
    pub(super) connect_timeout: Key<String>,
    pub(super) read_timeout: Key<String>,
    pub(super) poll: Key<String>,
    pub(super) ca: Key<String>,
    pub(super) key_file: Key<String>,
    pub(super) key_env: Key<String>,
    pub(super) manage: Key<String>,
    pub(super) spill: Key<usize>,
    pub(super) cool_off: Key<String>,
    pub(super) sticky: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawCategory {
    pub(super) route: Key<String>,
    pub(super) upstream: Key<String>,
    pub(super) model: Key<String>,
    pub(super) small_model: Key<String>,
    pub(super) heavy_model: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawClassifier {
    pub(super) mode: Key<String>,
    pub(super) model: Key<String>,
    pub(super) timeout: Key<String>,
    pub(super) queue: Key<usize>,
    pub(super) cooldown: Key<String>,
    pub(super) isolation: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLight {
    pub(super) only_light: Key<bool>,
    pub(super) max_bytes: Key<String>,
    pub(super) max_concurrent: Key<usize>,
    pub(super) max_cached_models: Key<usize>,
    pub(super) preload: Key<Vec<String>>,
    pub(super) cache_limit: Key<String>,
    pub(super) model: Key<String>,
    pub(super) max_parameters: Key<String>,
    pub(super) max_model_bytes: Key<String>,
    pub(super) memory_limit: Key<String>,
    pub(super) context: Key<usize>,
    pub(super) idle_unload: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawTasks {
    pub(super) enabled: Key<bool>,
    pub(super) timeout: Key<String>,
    pub(super) embed: Key<bool>,
    pub(super) by_model: Key<Vec<String>>,
    pub(super) complexity: Key<String>,
    pub(super) clarify: Key<String>,
    pub(super) safety: Key<String>,
    pub(super) background: Key<String>,
    pub(super) background_model: Key<String>,
    pub(super) small_talk: Key<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLimits {
    pub(super) max_body: Key<String>,
    pub(super) max_inspect: Key<String>,
    pub(super) inflight: Key<String>,
    pub(super) body_timeout: Key<String>,
    pub(super) body_deadline: Key<String>,
    pub(super) header_timeout: Key<String>,
    pub(super) send_timeout: Key<String>,
    pub(super) max_headers: Key<String>,
    pub(super) connections: Key<usize>,
    pub(super) connections_per_address: Key<usize>,
    pub(super) idle_timeout: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLog {
    pub(super) level: Key<String>,
    pub(super) format: Key<String>,
    pub(super) decisions: Key<String>,
    pub(super) decisions_text: Key<bool>,
    pub(super) decisions_max_size: Key<String>,
    pub(super) decisions_keep: Key<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawExperiment {
    pub(super) enabled: Key<bool>,
    pub(super) classifier_share: Key<f64>,
    pub(super) shadow: Key<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawTrace {
    pub(super) endpoint: Key<String>,
    pub(super) sample: Key<f64>,
}

/// The sections whose tables have a name of the user's choice: `[upstream.NAME]`, `[categories.NAME]`.
pub(super) const NAMED_SECTIONS: [&str; 2] = ["upstream", "categories"];

/// Every key of every section, for the environment's twins. A test holds it against the structs above.
pub(super) const KEYS: &[(&str, &[&str])] = &[
    (
        "proxy",
        &[
            "listen",
            "threads",
            "rules",
            "multi_turn",
            "allow_system",
            "bypass_models",
            "list_auto",
            "grace",
            "origins",
            "upgrade_sock",
        ],
    ),
    ("proxy.tls", &["cert", "key"]),
    ("admin", &["enabled", "listen", "require_key"]),
    (
        "upstream",
        &[
            "url",
            "urls",
            "connect_timeout",
            "read_timeout",
            "poll",
            "ca",
            "key_file",
            "key_env",
            "manage",
            "spill",
            "cool_off",
            "sticky",
        ],
    ),
    ("categories", &["route", "upstream", "model", "small_model", "heavy_model"]),
    ("auth", &["keys", "forward"]),
    ("classifier", &["mode", "model", "timeout", "queue", "cooldown", "isolation"]),
    (
        "light",
        &[
            "only_light",
            "max_bytes",
            "max_concurrent",
            "max_cached_models",
            "preload",
            "cache_limit",
            "model",
            "max_parameters",
            "max_model_bytes",
            "memory_limit",
            "context",
            "idle_unload",
        ],
    ),
    (
        "tasks",
        &[
            "enabled",
            "timeout",
            "embed",
            "by_model",
            "complexity",
            "clarify",
            "safety",
            "background",
            "background_model",
            "small_talk",
        ],
    ),
    (
        "limits",
        &[
            "max_body",
            "max_inspect",
            "inflight",
            "body_timeout",
            "body_deadline",
            "header_timeout",
            "send_timeout",
            "max_headers",
            "connections",
            "connections_per_address",
            "idle_timeout",
        ],
    ),
    ("log", &["level", "format", "decisions", "decisions_text", "decisions_max_size", "decisions_keep"]),
    ("experiment", &["enabled", "classifier_share", "shadow"]),
    ("trace", &["endpoint", "sample"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_keys_is_the_structs_own() {
        for (section, keys) in KEYS {
            let head =
                if NAMED_SECTIONS.contains(section) { format!("{section}.x") } else { (*section).into() };
            let error = toml::from_str::<RawConfig>(&format!("[{head}]\nno_such_key = 1\n")).unwrap_err();
            let expected = keys.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ");
            let message = error.message().replace(" or ", ", ");
            assert!(message.contains(&expected), "{section}: {message} lacks {expected}");
        }
    }
}
