//! Reading TOML values with their places: every getter takes what it can use and notes what is wrong.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::bounds::Bounds;
use super::file::Source;
use crate::problem::{Problem, nearest};

/// A value and where it stands in its file.
pub(crate) type Placed<T> = Spanned<T>;

/// A key as the TOML parser hands it out.
pub(crate) type Key<'i> = Spanned<DeString<'i>>;

/// A value as the TOML parser hands it out.
pub(crate) type Value<'i> = Spanned<DeValue<'i>>;

/// One file under reading.
pub(crate) struct Reader<'a> {
    pub(crate) source: &'a Source,
    pub(crate) problems: &'a mut Vec<Problem>,
}

impl<'a> Reader<'a> {
    /// The file's top table. `None` (and problems) when it is no TOML.
    pub(crate) fn document(&mut self) -> Option<DeTable<'a>> {
        /// One slip often shows as many errors; the first ones are the true ones.
        const SHOWN: usize = 3;
        let (table, errors) = DeTable::parse_recoverable(&self.source.text);
        for error in errors.iter().take(SHOWN) {
            let span = error.span().unwrap_or(0..0);
            let (at, given) = (span.start, excerpt(&self.source.text, span));
            let near = if given.is_empty() { String::new() } else { format!(" (at `{given}`)") };
            self.problem(at, format!("{}{near}", one_line(error.message())));
        }
        errors.is_empty().then(|| table.into_inner())
    }

    pub(crate) fn problem(&mut self, at: usize, message: impl Into<String>) {
        self.problems.push(self.source.problem(at, message));
    }

    pub(crate) fn unknown_key(&mut self, key: &Key<'_>, place: &str, allowed: &[&str]) {
        let message = unknown(&format!("key in {place}"), key.get_ref(), allowed.iter().copied());
        self.problem(key.span().start, message);
    }

    fn wrong_type(&mut self, key: &Key<'_>, wanted: &str, value: &Value<'_>) {
        let given = excerpt(&self.source.text, value.span());
        let message =
            format!("`{}` takes {wanted}, not {} {given}", key.get_ref(), value.get_ref().type_str());
        self.problem(value.span().start, message);
    }

    /// A string that says something.
    pub(crate) fn string(&mut self, key: &Key<'_>, value: &Value<'_>) -> Option<Placed<String>> {
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(key, "a string", value);
            return None;
        };
        if text.trim().is_empty() {
            self.problem(value.span().start, format!("`{}` is empty", key.get_ref()));
            return None;
        }
        Some(Spanned::new(value.span(), text.to_owned()))
    }

    /// One string or a list of them.
    pub(crate) fn strings(&mut self, key: &Key<'_>, value: &Value<'_>) -> Vec<Placed<String>> {
        let Some(list) = value.get_ref().as_array() else {
            if value.get_ref().is_str() {
                return self.string(key, value).into_iter().collect();
            }
            self.wrong_type(key, "a string or a list of strings", value);
            return Vec::new();
        };
        let mut strings = Vec::with_capacity(list.len());
        for item in list.iter() {
            match item.get_ref().as_str() {
                None => self.wrong_type(key, "a list of strings", item),
                Some(text) if text.trim().is_empty() => {
                    self.problem(item.span().start, format!("empty string in `{}`", key.get_ref()));
                }
                Some(text) => strings.push(Spanned::new(item.span(), text.to_owned())),
            }
        }
        strings
    }

    pub(crate) fn boolean(&mut self, key: &Key<'_>, value: &Value<'_>) -> bool {
        value.get_ref().as_bool().unwrap_or_else(|| {
            self.wrong_type(key, "true or false", value);
            false
        })
    }

    pub(crate) fn integer(&mut self, key: &Key<'_>, value: &Value<'_>) -> Option<i32> {
        let number = integer(value);
        if number.is_none() {
            self.wrong_type(key, "an integer of at most 32 bits", value);
        }
        number
    }

    /// A range of counts: `"5..25"`, or a plain number for exactly that.
    pub(crate) fn bounds(&mut self, key: &Key<'_>, value: &Value<'_>) -> Option<Bounds> {
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.to_string(),
            _ => String::new(),
        };
        let bounds = Bounds::parse(&text);
        if bounds.is_none() {
            let given = excerpt(&self.source.text, value.span());
            let message = format!(
                "`{}` takes a range of counts like \"5\", \"..25\", \"5..\" or \"5..25\" (both ends inclusive), \
                 not {given}",
                key.get_ref()
            );
            self.problem(value.span().start, message);
        }
        bounds
    }

    pub(crate) fn table<'v, 'i>(&mut self, key: &Key<'_>, value: &'v Value<'i>) -> Option<&'v DeTable<'i>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong_type(key, "a table like { … }", value);
        }
        table
    }

    /// The tables under `[[key]]`.
    pub(crate) fn tables<'v, 'i>(
        &mut self,
        key: &Key<'_>,
        value: &'v Value<'i>,
    ) -> Vec<(Range<usize>, &'v DeTable<'i>)> {
        let Some(list) = value.get_ref().as_array() else {
            let message = format!("`{0}` is a list of tables: write [[{0}]] above each", key.get_ref());
            self.problem(key.span().start, message);
            return Vec::new();
        };
        let mut tables = Vec::with_capacity(list.len());
        for item in list.iter() {
            match item.get_ref().as_table() {
                Some(table) => tables.push((item.span(), table)),
                None => self.wrong_type(key, "tables: write [[…]] above each", item),
            }
        }
        tables
    }
}

fn integer(value: &Value<'_>) -> Option<i32> {
    let number = value.get_ref().as_integer()?;
    i32::from_str_radix(number.as_str(), number.radix()).ok()
}

/// `unknown WHAT "given"; did you mean "…"? known: …`
pub(crate) fn unknown<'k>(what: &str, given: &str, known: impl Iterator<Item = &'k str> + Clone) -> String {
    /// A longer list helps nobody.
    const LISTED: usize = 24;
    let mut message = format!("unknown {what}: \"{}\"", one_line(given));
    if let Some(near) = nearest(given, known.clone()) {
        message += &format!(" (did you mean \"{near}\"?)");
    }
    let total = known.clone().count();
    let listed: Vec<&str> = known.take(LISTED).collect();
    message += "; known: ";
    message += if listed.is_empty() { "none" } else { "" };
    message += &listed.join(", ");
    if total > LISTED {
        message += &format!(" and {} more", total - LISTED);
    }
    message
}

/// What the file says there, shortened to one line.
fn excerpt(text: &str, span: Range<usize>) -> String {
    one_line(text.get(span).unwrap_or_default())
}

/// A text on one line, at most 60 characters of it.
pub(crate) fn one_line(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut line: String =
        text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN + 1).collect();
    if line.chars().count() > SHOWN {
        line.pop();
        line.push('…');
    }
    line
}

/// Where byte `offset` of a string's value stands in the file. Exact when the string is written without
/// escapes, else the string's own start.
pub(crate) fn inside(text: &str, value: &Placed<String>, offset: usize) -> usize {
    let span = value.span();
    let raw = text.get(span.clone()).unwrap_or_default();
    raw.find(value.get_ref().as_str()).map_or(span.start, |at| span.start + at + offset)
}
