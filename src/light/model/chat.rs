//! A prompt as the text that the model was trained to read: its own chat template (Jinja, as Hugging Face writes them).

use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value, context};
use serde::Deserialize;

use super::ModelError;
use super::words::Words;
use crate::light::prompt::{Prompt, Role};

const NAME: &str = "chat";
/// Tells whether a template passes a system prompt on.
const PROBE: &str = "probe7f";

/// A model's way to write a conversation.
pub struct Chat {
    /// None: a model that was never taught to talk; it gets the bare texts.
    template: Option<Environment<'static>>,
    bos: String,
    eos: String,
    /// The template passes system prompts on.
    system: bool,
}

#[derive(Deserialize, Default)]
struct TokenizerConfig {
    chat_template: Option<Templates>,
    bos_token: Option<Token>,
    eos_token: Option<Token>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Named(Vec<Named>),
}

#[derive(Deserialize)]
struct Named {
    name: String,
    template: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Token {
    Plain(String),
    Added { content: String },
}

impl Token {
    fn text(self) -> String {
        match self {
            Self::Plain(text) | Self::Added { content: text } => text,
        }
    }
}

impl Chat {
    /// The directory's template, tried once.
    pub fn read(dir: &Path) -> Result<Self, ModelError> {
        let config = dir.join("tokenizer_config.json");
        let read: TokenizerConfig = match std::fs::read(&config) {
            Ok(text) => {
                serde_json::from_slice(&text).map_err(|e| ModelError::malformed(&config, e.to_string()))?
            }
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => TokenizerConfig::default(),
            Err(source) => return Err(ModelError::io(&config, source)),
        };
        let own = dir.join("chat_template.jinja");
        let (place, template) = match std::fs::read_to_string(&own) {
            Ok(text) => (own, Some(text)),
            Err(_) => (config, read.chat_template.and_then(Templates::default)),
        };
        let [bos, eos] =
            [read.bos_token, read.eos_token].map(|token| token.map(Token::text).unwrap_or_default());
        Self::of(template, bos, eos)
            .map_err(|what| ModelError::malformed(&place, format!("chat template: {what}")))
    }

    fn of(template: Option<String>, bos: String, eos: String) -> Result<Self, String> {
        let template = template.map(environment).transpose().map_err(|e| told(&e))?;
        let mut chat = Self { template, bos, eos, system: true };
        if chat.template.is_some() {
            let probe = Prompt::of("hello").under(PROBE);
            chat.system = chat.render(&probe, Some(PROBE)).is_ok_and(|text| text.contains(PROBE));
            // Without one it must work.
            chat.text(&probe, str::to_owned)?;
        }
        Ok(chat)
    }

    /// Name of the token that ends a text; empty if the directory does not say.
    pub fn eos(&self) -> &str {
        &self.eos
    }

    /// Without a template, a text gets the tokens that the tokenizer puts around it.
    pub fn marks(&self) -> bool {
        self.template.is_none()
    }

    /// The text and the tokens of a prompt, up to where the reply begins.
    pub fn tokens(&self, prompt: &Prompt, words: &Words) -> Result<(String, Vec<u32>), String> {
        let text = self.text(prompt, |text| words.harmless(text))?;
        let tokens = words.tokens(&text, self.marks())?;
        if tokens.is_empty() {
            return Err("the prompt is empty".to_owned());
        }
        Ok((text, tokens))
    }

    fn text(&self, prompt: &Prompt, clean: impl Fn(&str) -> String) -> Result<String, String> {
        let mut prompt = Prompt {
            system: prompt.system.as_deref().map(&clean),
            turns: prompt.turns.iter().map(|(role, text)| (*role, clean(text))).collect(),
        };
        if self.template.is_none() {
            let texts = prompt.system.iter().chain(prompt.turns.iter().map(|(_, text)| text));
            return Ok(texts.map(String::as_str).collect::<Vec<_>>().join("\n\n"));
        }
        if self.system {
            let system = prompt.system.take();
            return self.render(&prompt, system.as_deref());
        }
        if let (Some(system), Some((_, first))) = (prompt.system.take(), prompt.turns.first_mut()) {
            *first = format!("{system}\n\n{first}");
        }
        self.render(&prompt, None)
    }

