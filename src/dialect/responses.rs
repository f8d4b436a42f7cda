//! `/v1/responses`. Ollama writes its events from Go maps, so their keys are in alphabetical order; the
//! object of the reply that is not streamed is a struct, in an order of its own. A reply cut by its limit is
//! `completed` to Ollama, as any other.

use super::out::Out;
use super::{Reply, deltas};

pub(super) fn write(reply: &Reply<'_>, out: &mut Out) {
    if !reply.stream {
        return whole(reply, out);
    }
    let item = format!("\"msg_{}\"", reply.id(1, 999_999));
    let mut events = Events { out, next: 0 };
    for name in ["response.created", "response.in_progress"] {
        events.begin(name).raw("{\"response\":");
        object(reply, &item, false, events.out);
        events.end(name);
    }
    let name = "response.output_item.added";
    events.begin(name).raw("{\"item\":{\"content\":[],\"id\":").raw(&item);
    events
        .out
        .raw(",\"role\":\"assistant\",\"status\":\"in_progress\",\"type\":\"message\"},\"output_index\":0");
    events.end(name);

    let name = "response.content_part.added";
    events
        .begin(name)
        .raw("{\"content_index\":0,\"item_id\":")
        .raw(&item)
        .raw(",\"output_index\":0,\"part\":");
    part("", events.out);
    events.end(name);

    let name = "response.output_text.delta";
    for delta in deltas(reply.text) {
        events.begin(name).raw("{\"content_index\":0,\"delta\":").text(delta).raw(",\"item_id\":").raw(&item);
        events.out.raw(",\"logprobs\":[],\"output_index\":0");
        events.end(name);
    }

    let name = "response.output_text.done";
    events.begin(name).raw("{\"content_index\":0,\"item_id\":").raw(&item);
    events.out.raw(",\"logprobs\":[],\"output_index\":0");
    let number = events.number();
    events.out.raw(",\"sequence_number\":").number(number).raw(",\"text\":").text(reply.text);
    events.out.raw(",\"type\":\"response.output_text.done\"}\n\n");

    let name = "response.content_part.done";
    events
        .begin(name)
        .raw("{\"content_index\":0,\"item_id\":")
        .raw(&item)
        .raw(",\"output_index\":0,\"part\":");
    part(reply.text, events.out);
    events.end(name);

    let name = "response.output_item.done";
    events.begin(name).raw("{\"item\":");
    message(reply, &item, events.out);
    events.out.raw(",\"output_index\":0");
    events.end(name);

    let name = "response.completed";
    events.begin(name).raw("{\"response\":");
    object(reply, &item, true, events.out);
    events.end(name);
}

/// Events with their running number.
struct Events<'o> {
    out: &'o mut Out,
    next: u64,
}

impl Events<'_> {
    fn begin(&mut self, name: &str) -> &mut Out {
        self.out.raw("event: ").raw(name).raw("\ndata: ")
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// The two keys that close most events.
    fn end(&mut self, name: &str) {
        let number = self.number();
        self.out.raw(",\"sequence_number\":").number(number).raw(",\"type\":\"").raw(name).raw("\"}\n\n");
    }
}

fn part(text: &str, out: &mut Out) {
    out.raw("{\"annotations\":[],\"logprobs\":[],\"text\":").text(text).raw(",\"type\":\"output_text\"}");
}

fn message(reply: &Reply<'_>, item: &str, out: &mut Out) {
    out.raw("{\"content\":[");
    part(reply.text, out);
    out.raw("],\"id\":")
        .raw(item)
        .raw(",\"role\":\"assistant\",\"status\":\"completed\",\"type\":\"message\"}");
}

