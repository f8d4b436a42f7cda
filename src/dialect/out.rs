//! The one buffer that a body is written into.

use bytes::Bytes;

use super::Reply;

/// JSON, written by hand in the order of Ollama's own fields.
pub(super) struct Out(Vec<u8>);

impl Out {
    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(256))
    }

    /// Room for a reply, so that it is not moved while it grows.
    pub(super) fn with_room(reply: &Reply<'_>) -> Self {
        let once = reply.text.len() + reply.model.len() + 1200;
        Self(Vec::with_capacity(if reply.stream { once * 4 } else { once }))
    }

    /// As it stands.
    pub(super) fn raw(&mut self, json: &str) -> &mut Self {
        self.0.extend_from_slice(json.as_bytes());
        self
    }

    /// A string, quoted and escaped.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        // Writing a string to a Vec has nothing that could go wrong.
        let _ = serde_json::to_writer(&mut self.0, text);
        self
    }

    /// A string, or null.
    pub(super) fn optional(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.text(text),
            None => self.raw("null"),
        }
    }

    /// An integer.
    pub(super) fn number(&mut self, mut number: u64) -> &mut Self {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            // A digit is below 10.
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.0.extend_from_slice(&digits[at..]);
        self
    }

    /// A float as Go and JavaScript write it: 1, not 1.0.
    pub(super) fn float(&mut self, number: f64) -> &mut Self {
        self.raw(&number.to_string())
    }
}

impl From<Out> for Bytes {
    fn from(out: Out) -> Self {
        out.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_out_as_json() {
        let mut out = Out::new();
        out.number(0)
            .raw(" ")
            .number(u64::MAX)
            .raw(" ")
            .float(1.0)
            .raw(" ")
            .float(0.7)
            .raw(" ")
            .text("a\"\n<é");
        assert_eq!(Bytes::from(out), "0 18446744073709551615 1 0.7 \"a\\\"\\n<é\"".as_bytes());
    }
}
