//! The closed sets that an ask carries: what it has, and what speaks against answering it here.

use std::fmt;

/// What an ask carries besides text. The names are those of `when.has` in rules.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Has(u8);

impl Has {
    /// Pictures, in any message.
    pub const IMAGES: Self = Self(1);
    /// Sound, asked for or sent.
    pub const AUDIO: Self = Self(1 << 1);
    /// Tools or functions to call.
    pub const TOOLS: Self = Self(1 << 2);
    /// A format that is not plain text.
    pub const FORMAT: Self = Self(1 << 3);
    /// A system prompt, be it ever so neutral.
    pub const SYSTEM: Self = Self(1 << 4);
    /// Thinking is asked for.
    pub const THINK: Self = Self(1 << 5);

    const NAMES: [(&'static str, Self); 6] = [
        ("images", Self::IMAGES),
        ("audio", Self::AUDIO),
        ("tools", Self::TOOLS),
        ("format", Self::FORMAT),
        ("system", Self::SYSTEM),
        ("think", Self::THINK),
    ];

    /// Every name, in the order of the constants.
    pub fn all_names() -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().map(|(name, _)| name)
    }

    /// The one of that name.
    pub fn of(name: &str) -> Option<Self> {
        Self::NAMES.into_iter().find(|(n, _)| *n == name).map(|(_, has)| has)
    }

    /// The names of those that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(_, has)| self.contains(*has)).map(|(name, _)| name)
    }

    /// All of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Sets all of `other`.
    pub fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Nothing is set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Debug for Has {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// Why an ask must not be answered here. Ordered: the first one is the one to name to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Guard {
    /// The body could not be read whole.
    Unread,
    /// Nothing is asked: the model is to be loaded.
    Load,
    /// The model is to be unloaded, at once or after the reply.
    Unload,
    /// A field is missing, empty or of the wrong type: the upstream's own error is the right reply.
    Invalid,
    /// Tools may be called.
    Tools,
    /// The last message brings a tool's result.
    ToolResult,
    /// The reply has to have a format.
    Format,
    /// There are pictures to look at, or one is to be made.
    Images,
    /// There is sound to hear or to make.
    Audio,
    /// A message has a part of a kind that is not read here (a file, say).
    Part,
    /// The prompt is to go to the model without a template.
    Raw,
    /// The text between two texts is wanted.
    Suffix,
    /// The prompt goes into a template that we do not know.
    Template,
    /// The conversation so far is not in the body: it is in tokens, or kept by the server.
    Context,
    /// Probabilities are wanted, and only a model has them.
    Logprobs,
    /// More than one reply is wanted, or the prompt repeated in it.
    Choices,
    /// A limit that leaves no room for any answer.
    Limit,
    /// The reply is to be fetched later.
    Background,
    /// The rendered prompt is wanted, not a reply.
    Debug,
    /// There were turns before: a short last message is not the whole request.
    Turns,
    /// A system prompt sets a persona.
    System,
    /// A program speaks, not its user.
    Harness,
    /// The last word is not a human's.
    LastTurn,
    /// The upstream does not have this model.
    UnknownModel,
    /// A web page of an origin that only the upstream's own settings can judge.
    Origin,
}

impl Guard {
    /// Every guard, the most important first.
    pub const ALL: [Self; 25] = [
        Self::Unread,
        Self::Load,
        Self::Unload,
        Self::Invalid,
        Self::Tools,
        Self::ToolResult,
        Self::Format,
        Self::Images,
        Self::Audio,
        Self::Part,
        Self::Raw,
        Self::Suffix,
        Self::Template,
        Self::Context,
        Self::Logprobs,
        Self::Choices,
        Self::Limit,
        Self::Background,
        Self::Debug,
        Self::Turns,
        Self::System,
        Self::Harness,
        Self::LastTurn,
        Self::UnknownModel,
        Self::Origin,
    ];

    /// The name in `x-brainstem-guard`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unread => "unread",
            Self::Load => "load",
            Self::Unload => "unload",
            Self::Invalid => "invalid",
            Self::Tools => "tools",
            Self::ToolResult => "tool-result",
            Self::Format => "format",
            Self::Images => "images",
            Self::Audio => "audio",
            Self::Part => "part",
            Self::Raw => "raw",
            Self::Suffix => "suffix",
            Self::Template => "template",
            Self::Context => "context",
            Self::Logprobs => "logprobs",
            Self::Choices => "choices",
            Self::Limit => "limit",
            Self::Background => "background",
            Self::Debug => "debug",
            Self::Turns => "turns",
            Self::System => "system",
            Self::Harness => "harness",
            Self::LastTurn => "last-turn",
            Self::UnknownModel => "unknown-model",
            Self::Origin => "origin",
        }
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of guards. Empty: nothing in the body speaks against a local answer.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Guards(u32);

impl Guards {
    /// Adds one.
    pub fn insert(&mut self, guard: Guard) {
        self.0 |= 1 << guard as u8;
    }

    /// Adds one if `is` holds.
    pub(super) fn insert_if(&mut self, is: bool, guard: Guard) {
        self.0 |= u32::from(is) << guard as u8;
    }

    /// Adds all of another set.
    pub fn extend(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Both together.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Takes one away: the config lifts it.
    pub fn remove(&mut self, guard: Guard) {
        self.0 &= !(1 << guard as u8);
    }

    /// It is in the set.
    pub fn contains(self, guard: Guard) -> bool {
        self.0 & (1 << guard as u8) != 0
    }

    /// Nothing is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// All of them, the most important first.
    pub fn iter(self) -> impl Iterator<Item = Guard> {
        Guard::ALL.into_iter().filter(move |guard| self.contains(*guard))
    }

    /// The most important one.
    pub fn first(self) -> Option<Guard> {
        self.iter().next()
    }
}

impl FromIterator<Guard> for Guards {
    fn from_iter<I: IntoIterator<Item = Guard>>(guards: I) -> Self {
        guards.into_iter().fold(Self::default(), |mut set, guard| {
            set.insert(guard);
            set
        })
    }
}

impl fmt::Debug for Guards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Guard::name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_come_out_by_importance() {
        assert!(Guard::ALL.is_sorted());
        assert!(Guard::ALL.iter().enumerate().all(|(i, guard)| *guard as usize == i));
        let mut guards: Guards = [Guard::System, Guard::Tools].into_iter().collect();
        assert_eq!(format!("{guards:?}"), r#"{"tools", "system"}"#);
        assert_eq!(guards.first(), Some(Guard::Tools));
        guards.remove(Guard::Tools);
        assert_eq!(guards.first(), Some(Guard::System));
        assert!(Guards::default().is_empty());
    }

    #[test]
    fn has_finds_itself_by_name() {
        for name in Has::all_names() {
            assert_eq!(Has::of(name).unwrap().names().collect::<Vec<_>>(), [name]);
        }
        assert_eq!(Has::of("hands"), None);
    }
}
