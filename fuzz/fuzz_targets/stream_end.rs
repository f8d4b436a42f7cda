//! Any bytes as a stream, in any pieces: the watcher of its end sees the same in each, and what it adds at the end
//! is the end that a client of that dialect reads.
#![no_main]

use brainstem::dialect::{Dialect, Ending, Finish};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(([which, size], stream)) = input.split_first_chunk::<2>() else { return };
    let dialect = Dialect::ALL[usize::from(*which) % Dialect::ALL.len()];
    let watch = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut ending = Ending::new(dialect);
        pieces.for_each(|piece| ending.pass(piece));
        ending
    };
    let whole = watch(&mut std::iter::once(stream));
    let pieces = watch(&mut stream.chunks(usize::from(*size) + 1));
    assert_eq!(whole.finish(), pieces.finish());
    let mark = whole.mark("broke off", 7);
    assert_eq!(mark, pieces.mark("broke off", 7));
    assert_eq!(watch(&mut [stream, &mark].into_iter()).finish(), Finish::Ended, "{mark:?}");
    assert_eq!(watch(&mut std::iter::once(&*[stream, &mark].concat())).finish(), Finish::Ended);
    // The mark alone, read as the dialect's clients do: its last line is JSON with an error in it.
    let text = std::str::from_utf8(&mark).unwrap();
    let line = text.trim_end().lines().last().unwrap();
    let line = if matches!(dialect, Dialect::Generate | Dialect::Chat) { line } else { line.strip_prefix("data: ").unwrap() };
    let value: serde_json::Value = serde_json::from_str(line).unwrap();
    assert!(!value["error"].is_null());
});
