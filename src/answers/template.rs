//! Texts with live values: minijinja templates, compiled and tried out when they are loaded.

use std::time::Duration;

use jiff::Zoned;
use jiff::civil::Weekday;
use minijinja::{Environment, UndefinedBehavior, Value, context};

/// The names that a text may use.
pub const LIVE_NAMES: [&str; 8] =
    ["now", "today", "model", "models", "upstream_up", "uptime", "version", "rules"];

/// Those that others have, too: who asks for a time or for models may mean Tokyo's or Tesla's. How this program is
/// doing is said in passing.
const FACTS: [&str; 4] = ["now", "today", "models", "version"];

/// What the texts' names stand for at one moment.
#[derive(Debug, Clone)]
pub struct Live<'a> {
    /// The model that the request names.
    pub model: &'a str,
    /// The models that the upstream has; empty when not known.
    pub models: &'a [String],
    /// The upstream answers.
    pub upstream_up: bool,
    /// Since brainstem was started.
    pub uptime: Duration,
    /// brainstem's version.
    pub version: &'static str,
    /// How many rules are loaded.
    pub rules: usize,
    /// The moment, in the zone that it is told in.
    pub now: Zoned,
}

/// A text that could not be made. Loading tries every text, so this takes a value that loading did not see.
#[derive(Debug, thiserror::Error)]
#[error("answer text {name}: {source}")]
pub struct RenderError {
    name: String,
    source: minijinja::Error,
}

/// What is wrong with a template, and where in it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadTemplate {
    pub(crate) offset: usize,
    pub(crate) kind: BadKind,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadKind {
    /// It uses a name that is none of [`LIVE_NAMES`].
    Name(String),
    /// Anything else, in minijinja's words.
    Broken(String),
}

/// The compiled templates of one answer.
#[derive(Debug, Default)]
pub(crate) struct Templates {
    /// Made when the first template comes: most answers have none.
    environment: Option<Environment<'static>>,
    states_facts: bool,
}

impl Templates {
    /// A text without braces is no template.
    pub(crate) fn is_template(text: &str) -> bool {
        text.contains('{')
    }

    /// Compiles a text of the language `code` and tries it out.
    pub(crate) fn add(&mut self, name: &str, code: &str, text: &str) -> Result<(), Vec<BadTemplate>> {
        let environment = self.environment.get_or_insert_with(|| {
            let mut environment = Environment::new();
            environment.set_undefined_behavior(UndefinedBehavior::Strict);
            environment
        });
        let broken = |error: &minijinja::Error| {
            let line = error.line().unwrap_or(1);
            let offset = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
            vec![BadTemplate { offset, kind: BadKind::Broken(told(error)) }]
        };
        environment.add_template_owned(name.to_owned(), text.to_owned()).map_err(|error| broken(&error))?;
        let template = environment.get_template(name).map_err(|error| broken(&error))?;
        let names = template.undeclared_variables(false);
        self.states_facts |= FACTS.iter().any(|fact| names.contains(*fact));
        let mut unknown: Vec<BadTemplate> = names
            .into_iter()
            .filter(|name| !LIVE_NAMES.contains(&name.as_str()))
            .map(|name| BadTemplate { offset: place(text, &name), kind: BadKind::Name(name) })
            .collect();
        if !unknown.is_empty() {
            unknown.sort_by_key(|bad| bad.offset);
            return Err(unknown);
        }
        let models = ["llama3.2:1b".to_owned()];
        for up in [true, false] {
            let live = Live {
                model: "llama3.2:1b",
                models: if up { &models } else { &[] },
                upstream_up: up,
                uptime: Duration::from_secs(1),
                version: "0",
                rules: 1,
                now: Zoned::now(),
            };
            template.render(values(code, &live)).map_err(|error| broken(&error))?;
        }
        Ok(())
    }

    /// Whether some text tells the time, the models, a version or the like.
    pub(crate) fn state_facts(&self) -> bool {
        self.states_facts
    }

    pub(crate) fn render(&self, name: &str, code: &str, live: &Live<'_>) -> Result<String, RenderError> {
        let none = || minijinja::ErrorKind::TemplateNotFound.into();
        let template = self.environment.as_ref().ok_or_else(none).and_then(|e| e.get_template(name));
        template
            .and_then(|template| template.render(values(code, live)))
            .map_err(|source| RenderError { name: name.to_owned(), source })
    }
}

