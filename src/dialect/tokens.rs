//! How a written answer falls into tokens: to count them, to cut at a limit, to stream.
//!
//! The estimate: a token is a piece of a word, of up to 4 Latin letters, 2.5 letters of other alphabets,
//! 3 digits or signs, 1.5 Chinese characters or one emoji; the space before a word belongs to its first
//! piece. Real tokenizers take fewer tokens for common English words and about as many for Russian.

/// A piece is full at this weight.
const FULL: u32 = 60;
/// So much white space is a piece of its own.
const SPACES: usize = 16;

#[derive(PartialEq)]
enum Kind {
    Letter,
    Digit,
    Sign,
}

/// A character's kind and weight.
fn weigh(c: char) -> (Kind, u32) {
    match c {
        '0'..='9' => (Kind::Digit, 20),
        'a'..='z' | 'A'..='Z' | '\u{c0}'..='\u{24f}' => (Kind::Letter, 15),
        '\u{2e80}'..='\u{9fff}' | '\u{ac00}'..='\u{d7ff}' | '\u{20000}'..='\u{3ffff}' => (Kind::Letter, 40),
        'А'..='я' => (Kind::Letter, 24),
        c if c.is_alphabetic() => (Kind::Letter, 24),
        c if u32::from(c) < 0x2100 => (Kind::Sign, 20),
        _ => (Kind::Sign, FULL),
    }
}

/// The pieces of a text, one for each token that it is taken to have. Joined they are the text.
#[derive(Debug, Clone)]
pub struct Pieces<'t> {
    rest: &'t str,
}

/// See [`Pieces`].
pub fn pieces(text: &str) -> Pieces<'_> {
    Pieces { rest: text }
}

impl<'t> Iterator for Pieces<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        let mut kind = None;
        let mut weight = 0;
        let end = self.rest.char_indices().enumerate().find_map(|(nth, (at, c))| {
            if c.is_whitespace() {
                return (kind.is_some() || nth == SPACES).then_some(at);
            }
            // What joins or colours the character before it.
            if kind.is_some() && matches!(c, '\u{200d}' | '\u{fe00}'..='\u{fe0f}' | '\u{300}'..='\u{36f}') {
                return None;
            }
            let (this, more) = weigh(c);
            if kind.as_ref().is_some_and(|kind| *kind != this || weight + more > FULL)
                || nth >= SPACES && kind.is_none()
            {
                return Some(at);
            }
            kind = Some(this);
            weight += more;
            None
        });
        let (piece, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        Some(piece).filter(|piece| !piece.is_empty())
    }
}

/// An answer within the limits of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut<'t> {
    /// What is left. Empty if a stop string stands at its very beginning: then forward.
    pub text: &'t str,
    /// It was the limit of tokens that cut it, not a stop string.
    pub length: bool,
    /// The tokens in it, at least 1.
    pub tokens: u64,
}

/// Cuts an answer as Ollama would: at `limit` tokens, or before the first stop string that is complete by
/// then.
pub fn cut<'t>(text: &'t str, limit: Option<u64>, stops: &[impl AsRef<str>]) -> Cut<'t> {
    let mut room = 0;
    let mut tokens = 0;
    for piece in pieces(text) {
        if limit == Some(tokens) {
            break;
        }
        tokens += 1;
        room += piece.len();
    }
    let within = &text[..room];
    let stops = stops.iter().map(AsRef::as_ref).filter(|stop| !stop.is_empty());
    match stops.filter_map(|stop| within.find(stop)).min() {
        Some(at) => {
            let text = &within[..at];
            Cut { text, length: false, tokens: (pieces(text).count() as u64).max(1) }
        }
        None => Cut { text: within, length: room < text.len(), tokens: tokens.max(1) },
    }
}

/// Tokens that a prompt of so many bytes is taken to have, its template included.
pub fn prompt_tokens(bytes: usize) -> u64 {
    bytes as u64 / 4 + 8
}

/// The pieces in which an answer is streamed: up to four words each, a new one behind each sentence.
/// Joined they are the text; an empty text is one empty piece, so that every stream has a first one.
#[derive(Debug, Clone)]
pub struct Deltas<'t> {
    rest: Option<&'t str>,
}

