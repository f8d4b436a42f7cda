//! Errors of our own, in the shape of the path that they are told on.

use super::out::Out;
use super::{Family, Written, long_id};

/// The body of an error with this status. `seed` makes Anthropic's request id.
pub fn error(family: Family, status: u16, message: &str, seed: u64) -> Written {
    let mut out = Out::new();
    let content_type = match family {
        Family::Ollama => {
            out.raw("{\"error\":").text(message).raw("}");
            "application/json; charset=utf-8"
        }
        Family::OpenAi => {
            out.raw("{\"error\":{\"message\":").text(message).raw(",\"type\":\"").raw(open_ai(status));
            out.raw("\",\"param\":null,\"code\":null}}\n");
            "application/json"
        }
        Family::Anthropic => {
            out.raw("{\"type\":\"error\",\"error\":{\"type\":\"").raw(anthropic(status));
            out.raw("\",\"message\":").text(message);
            out.raw("},\"request_id\":\"").raw(&long_id("req", seed)).raw("\"}\n");
            "application/json"
        }
    };
    Written { content_type, no_cache: false, body: out.into() }
}

fn open_ai(status: u16) -> &'static str {
    match status {
        400 => "invalid_request_error",
        404 => "not_found_error",
        _ => "api_error",
    }
}

fn anthropic(status: u16) -> &'static str {
    match status {
        400 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        _ => "api_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(family: Family, status: u16) -> String {
        let written = error(family, status, "model 'foo' not found", 7);
        String::from_utf8(written.body.to_vec()).unwrap()
    }

    #[test]
    fn every_surface_has_its_shape() {
        assert_eq!(body(Family::Ollama, 404), r#"{"error":"model 'foo' not found"}"#);
        assert_eq!(
            body(Family::OpenAi, 404),
            "{\"error\":{\"message\":\"model 'foo' not found\",\"type\":\"not_found_error\",\"param\":null,\"code\":null}}\n"
        );
        insta::assert_snapshot!(
            body(Family::Anthropic, 404),
            @r#"{"type":"error","error":{"type":"not_found_error","message":"model 'foo' not found"},"request_id":"req_63cbe1e459320dd788fca019"}"#
        );
        assert!(body(Family::Anthropic, 404).ends_with("}\n"));
    }

    #[test]
    fn types_follow_the_status() {
        insta::assert_snapshot!(
            [400, 401, 403, 404, 413, 429, 500, 502, 503, 529]
                .map(|status| format!("{status} {} {}", open_ai(status), anthropic(status)))
                .join("\n"),
            @r"
        400 invalid_request_error invalid_request_error
        401 api_error authentication_error
        403 api_error permission_error
        404 not_found_error not_found_error
        413 api_error api_error
        429 api_error rate_limit_error
        500 api_error api_error
        502 api_error api_error
        503 api_error overloaded_error
        529 api_error overloaded_error
        "
        );
    }
}
