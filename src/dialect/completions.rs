//! `/v1/completions`.

use super::chat_completions::usage;
use super::out::Out;
use super::{Reply, deltas};

pub(super) fn write(reply: &Reply<'_>, out: &mut Out) {
    if !reply.stream {
        head(reply, out);
        out.raw(",\"model\":").text(reply.model).raw(",\"system_fingerprint\":\"fp_ollama\",\"choices\":");
        choice(reply.text, Some(reply.reason()), out);
        out.raw(",");
        usage(reply, out);
        out.raw("}\n");
        return;
    }
    for delta in deltas(reply.text) {
        chunk(reply, Some((delta, None)), out);
    }
    chunk(reply, Some(("", Some(reply.reason()))), out);
    if reply.usage_chunk {
        chunk(reply, None, out);
    }
    out.raw("data: [DONE]\n\n");
}

/// One chunk: a piece of text, or the usage alone. In chunks the choices stand before the model, and with
/// `include_usage` every one has a usage, of zeros but for the last.
fn chunk(reply: &Reply<'_>, piece: Option<(&str, Option<&str>)>, out: &mut Out) {
    out.raw("data: ");
    head(reply, out);
    out.raw(",\"choices\":");
    match piece {
        Some((text, reason)) => choice(text, reason, out),
        None => drop(out.raw("[]")),
    }
    out.raw(",\"model\":").text(reply.model).raw(",\"system_fingerprint\":\"fp_ollama\"");
    match piece {
        None => {
            out.raw(",");
            usage(reply, out);
        }
        Some(_) if reply.usage_chunk => {
            out.raw(",\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":0,\"total_tokens\":0}");
        }
        Some(_) => {}
    }
    out.raw("}\n\n");
}

fn head(reply: &Reply<'_>, out: &mut Out) {
    out.raw("{\"id\":\"cmpl-").number(reply.id(0, 999)).raw("\",\"object\":\"text_completion\",\"created\":");
    out.number(reply.created());
}

fn choice(text: &str, reason: Option<&str>, out: &mut Out) {
    out.raw("[{\"text\":").text(text).raw(",\"index\":0,\"finish_reason\":").optional(reason).raw("}]");
}
