//! Another model in an ask: that one value changes, every other byte stays, and it reads back as it was put.
//! The first byte of the input is the length of the name that stands at its beginning.
#![no_main]

use brainstem::ask::{self, Ask};
use brainstem::dialect::Dialect;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let length = input.first().map_or(0, |n| usize::from(*n) % 24);
    let (name, body) = match input.get(1..1 + length) {
        // A seed begins with its body's own brace.
        Some(name) if input[0] != b'{' => (String::from_utf8_lossy(name).into_owned(), &input[1 + length..]),
        _ => ("new \"name\"\n".to_owned(), input),
    };
    for dialect in Dialect::ALL {
        let Ok(before) = Ask::parse(dialect, body) else { continue };
        let Some(span) = before.model_span.clone() else { continue };
        let renamed = ask::with_model(body, &span, &name);
        let put = serde_json::to_vec(&name).unwrap();
        assert_eq!(renamed, [&body[..span.start], &put[..], &body[span.end..]].concat());
        let after = Ask::parse(dialect, &renamed).expect("still readable");
        assert_eq!(after.model, name.as_str());
        assert_eq!(
            (after.text, after.turns, after.stream, after.stops),
            (before.text, before.turns, before.stream, before.stops)
        );
    }
});
