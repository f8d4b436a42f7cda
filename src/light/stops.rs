//! Stop strings in a text that comes piece by piece: what may be the beginning of one is held back.

/// A text as it grows.
#[derive(Debug)]
pub(super) struct Stops {
    stops: Vec<String>,
    /// Not given out yet.
    held: String,
}

/// What came of a piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Passed {
    /// This much is certain.
    Text(String),
    /// This much came before a stop string.
    Last(String),
}

impl Stops {
    /// Looks out for these.
    pub(super) fn new(stops: &[String]) -> Self {
        Self { stops: stops.iter().filter(|stop| !stop.is_empty()).cloned().collect(), held: String::new() }
    }

    /// A piece more.
    pub(super) fn push(&mut self, piece: &str) -> Passed {
        self.held.push_str(piece);
        let found = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(at) = found {
            self.held.truncate(at);
            return Passed::Last(std::mem::take(&mut self.held));
        }
        let keep = self.stops.iter().map(|stop| beginning(&self.held, stop)).max().unwrap_or(0);
        let held = self.held.split_off(self.held.len() - keep);
        Passed::Text(std::mem::replace(&mut self.held, held))
    }

    /// The text ends here: what was held back was no stop string.
    pub(super) fn rest(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Bytes at the end of a text that a stop string begins with.
fn beginning(text: &str, stop: &str) -> usize {
    let longest = stop.len().saturating_sub(1).min(text.len());
    let fits = |length: &usize| text.as_bytes().ends_with(stop.as_bytes().get(..*length).unwrap_or_default());
    // A beginning that ends within a character cannot be cut off there; the text holds whole ones only.
    (1..=longest).rev().filter(|length| stop.is_char_boundary(*length)).find(fits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let mut watch = Stops::new(&stops.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        let mut text = String::new();
        for piece in pieces {
            match watch.push(piece) {
                Passed::Text(more) => text.push_str(&more),
                Passed::Last(more) => return (text + &more, true),
            }
        }
        (text + &watch.rest(), false)
    }

    #[test]
    fn a_stop_string_is_found_across_pieces_and_cut_off() {
        assert_eq!(run(&["\n\n"], &["one\n", "\ntwo"]), ("one".into(), true));
        assert_eq!(run(&["END", "конец"], &["а к", "он", "ец б"]), ("а ".into(), true));
        assert_eq!(run(&["ab", "b"], &["a", "b"]), ("".into(), true), "the earliest wins");
    }

    #[test]
    fn what_only_looked_like_one_is_given_out() {
        assert_eq!(run(&["конец"], &["коне", "ц"]), ("".into(), true));
        assert_eq!(run(&["конец"], &["коне", "й"]), ("коней".into(), false));
        assert_eq!(run(&["\n\n"], &["line\n"]), ("line\n".into(), false));
        assert_eq!(run(&[""], &["a"]), ("a".into(), false), "an empty one stops nothing");
        let mut watch = Stops::new(&["xyz".into()]);
        assert_eq!(watch.push("abxy"), Passed::Text("ab".into()));
    }
}