    fn render(&self, prompt: &Prompt, system: Option<&str>) -> Result<String, String> {
        let Some(environment) = &self.template else { return Ok(String::new()) };
        let message = |role: &str, text: &str| context! { role => role, content => text };
        let mut messages: Vec<Value> = system.iter().map(|text| message("system", text)).collect();
        messages.extend(prompt.turns.iter().map(|(role, text)| match role {
            Role::User => message("user", text),
            Role::Assistant => message("assistant", text),
        }));
        let around = context! {
            messages => messages,
            add_generation_prompt => true,
            bos_token => &self.bos,
            eos_token => &self.eos,
            // Qwen 3: the answer, not a page of thoughts.
            enable_thinking => false,
        };
        let template = environment.get_template(NAME).map_err(|e| told(&e))?;
        template.render(around).map_err(|e| told(&e))
    }
}

impl Templates {
    fn default(self) -> Option<String> {
        match self {
            Self::One(template) => Some(template),
            Self::Named(all) => {
                all.into_iter().find(|named| named.name == "default").map(|named| named.template)
            }
        }
    }
}

/// What a rendering may spend, in minijinja's instructions: a long conversation takes some ten thousand.
const FUEL: u64 = 1_000_000;

/// Jinja as Hugging Face sets it up.
fn environment(template: String) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |what: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, what))
    });
    environment.add_function("strftime_now", |format: String| {
        jiff::fmt::strtime::format(&format, &jiff::Zoned::now()).unwrap_or_default()
    });
    // It came with the model: it may not run forever, nor fill the memory.
    environment.set_fuel(Some(FUEL));
    environment.add_template_owned(NAME, template)?;
    Ok(environment)
}

/// In one line.
fn told(error: &Error) -> String {
    let line = error.line().map(|line| format!(" (line {line})")).unwrap_or_default();
    let what = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    format!("{}{line}", what.replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(template: &str, prompt: &Prompt) -> Result<String, String> {
        Chat::of(Some(template.to_owned()), "<s>".into(), "</s>".into())?.text(prompt, str::to_owned)
    }

    #[test]
    fn a_template_of_python_s_habits_is_followed() {
        let template = "{{ bos_token }}{%- for m in messages %}\n<|{{ m['role'].upper() }}|>{{ m.content.strip() }}\
            {%- if m.content.startswith('x') %}!{% endif %}\n{% endfor %}\n{% if add_generation_prompt %}<|go|>{% endif %}";
        let prompt =
            Prompt::of(" xyz ").under("be brief").then(Role::Assistant, "well").then(Role::User, "xa");
        let expected = "<s><|SYSTEM|>be brief<|USER|>xyz<|ASSISTANT|>well<|USER|>xa!<|go|>";
        assert_eq!(text(template, &prompt).unwrap().replace('\n', ""), expected);
    }

    #[test]
    fn where_no_system_prompt_passes_it_is_said_in_the_first_turn() {
        let prompt = Prompt::of("hello").under("be brief");
        let deaf = "{% for m in messages %}{% if m.role == 'user' %}[{{ m.content }}]{% endif %}{% endfor %}";
        assert_eq!(text(deaf, &prompt).unwrap(), "[be brief\n\nhello]");
        let strict = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}{{ messages[0].content }}";
        assert_eq!(text(strict, &prompt).unwrap(), "be brief\n\nhello");
    }

    #[test]
    fn a_template_without_end_is_refused() {
        let endless = "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
        assert!(text(endless, &Prompt::of("a")).is_err());
    }

    #[test]
    fn a_template_that_fails_is_refused_with_its_own_words() {
        let error = text("{% if %}", &Prompt::of("a")).unwrap_err();
        assert!(error.contains("(line 1)"), "{error}");
        let error = text("{{ raise_exception('roles must alternate') }}", &Prompt::of("a")).unwrap_err();
        assert_eq!(error, "roles must alternate (line 1)");
    }
}
