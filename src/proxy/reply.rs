//! Writes what brainstem says itself: local answers, refusals, errors in the dialect of the path.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::*;
use pingora::protocols::http::date::get_cached_date;

use super::cors;
use super::passage::{Label, Passage};
use crate::dialect::{self, Family, Written};

pub(super) const ROUTE: HeaderName = HeaderName::from_static("x-brainstem-route");
pub(super) const CATEGORY: HeaderName = HeaderName::from_static("x-brainstem-category");
pub(super) const DECIDED_BY: HeaderName = HeaderName::from_static("x-brainstem-decided-by");
pub(super) const RULE: HeaderName = HeaderName::from_static("x-brainstem-rule");
pub(super) const ANSWER: HeaderName = HeaderName::from_static("x-brainstem-answer");
pub(super) const GUARD: HeaderName = HeaderName::from_static("x-brainstem-guard");
pub(super) const ARM: HeaderName = HeaderName::from_static("x-brainstem-arm");
pub(super) const COMPLEXITY: HeaderName = HeaderName::from_static("x-brainstem-complexity");
pub(super) const CLARIFY: HeaderName = HeaderName::from_static("x-brainstem-clarify");
pub(super) const SAFETY: HeaderName = HeaderName::from_static("x-brainstem-safety");
pub(super) const LIGHT: HeaderName = HeaderName::from_static("x-brainstem-light");
pub(super) const BYPASS: HeaderName = HeaderName::from_static("x-brainstem-bypass");
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Puts the decision into a reply's headers.
pub(super) fn label_headers(header: &mut ResponseHeader, passage: &Passage) -> Result<()> {
    // Of a brainstem behind this one.
    if header.headers.contains_key(ROUTE) {
        for name in
            [ROUTE, CATEGORY, DECIDED_BY, RULE, ANSWER, GUARD, ARM, COMPLEXITY, CLARIFY, SAFETY, LIGHT]
        {
            header.remove_header(&name);
        }
    }
    let Some(label) = &passage.verdict else { return Ok(()) };
    let Label { route, category, by, rule, answer, guard, arm, signals, light } = label;
    header.insert_header(ROUTE, route.name())?;
    header.insert_header(CATEGORY, value(category))?;
    header.insert_header(DECIDED_BY, *by)?;
    if let Some(rule) = rule {
        header.insert_header(RULE, value(rule))?;
    }
    if let Some(answer) = answer {
        header.insert_header(ANSWER, value(answer))?;
    }
    if let Some(guard) = guard {
        header.insert_header(GUARD, *guard)?;
    }
    if let Some(arm) = arm {
        header.insert_header(ARM, arm.name())?;
    }
    if let Some(level) = signals.complexity {
        header.insert_header(COMPLEXITY, u16::from(level))?;
    }
    if signals.question.is_some() {
        header.insert_header(CLARIFY, "needed")?;
    }
    if signals.is_unsafe {
        header.insert_header(SAFETY, "unsafe")?;
    }
    if let Some(light) = light {
        header.insert_header(LIGHT, *light)?;
    }
    if !passage.request_id.is_empty() {
        header.insert_header(REQUEST_ID, value(&passage.request_id))?;
    }
    Ok(())
}

/// Tells an upstream how much work an ask is: a queue there may go by it.
pub(super) fn tell_upstream(request: &mut RequestHeader, passage: &Passage) -> Result<()> {
    if let Some(level) = passage.verdict.as_ref().and_then(|label| label.signals.complexity) {
        request.insert_header(COMPLEXITY, u16::from(level))?;
    }
    Ok(())
}

/// Names in rule files may be in any language, header values may not: what cannot stand in one is escaped
/// as in a URL.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).ok().filter(|_| text.is_ascii()).unwrap_or_else(|| {
        let escaped: String = text
            .bytes()
            .map(|b| if b.is_ascii_graphic() { char::from(b).to_string() } else { format!("%{b:02X}") })
            .collect();
        HeaderValue::from_str(&escaped).unwrap_or_else(|_| HeaderValue::from_static("?"))
    })
}

/// Sends a reply of ours and its body at once.
pub(super) async fn send(
    session: &mut Session,
    passage: &mut Passage,
    status: u16,
    written: Written,
) -> Result<()> {
    let mut head = ResponseHeader::build(status, Some(12))?;
    head.insert_header(header::CONTENT_TYPE, written.content_type)?;
    head.insert_header(header::DATE, get_cached_date())?;
    if written.no_cache {
        head.insert_header(header::CACHE_CONTROL, "no-cache")?;
    }
    cors::allow(&mut head, passage.cors, session.get_header(header::ORIGIN))?;
    if let Some((name, value)) = passage.told.take() {
        head.insert_header(name, value)?;
    }
    label_headers(&mut head, passage)?;
    // Streams, too: all of it is here, and head and body leave in one segment. Chunks would need a second.
    head.insert_header(header::CONTENT_LENGTH, written.body.len())?;
    session.write_response_header(Box::new(head), false).await?;
    passage.first_byte = Some(passage.start.elapsed());
    session.write_response_body(Some(written.body), true).await
}

/// Sends an error in the dialect of the path, and closes the connection if a body is still to come.
pub(super) async fn send_error(
    session: &mut Session,
    passage: &mut Passage,
    status: u16,
    message: &str,
) -> Result<()> {
    let family = Family::of_path(session.req_header().uri.path());
    let written = dialect::error(family, status, message, fastrand::u64(..));
    if !session.is_body_done() {
        session.set_keepalive(None);
    }
    send(session, passage, status, written).await
}

/// Sends a head that has no body, and goes on with the connection.
pub(super) async fn send_head(session: &mut Session, mut head: ResponseHeader) -> Result<()> {
    head.insert_header(header::DATE, get_cached_date())?;
    session.write_response_header(Box::new(head), true).await?;
    session.write_response_body(Some(Bytes::new()), true).await
}

/// Sends a status without a body, as Ollama's own middleware does.
pub(super) async fn send_bare(session: &mut Session, status: u16) -> Result<()> {
    let mut head = ResponseHeader::build(status, Some(3))?;
    head.insert_header(header::DATE, get_cached_date())?;
    head.insert_header(header::CONTENT_LENGTH, 0)?;
    session.set_keepalive(None);
    session.write_response_header(Box::new(head), true).await?;
    session.write_response_body(Some(Bytes::new()), true).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_of_any_name_can_stand_in_a_header() {
        assert_eq!(value("code-words"), "code-words");
        assert_eq!(value("код"), "%D0%BA%D0%BE%D0%B4");
        assert_eq!(value("a\r\nb: c"), "a%0D%0Ab:%20c");
    }
}
