//! JSON read in place: one pass over the bytes, nothing built, strings decoded only where somebody asks.
//!
//! The grammar is checked in full (what `serde_json` refuses is refused); UTF-8 and lone surrogates are
//! checked where a string is decoded. `serde_json` itself costs a second pass over all text for its UTF-8,
//! which for a megabyte of Cyrillic is most of a millisecond.

use std::borrow::Cow;

use wide::u8x16;

use super::Unreadable;
use crate::lane;

/// Deeper nesting than this is refused, as `serde_json` does: the stack is ours, the body is the client's.
const DEEPEST: u8 = 127;

/// A place in a JSON text.
pub(super) struct Cursor<'b> {
    bytes: &'b [u8],
    at: usize,
    depth: u8,
}

impl<'b> Cursor<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, at: 0, depth: 0 }
    }

    /// The first byte of the next value or mark: it tells what it is.
    pub(super) fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, mark: u8) -> Result<(), Unreadable> {
        if self.peek() != Some(mark) {
            return Err(Unreadable);
        }
        self.at += 1;
        Ok(())
    }

    /// Nothing but white space is left.
    pub(super) fn end(&mut self) -> Result<(), Unreadable> {
        self.peek().map_or(Ok(()), |_| Err(Unreadable))
    }

    /// An object. `member` gets each key, with the cursor before its value, which it has to read.
    pub(super) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, Text<'b>) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        self.list(b'{', b'}', |cursor| {
            let key = cursor.string()?;
            cursor.take(b':')?;
            member(cursor, key)
        })
    }

    /// An array. `item` is called with the cursor before each element, which it has to read.
    pub(super) fn array(
        &mut self,
        item: impl FnMut(&mut Self) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        self.list(b'[', b']', item)
    }

    fn list(
        &mut self,
        open: u8,
        close: u8,
        mut item: impl FnMut(&mut Self) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        self.take(open)?;
        if self.depth == DEEPEST {
            return Err(Unreadable);
        }
        self.depth += 1;
        if self.peek() == Some(close) {
            self.at += 1;
        } else {
            loop {
                item(self)?;
                match self.peek() {
                    Some(b',') => self.at += 1,
                    Some(mark) if mark == close => break self.at += 1,
                    _ => return Err(Unreadable),
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// A string, not decoded.
    pub(super) fn string(&mut self) -> Result<Text<'b>, Unreadable> {
        self.take(b'"')?;
        let start = self.at - 1;
        let mut escaped = false;
        loop {
            let base = self.at;
            let mut marks = marks(lane::next(&self.bytes[base..]));
            while marks != 0 {
                self.at = base + marks.trailing_zeros() as usize;
                match self.bytes.get(self.at) {
                    Some(b'"') => {
                        self.at += 1;
                        return Ok(Text { quoted: &self.bytes[start..self.at], escaped });
                    }
                    Some(b'\\') => self.at += escape(&self.bytes[self.at + 1..])?,
                    // A control character, or the end: behind it stand zeros.
                    _ => return Err(Unreadable),
                }
                escaped = true;
                // What an escape holds is no mark.
                marks &= u32::MAX.checked_shl((self.at - base) as u32).unwrap_or(0);
            }
            self.at = self.at.max(base + lane::WIDTH);
        }
    }

    fn number(&mut self) -> Result<(), Unreadable> {
        if self.bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        let zero = self.bytes.get(self.at) == Some(&b'0');
        if self.digits()? > 1 && zero {
            return Err(Unreadable);
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<usize, Unreadable> {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == start { Err(Unreadable) } else { Ok(self.at - start) }
    }

    /// Any value, as it stands.
    pub(super) fn value(&mut self) -> Result<Raw<'b>, Unreadable> {
        let first = self.peek();
        let start = self.at;
        match first {
            Some(b'"') => drop(self.string()?),
            Some(b'{') => self.object(|cursor, _| cursor.value().map(drop))?,
            Some(b'[') => self.array(|cursor| cursor.value().map(drop))?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => {
                let rest = &self.bytes[start..];
                let word: &[u8] = [&b"null"[..], b"true", b"false"]
                    .into_iter()
                    .find(|word| rest.starts_with(word))
                    .ok_or(Unreadable)?;
                self.at += word.len();
            }
        }
        Ok(Raw { json: &self.bytes[start..self.at], start })
    }
}

/// Where quotes, backslashes and control characters stand.
#[inline]
fn marks(lane: u8x16) -> u32 {
    lane::bits(lane::equal(lane, b'"') | lane::equal(lane, b'\\') | lane::between(lane, 0, 0x1f))
}

/// The length of an escape, from what follows its backslash.
#[inline]
fn escape(rest: &[u8]) -> Result<usize, Unreadable> {
    match rest.first() {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(2),
        Some(b'u') if rest.get(1..5).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) => Ok(6),
        _ => Err(Unreadable),
    }
}

/// A string as it stands in the text, with its quotes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'b> {
    quoted: &'b [u8],
    escaped: bool,
}

impl<'b> Text<'b> {
    /// Its length in the body, without the quotes.
    pub(super) fn len(&self) -> usize {
        self.quoted.len() - 2
    }

    /// As it stands in the body, without the quotes.
    pub(super) fn raw(&self) -> &'b [u8] {
        let quoted: &'b [u8] = self.quoted;
        &quoted[1..quoted.len() - 1]
    }

    /// The characters meant. Borrowed, if there is nothing to unescape.
    pub(super) fn decode(&self) -> Result<Cow<'b, str>, Unreadable> {
        let inner = &self.quoted[1..self.quoted.len() - 1];
        if self.escaped {
            return unescape(inner).map(Cow::Owned);
        }
        std::str::from_utf8(inner).map(Cow::Borrowed).map_err(|_| Unreadable)
    }
}