/// The response as events carry it.
fn object(reply: &Reply<'_>, item: &str, completed: bool, out: &mut Out) {
    let echo = reply.echo;
    out.raw("{\"background\":false,\"completed_at\":");
    if completed {
        out.number(reply.completed())
    } else {
        out.raw("null")
    };
    out.raw(",\"created_at\":").number(reply.created());
    out.raw(",\"error\":null,\"frequency_penalty\":0,\"id\":\"resp_").number(reply.id(0, 999_999));
    out.raw("\",\"incomplete_details\":null,\"instructions\":").optional(echo.instructions.as_deref());
    out.raw(",\"max_output_tokens\":");
    limit(reply, out);
    out.raw(",\"max_tool_calls\":null,\"metadata\":{},\"model\":").text(reply.model);
    out.raw(",\"object\":\"response\",\"output\":[");
    if completed {
        message(reply, item, out);
    }
    out.raw("],\"parallel_tool_calls\":true,\"presence_penalty\":0,\"previous_response_id\":null");
    out.raw(",\"prompt_cache_key\":null,\"reasoning\":");
    if echo.effort.is_none() && echo.summary.is_none() {
        out.raw("null");
    } else {
        out.raw("{\"effort\":").optional(echo.effort.as_deref());
        out.raw(",\"summary\":").optional(echo.summary.as_deref()).raw("}");
    }
    out.raw(",\"safety_identifier\":null,\"service_tier\":\"default\",\"status\":\"");
    out.raw(if completed { "completed" } else { "in_progress" });
    out.raw("\",\"store\":false,\"temperature\":").float(echo.temperature.unwrap_or(1.0));
    out.raw(
        ",\"text\":{\"format\":{\"type\":\"text\"}},\"tool_choice\":\"auto\",\"tools\":[],\"top_logprobs\":0",
    );
    out.raw(",\"top_p\":").float(echo.top_p.unwrap_or(1.0));
    out.raw(",\"truncation\":").text(echo.truncation.as_deref().unwrap_or("disabled")).raw(",\"usage\":");
    if completed {
        let (input, output) = reply.usage();
        out.raw("{\"input_tokens\":").number(input).raw(",\"input_tokens_details\":{\"cached_tokens\":0}");
        out.raw(",\"output_tokens\":").number(output);
        out.raw(",\"output_tokens_details\":{\"reasoning_tokens\":0},\"total_tokens\":")
            .number(input + output);
        out.raw("}");
    } else {
        out.raw("null");
    }
    out.raw("}");
}

/// The response of a reply that is not streamed.
fn whole(reply: &Reply<'_>, out: &mut Out) {
    let echo = reply.echo;
    let (input, output) = reply.usage();
    out.raw("{\"id\":\"resp_").number(reply.id(0, 999_999)).raw("\",\"object\":\"response\",\"created_at\":");
    out.number(reply.created()).raw(",\"completed_at\":").number(reply.completed());
    out.raw(",\"status\":\"completed\",\"incomplete_details\":null,\"model\":").text(reply.model);
    out.raw(",\"previous_response_id\":null,\"instructions\":").optional(echo.instructions.as_deref());
    out.raw(",\"output\":[{\"id\":\"msg_").number(reply.id(1, 999_999));
    out.raw("\",\"type\":\"message\",\"status\":\"completed\",\"role\":\"assistant\"");
    out.raw(",\"content\":[{\"type\":\"output_text\",\"text\":").text(reply.text);
    out.raw(",\"annotations\":[],\"logprobs\":[]}]}],\"error\":null,\"tools\":[],\"tool_choice\":\"auto\"");
    out.raw(",\"truncation\":").text(echo.truncation.as_deref().unwrap_or("disabled"));
    out.raw(",\"parallel_tool_calls\":true,\"text\":{\"format\":{\"type\":\"text\"}},\"top_p\":");
    out.float(echo.top_p.unwrap_or(1.0));
    out.raw(",\"presence_penalty\":0,\"frequency_penalty\":0,\"top_logprobs\":0,\"temperature\":");
    out.float(echo.temperature.unwrap_or(1.0)).raw(",\"reasoning\":");
    match (echo.effort.as_deref(), echo.summary.as_deref()) {
        (None, None) => out.raw("null"),
        (Some(effort), None) => out.raw("{\"effort\":").text(effort).raw("}"),
        (None, Some(summary)) => out.raw("{\"summary\":").text(summary).raw("}"),
        (Some(effort), Some(summary)) => {
            out.raw("{\"effort\":").text(effort).raw(",\"summary\":").text(summary).raw("}")
        }
    };
    out.raw(",\"usage\":{\"input_tokens\":").number(input).raw(",\"output_tokens\":").number(output);
    out.raw(",\"total_tokens\":").number(input + output);
    out.raw(
        ",\"input_tokens_details\":{\"cached_tokens\":0},\"output_tokens_details\":{\"reasoning_tokens\":0}}",
    );
    out.raw(",\"max_output_tokens\":");
    limit(reply, out);
    out.raw(",\"max_tool_calls\":null,\"store\":false,\"background\":false,\"service_tier\":\"default\"");
    out.raw(",\"metadata\":{},\"safety_identifier\":null,\"prompt_cache_key\":null}\n");
}

fn limit(reply: &Reply<'_>, out: &mut Out) {
    match reply.echo.max_output_tokens {
        Some(limit) => out.raw(&limit.to_string()),
        None => out.raw("null"),
    };
}
