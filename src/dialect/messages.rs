//! `/v1/messages`, Anthropic's.

use super::out::Out;
use super::{Reply, deltas, long_id};

pub(super) fn write(reply: &Reply<'_>, out: &mut Out) {
    let (input, output) = reply.usage();
    if !reply.stream {
        head(reply, out);
        out.raw("[{\"type\":\"text\",\"text\":")
            .text(reply.text)
            .raw("}],\"stop_reason\":\"")
            .raw(reason(reply));
        out.raw("\",");
        usage(input, output, out);
        out.raw("}\n");
        return;
    }
    event("message_start", out).raw(",\"message\":");
    head(reply, out);
    out.raw("[],");
    usage(input, 0, out);
    out.raw("}}\n\n");
    event("content_block_start", out);
    out.raw(",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n");
    for delta in deltas(reply.text) {
        event("content_block_delta", out);
        out.raw(",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":").text(delta).raw("}}\n\n");
    }
    event("content_block_stop", out).raw(",\"index\":0}\n\n");
    event("message_delta", out).raw(",\"delta\":{\"stop_reason\":\"").raw(reason(reply)).raw("\"},");
    usage(input, output, out);
    out.raw("}\n\n");
    event("message_stop", out).raw("}\n\n");
}

/// A stop string ends the turn, too: Ollama does not tell it apart.
fn reason(reply: &Reply<'_>) -> &'static str {
    if reply.length { "max_tokens" } else { "end_turn" }
}

fn event<'o>(name: &str, out: &'o mut Out) -> &'o mut Out {
    out.raw("event: ").raw(name).raw("\ndata: {\"type\":\"").raw(name).raw("\"")
}

fn head(reply: &Reply<'_>, out: &mut Out) {
    out.raw("{\"id\":\"").raw(&long_id("msg", reply.seed));
    out.raw("\",\"type\":\"message\",\"role\":\"assistant\",\"model\":")
        .text(reply.model)
        .raw(",\"content\":");
}

fn usage(input: u64, output: u64, out: &mut Out) {
    out.raw("\"usage\":{\"input_tokens\":").number(input).raw(",\"output_tokens\":").number(output).raw("}");
}