impl<'b> Text<'b> {
    /// What is looked at of a message: its characters, or the beginning and the end of a very long one. Rules
    /// see no more of it, and to unescape a megabyte would cost more than to forward it.
    pub(super) fn decode_ends(&self) -> Result<Cow<'b, str>, Unreadable> {
        /// Bytes as they stand in the body.
        const LONG: usize = 64 * 1024;
        const HEAD: usize = 24 * 1024;
        const TAIL: usize = 8 * 1024;
        if !self.escaped || self.len() <= LONG {
            return self.decode();
        }
        let inner = &self.quoted[1..self.quoted.len() - 1];
        // A space is never part of an escape or of a character, so a cut beside one is safe.
        let is_space = |b: &u8| *b == b' ';
        let head = inner[..HEAD].iter().rposition(is_space);
        let tail = inner[inner.len() - TAIL..].iter().position(is_space);
        let (Some(head), Some(tail)) = (head, tail) else { return self.decode() };
        let mut ends = Vec::with_capacity(HEAD + TAIL + 4);
        ends.extend_from_slice(&inner[..head]);
        ends.extend_from_slice(b"\\n");
        ends.extend_from_slice(&inner[inner.len() - TAIL + tail..]);
        unescape(&ends).map(Cow::Owned)
    }
}

/// The characters that stand between a string's quotes. [`Cursor::string`] has checked its escapes; what can
/// still be wrong are surrogates without their other half, and UTF-8.
fn unescape(inner: &[u8]) -> Result<String, Unreadable> {
    // Whole lanes are written, of which only the beginning counts.
    let mut out = vec![0; inner.len() + lane::WIDTH];
    let (mut at, mut end) = (0, 0);
    while at < inner.len() {
        let next = lane::next(&inner[at..]);
        if let Some(room) = out.get_mut(end..).and_then(<[u8]>::first_chunk_mut) {
            *room = next.to_array();
        }
        let plain = lane::bits(lane::equal(next, b'\\')).trailing_zeros() as usize;
        let plain = plain.min(lane::WIDTH).min(inner.len() - at);
        (at, end) = (at + plain, end + plain);
        if inner.get(at) != Some(&b'\\') {
            continue;
        }
        let kind = inner.get(at + 1).ok_or(Unreadable)?;
        at += 2;
        match MEANINGS[usize::from(*kind)] {
            0 => {
                // Six bytes or twelve become four at most.
                let (c, length) = unicode_escape(&inner[at..]).ok_or(Unreadable)?;
                end += c.encode_utf8(&mut out[end..]).len();
                at += length;
            }
            byte => {
                out[end] = byte;
                end += 1;
            }
        }
    }
    out.truncate(end);
    String::from_utf8(out).map_err(|_| Unreadable)
}

/// What a letter behind a backslash stands for; 0 for `u`, and for what may not stand there.
const MEANINGS: [u8; 256] = {
    let mut meanings = [0; 256];
    let pairs = [
        (b'"', b'"'),
        (b'\\', b'\\'),
        (b'/', b'/'),
        (b'b', 8),
        (b'f', 12),
        (b'n', b'\n'),
        (b'r', b'\r'),
        (b't', b'\t'),
    ];
    let mut i = 0;
    while i < pairs.len() {
        meanings[pairs[i].0 as usize] = pairs[i].1;
        i += 1;
    }
    meanings
};

/// The character of a `\u` escape (of two, for a pair of surrogates) and its length, from behind the `u`.
fn unicode_escape(rest: &[u8]) -> Option<(char, usize)> {
    let unit = |digits: &[u8]| u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
    let high = unit(rest.get(..4)?)?;
    if let Some(c) = char::from_u32(high) {
        return Some((c, 4));
    }
    let low = unit(rest.get(4..10)?.strip_prefix(b"\\u")?)?;
    let is_pair = (0xd800..0xdc00).contains(&high) && (0xdc00..0xe000).contains(&low);
    let c = is_pair.then(|| 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))?;
    Some((char::from_u32(c)?, 10))
}

/// A value as it stands in the text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Raw<'b> {
    /// Never empty, without white space around it.
    pub(super) json: &'b [u8],
    /// Where it stands in the text.
    pub(super) start: usize,
}

impl<'b> Raw<'b> {
    pub(super) fn first(&self) -> u8 {
        self.json[0]
    }