/// See [`Deltas`].
pub fn deltas(text: &str) -> Deltas<'_> {
    Deltas { rest: Some(text) }
}

impl<'t> Iterator for Deltas<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        let text = self.rest.take()?;
        let mut words = 0;
        let mut previous = ' ';
        for (at, c) in text.char_indices() {
            if c.is_whitespace() && !previous.is_whitespace() {
                words += 1;
                let sentence = matches!(previous, '.' | '!' | '?' | '…' | ':');
                // White space at the very end goes with the last word.
                if (words == 4 || sentence) && !text[at..].trim_start().is_empty() {
                    self.rest = Some(&text[at..]);
                    return Some(&text[..at]);
                }
            }
            previous = c;
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NO_STOPS: [&str; 0] = [];

    #[test]
    fn words_fall_into_pieces() {
        let split = |text: &str| pieces(text).collect::<Vec<_>>().join("|");
        assert_eq!(split("Hello! How can I help you today?"), "Hell|o|!| How| can| I| help| you| toda|y|?");
        assert_eq!(split("Привет, мир 12345..."), "Пр|ив|ет|,| ми|р| 123|45|...");
        assert_eq!(split("你好👋🏽 ok\n"), "你|好|👋|🏽| ok|\n");
        assert_eq!(split(&" ".repeat(40)), [" ".repeat(16), " ".repeat(16), " ".repeat(8)].join("|"));
        assert_eq!(split(""), "");
    }

    #[test]
    fn answers_stream_by_words_and_sentences() {
        let split = |text| deltas(text).collect::<Vec<_>>().join("|");
        assert_eq!(split("Hello! How can I help you today?"), "Hello!| How can I help| you today?");
        assert_eq!(split("a b\n\n- c d e  "), "a b\n\n- c| d e  ");
        assert_eq!(deltas("").collect::<Vec<_>>(), [""]);
    }

    #[test]
    fn limits_and_stops_cut() {
        let text = "Hello! How can I help?";
        assert_eq!(cut(text, None, &NO_STOPS), Cut { text, length: false, tokens: 8 });
        assert_eq!(cut(text, Some(8), &NO_STOPS), Cut { text, length: false, tokens: 8 });
        assert_eq!(cut(text, Some(4), &NO_STOPS), Cut { text: "Hello! How", length: true, tokens: 4 });
        assert_eq!(cut(text, None, &["can", "!"]), Cut { text: "Hello", length: false, tokens: 2 });
        assert_eq!(cut(text, Some(4), &["can"]), Cut { text: "Hello! How", length: true, tokens: 4 });
        assert_eq!(cut(text, Some(5), &["can"]), Cut { text: "Hello! How ", length: false, tokens: 5 });
        assert_eq!(cut(text, None, &["Hell"]), Cut { text: "", length: false, tokens: 1 });
        assert_eq!(cut("", None, &[""]), Cut { text: "", length: false, tokens: 1 });
    }

    proptest! {
        #[test]
        fn pieces_and_deltas_join_to_the_text(text in "(\\PC|[ \n\u{200d}\u{fe0f}]){0,60}") {
            prop_assert_eq!(pieces(&text).collect::<String>(), text.clone());
            prop_assert_eq!(deltas(&text).collect::<String>(), text.clone());
            prop_assert!(deltas(&text).count() == 1 || deltas(&text).all(|delta| !delta.trim().is_empty()));
        }

        #[test]
        fn more_text_is_never_fewer_tokens(text in "[a-zа-я0-9 .,!😀]{0,60}", at in 0usize..60) {
            let at = text.floor_char_boundary(at);
            prop_assert!(cut(&text[..at], None, &NO_STOPS).tokens <= cut(&text, None, &NO_STOPS).tokens);
        }

        #[test]
        fn a_cut_answer_keeps_its_limit(text in "[a-zа-я0-9 .,!😀]{0,60}", limit in 1u64..20) {
            let cut = cut(&text, Some(limit), &NO_STOPS);
            prop_assert!(text.starts_with(cut.text) && cut.tokens <= limit);
            prop_assert_eq!(cut.length, cut.text.len() < text.len());
        }
    }
}
