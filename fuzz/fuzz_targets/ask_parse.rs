//! Any bytes as the body of an ask in each dialect: no panic, and what is read is JSON to others, too.
#![no_main]

use brainstem::ask::Ask;
use brainstem::dialect::Dialect;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    for dialect in Dialect::ALL {
        let Ok(ask) = Ask::parse(dialect, body) else { continue };
        assert!(serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok());
        assert_ne!(ask.limit, Some(0));
        assert!(ask.stops.iter().all(|stop| !stop.is_empty()));
        assert!(ask.model_span.is_some() || ask.model.is_empty());
    }
});