/// minijinja's message without its template name and line, which are the file's business.
fn told(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

/// Where a template uses a name.
fn place(text: &str, name: &str) -> usize {
    let joins = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let from = text.find('{').unwrap_or(0);
    text[from..]
        .match_indices(name)
        .map(|(at, _)| from + at)
        .find(|at| {
            !text[..*at].ends_with(joins) && !text[at + name.len()..].starts_with(|c| joins(c) && c != '.')
        })
        .unwrap_or(from)
}

fn values(code: &str, live: &Live<'_>) -> Value {
    context! {
        now => live.now.strftime("%H:%M").to_string(),
        today => today(code, &live.now),
        model => live.model,
        models => live.models.iter().map(|m| Value::from(m.as_str())).collect::<Value>(),
        upstream_up => live.upstream_up,
        uptime => uptime(code, live.uptime),
        version => live.version,
        rules => live.rules,
    }
}

/// "понедельник, 23 ноября 2026 г.", "Monday, 23 November 2026".
fn today(code: &str, now: &Zoned) -> String {
    const MONTHS: [&str; 12] = [
        "января",
        "февраля",
        "марта",
        "апреля",
        "мая",
        "июня",
        "июля",
        "августа",
        "сентября",
        "октября",
        "ноября",
        "декабря",
    ];
    if code != "ru" {
        return now.strftime("%A, %-d %B %Y").to_string();
    }
    let day = match now.weekday() {
        Weekday::Monday => "понедельник",
        Weekday::Tuesday => "вторник",
        Weekday::Wednesday => "среда",
        Weekday::Thursday => "четверг",
        Weekday::Friday => "пятница",
        Weekday::Saturday => "суббота",
        Weekday::Sunday => "воскресенье",
    };
    let month = usize::try_from(now.month() - 1).ok().and_then(|m| MONTHS.get(m)).unwrap_or(&"");
    format!("{day}, {} {month} {} г.", now.day(), now.year())
}

/// The two largest units: "3 d 4 h", "4 h 5 min", "5 min", "12 s".
fn uptime(code: &str, uptime: Duration) -> String {
    let [day, hour, minute, second] =
        if code == "ru" { ["дн", "ч", "мин", "с"] } else { ["d", "h", "min", "s"] };
    let seconds = uptime.as_secs();
    match (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60) {
        (0, 0, 0) => format!("{seconds} {second}"),
        (0, 0, minutes) => format!("{minutes} {minute}"),
        (0, hours, minutes) => format!("{hours} {hour} {minutes} {minute}"),
        (days, hours, _) => format!("{days} {day} {hours} {hour}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(models: &[String]) -> Live<'_> {
        Live {
            model: "llama3",
            models,
            upstream_up: true,
            uptime: Duration::from_secs(3 * 3600 + 5 * 60),
            version: "0.1.0",
            rules: 7,
            now: jiff::civil::date(2026, 11, 23).at(14, 5, 0, 0).in_tz("UTC").unwrap(),
        }
    }

    fn render(code: &str, text: &str) -> String {
        let mut templates = Templates::default();
        templates.add("t", code, text).unwrap();
        templates.render("t", code, &live(&["a".into(), "b".into()])).unwrap()
    }

    #[test]
    fn live_values_are_told_in_the_language_of_the_text() {
        assert_eq!(render("ru", "{{ today }}, {{ now }}"), "понедельник, 23 ноября 2026 г., 14:05");
        assert_eq!(render("en", "{{ today }}, {{ now }}"), "Monday, 23 November 2026, 14:05");
        assert_eq!(render("ru", "{{ uptime }}"), "3 ч 5 мин");
        assert_eq!(
            render("en", "{{ version }} {{ model }} {{ models | join(', ') }} {{ rules }} {{ uptime }}"),
            "0.1.0 llama3 a, b 7 3 h 5 min"
        );
        assert_eq!(render("en", "{% if upstream_up %}up{% else %}down{% endif %}"), "up");
        assert_eq!(render("en", "{% for m in models %}[{{ m }}]{% endfor %}"), "[a][b]");
    }

    #[test]
    fn what_is_wrong_is_found_at_load() {
        let add = |text| Templates::default().add("t", "en", text).unwrap_err();
        assert_eq!(add("hi {{ nme }}"), [BadTemplate { offset: 6, kind: BadKind::Name("nme".into()) }]);
        let broken = add("one\ntwo {{ model");
        assert_eq!(broken[0].offset, 4);
        assert!(matches!(&broken[0].kind, BadKind::Broken(m) if m.contains("syntax error")), "{broken:?}");
        let filter = add("{{ model | shout }}");
        assert!(matches!(&filter[0].kind, BadKind::Broken(m) if m.contains("shout")), "{filter:?}");
        let branch = add("{% if not upstream_up %}{{ models[0].x.y }}{% endif %}");
        assert!(matches!(&branch[0].kind, BadKind::Broken(_)), "{branch:?}");
    }
}