    pub(super) fn cursor(&self) -> Cursor<'b> {
        Cursor::new(self.json)
    }

    pub(super) fn is_null(&self) -> bool {
        self.first() == b'n'
    }

    /// null, false, "", 0, [] or {}: what a Go field holds when nobody set it.
    pub(super) fn is_zero(&self) -> bool {
        match self.json {
            b"null" | b"false" | b"\"\"" => true,
            [b'[' | b'{', inner @ .., _] => inner.trim_ascii().is_empty(),
            _ => self.float() == Some(0.0),
        }
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        match self.json {
            b"true" => Some(true),
            b"false" => Some(false),
            _ => None,
        }
    }

    fn number(&self) -> Option<&'b str> {
        matches!(self.first(), b'-' | b'0'..=b'9').then(|| std::str::from_utf8(self.json).ok()).flatten()
    }

    /// A number written as an integer, the only form that Go reads into an `int`.
    pub(super) fn integer(&self) -> Option<i64> {
        self.number()?.parse().ok()
    }

    pub(super) fn float(&self) -> Option<f64> {
        self.number()?.parse().ok().filter(|number: &f64| number.is_finite())
    }

    /// The string that it is, if it is one.
    pub(super) fn string(&self) -> Option<Text<'b>> {
        self.cursor().string().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn accepts(json: &[u8]) -> bool {
        let mut cursor = Cursor::new(json);
        cursor.value().and_then(|_| cursor.end()).is_ok()
    }

    fn serde_accepts(json: &[u8]) -> bool {
        serde_json::from_slice::<serde::de::IgnoredAny>(json).is_ok()
    }

    #[test]
    fn the_grammar_is_json_and_nothing_else() {
        for good in
            ["0", "-0.5e+10", r#"{"a":[1,{"b":null}],"c":"\u00e9\n"}"#, " [ ] ", "true", "\"12345678\""]
        {
            assert!(accepts(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "01",
            "1.",
            "-",
            "+1",
            "[1,]",
            "{,}",
            "{\"a\"}",
            "{a:1}",
            "nul",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"a",
            "\"tab\there\"",
            "1 2",
            "[",
            "[1}",
            "{\"a\":1,}",
            "'a'",
            "\"\\u12",
            "\u{feff}1",
        ] {
            assert!(!accepts(bad.as_bytes()), "{bad}");
            assert!(!serde_accepts(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn nesting_has_an_end() {
        let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
        assert!(accepts(nested(127).as_bytes()));
        assert!(!accepts(nested(128).as_bytes()));
        assert!(!accepts("[".repeat(1_000_000).as_bytes()));
    }

    #[test]
    fn strings_are_decoded_only_when_they_can_be() {
        let text = |json: &'static [u8]| Cursor::new(json).string().unwrap().decode();
        assert!(matches!(text("\"привет\"".as_bytes()), Ok(Cow::Borrowed("привет"))));
        assert_eq!(text(br#""a\u043f\ud83d\ude00\"""#).unwrap(), "aп😀\"");
        assert!(text(br#""\ud83d""#).is_err(), "a lone surrogate");
        assert!(text(b"\"\xff\"").is_err(), "not UTF-8");
    }

    #[test]
    fn what_go_leaves_at_zero_is_zero() {
        for zero in ["null", "false", "\"\"", "0", "0.0", "-0", "0e9", "[]", "[ \n]", "{ }"] {
            assert!(Cursor::new(zero.as_bytes()).value().unwrap().is_zero(), "{zero}");
        }
        for set in ["true", "\"0\"", "1", "0.1", "[0]", "{\"a\":0}"] {
            assert!(!Cursor::new(set.as_bytes()).value().unwrap().is_zero(), "{set}");
        }
    }

    proptest! {
        #[test]
        fn serde_json_agrees_on_noise(json in r#"[\[\]{}",:\\untrefalsd0-9.eE+\- \n\x01é]{0,24}"#) {
            prop_assert_eq!(accepts(json.as_bytes()), serde_accepts(json.as_bytes()), "{}", json);
        }

        #[test]
        fn serde_json_agrees_on_what_escapes_mean(
            inner in r#"([a-zé]{0,3}|\\[nrtbf/"]|\\\\|\\u[0-9a-f]{4}|\\ud8[0-9a-f]{2}|\\udc[0-9A-F]{2}|\\u00[0-9a-f]{2}){0,8}"#
        ) {
            let json = format!("\"{inner}\"");
            let found = Cursor::new(json.as_bytes()).string().and_then(|text| text.decode().map(Cow::into_owned));
            prop_assert_eq!(found.ok(), serde_json::from_str::<String>(&json).ok(), "{}", json);
        }

        #[test]
        fn serde_json_agrees_on_strings(text in "\\PC{0,40}", at in 0usize..60, byte: u8) {
            let mut json = serde_json::to_vec(&serde_json::json!({ "k": [text, 1.5, null] })).unwrap();
            prop_assert!(accepts(&json));
            let at = at % json.len();
            json[at] = byte;
            prop_assert_eq!(accepts(&json), serde_accepts(&json));
        }
    }
}
