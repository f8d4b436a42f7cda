//! `/v1/chat/completions`.

use super::out::Out;
use super::{Reply, deltas};

pub(super) fn write(reply: &Reply<'_>, out: &mut Out) {
    if !reply.stream {
        head(reply, "chat.completion", out);
        out.raw("[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":").text(reply.text);
        out.raw("},\"finish_reason\":\"").raw(reply.reason()).raw("\"}],");
        usage(reply, out);
        out.raw("}\n");
        return;
    }
    let mut role = "\"role\":\"assistant\",";
    for delta in deltas(reply.text) {
        chunk(reply, out);
        out.raw("[{\"index\":0,\"delta\":{").raw(role).raw("\"content\":").text(delta);
        out.raw("},\"finish_reason\":null}]}\n\n");
        role = "";
    }
    chunk(reply, out);
    out.raw("[{\"index\":0,\"delta\":{},\"finish_reason\":\"").raw(reply.reason()).raw("\"}]}\n\n");
    if reply.usage_chunk {
        chunk(reply, out);
        out.raw("[],");
        usage(reply, out);
        out.raw("}\n\n");
    }
    out.raw("data: [DONE]\n\n");
}

fn chunk(reply: &Reply<'_>, out: &mut Out) {
    out.raw("data: ");
    head(reply, "chat.completion.chunk", out);
}

fn head(reply: &Reply<'_>, object: &str, out: &mut Out) {
    out.raw("{\"id\":\"chatcmpl-").number(reply.id(0, 999)).raw("\",\"object\":\"").raw(object);
    out.raw("\",\"created\":").number(reply.created()).raw(",\"model\":").text(reply.model);
    out.raw(",\"system_fingerprint\":\"fp_ollama\",\"choices\":");
}

/// The usage of both kinds of OpenAI completions.
pub(super) fn usage(reply: &Reply<'_>, out: &mut Out) {
    let (prompt, completion) = reply.usage();
    out.raw("\"usage\":{\"prompt_tokens\":").number(prompt);
    out.raw(",\"completion_tokens\":").number(completion);
    out.raw(",\"total_tokens\":").number(prompt + completion).raw("}");
}
