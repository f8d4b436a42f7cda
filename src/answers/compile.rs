//! Raw answers to compiled ones.

use super::template::{BadKind, BadTemplate, LIVE_NAMES, Templates};
use super::{Answer, Text};
use crate::rules::file::Source;
use crate::rules::raw::RawAnswer;
use crate::rules::table::{Placed, inside, unknown};

/// Compiles an answer's texts; says what is wrong with them as offset and message.
pub(crate) fn compile(raw: &RawAnswer, name: &str, source: &Source) -> (Answer, Vec<(usize, String)>) {
    let mut problems = Vec::new();
    let mut templates = Templates::default();
    let mut texts = Vec::with_capacity(raw.texts.len());
    for (code, given) in &raw.texts {
        let mut compiled = Vec::with_capacity(given.len());
        for text in given {
            let said = text.get_ref().trim_end();
            if !Templates::is_template(said) {
                compiled.push(Text::Plain(said.to_owned()));
                continue;
            }
            let id = format!("{name}.{code}.{}", compiled.len());
            if let Err(bad) = templates.add(&id, code, said) {
                problems.extend(bad.into_iter().map(|bad| told(bad, text, source)));
            }
            compiled.push(Text::Template(id));
        }
        texts.push((code.clone(), compiled));
    }
    if !raw.has_text {
        problems.push((
            raw.at,
            "an answer needs a text: ru = \"…\", en = \"…\" or any two-letter language".into(),
        ));
    }
    let examples = raw.examples.iter().map(|e| e.get_ref().clone()).collect();
    let covers = raw.covers.iter().map(|name| name.get_ref().as_str().into()).collect();
    let strict = raw.strict;
    (Answer { name: name.into(), examples, covers, strict, texts, templates }, problems)
}

fn told(bad: BadTemplate, text: &Placed<String>, source: &Source) -> (usize, String) {
    let message = match bad.kind {
        BadKind::Name(name) => unknown("name in a template", &name, LIVE_NAMES.into_iter()),
        BadKind::Broken(message) => format!("bad template: {message}"),
    };
    (inside(&source.text, text, bad.offset), message)
}
