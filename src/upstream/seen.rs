//! What a look at a server showed, and one spelling for the many of a model's name.

use std::time::Duration;

use crate::fnv;

/// A model, whatever the spelling of its name. Sixty-four bits, so that nothing is copied on the way of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Model(u64);

impl Model {
    /// The model of that name.
    pub fn named(name: &str) -> Self {
        Self(fnv::more(fnv::BASIS, canonical(name).as_bytes()))
    }
}

/// What the last look showed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// It answered.
    pub up: bool,
    /// The models that it lists, newest first as it gives them; `None` as long as no look succeeded since
    /// it was last seen down.
    pub models: Option<Vec<String>>,
    /// The models that it has in memory; `None` if it does not say.
    pub memory: Option<Vec<String>>,
    /// When the look began, since the pool was made.
    pub began: Duration,
    on_disk: Vec<Model>,
    in_memory: Vec<Model>,
}

impl Seen {
    /// It answered, with those models on disk and in memory.
    pub fn answered(models: Option<Vec<String>>, memory: Option<Vec<String>>) -> Self {
        let keys = |names: &Option<Vec<String>>| names.iter().flatten().map(|n| Model::named(n)).collect();
        Self {
            up: true,
            on_disk: keys(&models),
            in_memory: keys(&memory),
            models,
            memory,
            began: Duration::ZERO,
        }
    }

    /// The same, by a look that began then.
    pub fn begun(self, began: Duration) -> Self {
        Self { began, ..self }
    }

    /// All of several servers as if they were one: what any of those that answer has.
    pub fn union<'a>(all: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let gather = |of: fn(&Self) -> &Option<Vec<String>>| {
            let known = all.clone().filter(|seen| seen.up).map(of);
            // One that does not say what it has may have everything.
            known.clone().all(Option::is_some).then(|| {
                let mut names: Vec<String> = Vec::new();
                for name in known.flatten().flatten() {
                    if !names.iter().any(|have| have == name) {
                        names.push(name.clone());
                    }
                }
                names
            })
        };
        if all.clone().any(|seen| seen.up) {
            Self::answered(gather(|seen| &seen.models), gather(|seen| &seen.memory))
        } else {
            Self::default()
        }
    }

    /// Whether the server would know that model. An unknown list knows every model.
    pub fn may_have(&self, model: &str) -> bool {
        self.has(Model::named(model)).unwrap_or(true)
    }

    /// Whether it has the model on disk, if it says.
    pub fn has(&self, model: Model) -> Option<bool> {
        self.models.is_some().then(|| self.on_disk.contains(&model))
    }

    /// Whether it had the model in memory, if it said.
    pub fn holds(&self, model: Model) -> Option<bool> {
        self.memory.is_some().then(|| self.in_memory.contains(&model))
    }
}

/// Whether two names mean one model.
pub fn same_model(one: &str, other: &str) -> bool {
    canonical(one) == canonical(other)
}

/// One spelling for the ways to write a model's name: `Llama3.2`, `llama3.2:latest`,
/// `registry.ollama.ai/library/llama3.2` (Ollama's `types/model/name.go`).
pub(crate) fn canonical(model: &str) -> String {
    let name = model.trim().to_lowercase();
    let name = name.strip_prefix("registry.ollama.ai/").unwrap_or(&name);
    let name = name.strip_prefix("library/").unwrap_or(name);
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') { name.to_owned() } else { format!("{name}:latest") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(models: &[&str]) -> Seen {
        Seen::answered(Some(models.iter().map(|m| (*m).to_owned()).collect()), None)
    }

    #[test]
    fn one_model_has_many_spellings() {
        let seen = listing(&["llama3.2:latest", "hf.co/Me/Mine:Q4"]);
        for name in ["llama3.2", "LLAMA3.2:latest", "registry.ollama.ai/library/llama3.2", "hf.co/me/mine:q4"]
        {
            assert!(seen.may_have(name), "{name}");
        }
        assert!(!seen.may_have("llama3.2:70b"));
        assert!(!seen.may_have("mine"));
    }

    #[test]
    fn an_unknown_list_turns_no_model_away() {
        assert!(Seen::default().may_have("anything"));
        assert!(Seen::answered(None, None).may_have("anything"));
    }

    #[test]
    fn several_are_seen_as_one() {
        let (a, b, down) = (listing(&["x:1", "y:1"]), listing(&["y:1", "z:1"]), Seen::default());
        let both = Seen::union([&a, &b, &down].into_iter());
        assert_eq!(both.models, Some(vec!["x:1".to_owned(), "y:1".into(), "z:1".into()]));
        assert!(both.up && both.may_have("z:1") && !both.may_have("w:1"));
        let silent = Seen::answered(None, None);
        assert!(Seen::union([&a, &silent].into_iter()).may_have("w:1"));
        assert_eq!(Seen::union([&down].into_iter()), Seen::default());
    }
}
