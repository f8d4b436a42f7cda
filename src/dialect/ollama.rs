//! `/api/generate` and `/api/chat`: one JSON object, or one a line.

use std::time::Duration;

use jiff::Timestamp;

use super::out::Out;
use super::{Dialect, Reply, deltas};

pub(super) fn write(reply: &Reply<'_>, out: &mut Out) {
    // RFC 3339 with nanoseconds: Go clients parse it.
    let at = format!("{:.9}", Timestamp::try_from(reply.at).unwrap_or_default());
    if !reply.stream {
        return last(reply, &at, reply.text, out);
    }
    for delta in deltas(reply.text) {
        head(reply, &at, delta, out);
        out.raw(",\"done\":false}\n");
    }
    last(reply, &at, "", out);
    out.raw("\n");
}

fn head(reply: &Reply<'_>, at: &str, text: &str, out: &mut Out) {
    out.raw("{\"model\":").text(reply.model).raw(",\"created_at\":\"").raw(at);
    if reply.dialect == Dialect::Generate {
        out.raw("\",\"response\":").text(text);
    } else {
        out.raw("\",\"message\":{\"role\":\"assistant\",\"content\":").text(text).raw("}");
    }
}

/// The object that closes a reply. Of its durations only the total was measured, the others share it:
/// clients divide by them, and ollama-rs drops all six if one is missing.
fn last(reply: &Reply<'_>, at: &str, text: &str, out: &mut Out) {
    let total = reply.took.max(Duration::from_micros(1)).as_nanos().try_into().unwrap_or(u64::MAX / 1000);
    let (load, prompt) = (total / 1000 * 168, total / 1000 * 344);
    let (prompt_tokens, completion_tokens) = reply.usage();
    head(reply, at, text, out);
    out.raw(",\"done\":true,\"done_reason\":\"").raw(reply.reason());
    out.raw("\",\"total_duration\":").number(total);
    out.raw(",\"load_duration\":").number(load);
    out.raw(",\"prompt_eval_count\":").number(prompt_tokens);
    out.raw(",\"prompt_eval_duration\":").number(prompt);
    out.raw(",\"eval_count\":").number(completion_tokens);
    out.raw(",\"eval_duration\":").number(total - load - prompt).raw("}");
}
