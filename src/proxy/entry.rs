//! The gate: a page's origin, then the client's key. Nothing of a request's body is read before, and what is
//! turned away here never reaches the upstream.

use std::time::Duration;

use http::header;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::*;

use super::body::{self, Body, Room};
use super::cors;
use super::origin::Cors;
use super::passage::{Held, Passage};
use super::{Proxy, host, reply};
use crate::ask;
use crate::auth::{Need, Refusal, X_API_KEY, need};
use crate::config::Upstream;
use crate::dialect::Dialect;

impl Proxy {
    /// Judges who asks. `true` if the request has been answered: with a refusal, or as a preflight.
    pub(super) async fn admit(&self, session: &mut Session, passage: &mut Passage) -> Result<bool> {
        self.bound_idleness(session);
        let request = session.req_header();
        passage.cors = self.origins.judge(&request.headers, host(session));
        let preflight = cors::is_preflight(&request.method, &request.headers);
        match passage.cors {
            Cors::Refused => {
                self.refuse("origin");
                reply::send_bare(session, 403).await?;
                return Ok(true);
            }
            Cors::Echo | Cors::Listed if preflight => {
                let head = cors::preflight(passage.cors, &request.headers)?;
                reply::send_head(session, head).await?;
                return Ok(true);
            }
            // A browser sends no key with it, and there is nothing in it but the question.
            _ if preflight => return Ok(false),
            _ => {}
        }
        let Some(auth) = &self.brain.auth else { return Ok(false) };
        let request = session.req_header();
        let key = match auth.recognise(&request.headers) {
            Ok(key) => key,
            Err(refusal) => return self.turn_away(session, passage, &refusal).await,
        };
        passage.key = Some(key.clone());
        if let Err(refusal) = key.admit(&request.method, request.uri.path()) {
            return self.turn_away(session, passage, &refusal).await;
        }
        self.brain.metrics.key_requests.with_label_values(&[&key.name, "admitted"]).inc();
        if key.is_limited() {
            return self.check_named_model(session, passage).await;
        }
        Ok(false)
    }

    /// A connection may not wait for its next request for ever. Without this Pingora waits as long as the client
    /// likes. What Pingora itself will close stays as it is.
    fn bound_idleness(&self, session: &mut Session) {
        let seconds = self.brain.config.limits.idle_timeout.as_secs().max(1);
        if session.get_keepalive().is_some() {
            session.set_keepalive(Some(seconds));
        }
    }

    async fn turn_away(
        &self,
        session: &mut Session,
        passage: &mut Passage,
        refusal: &Refusal,
    ) -> Result<bool> {
        let (status, reason, outcome) = match refusal {
            Refusal::NoKey | Refusal::Unknown => (401, "key", "unknown"),
            Refusal::TooOften(_) => (429, "rate", "limited"),
            Refusal::NotAdmin => (403, "path", "forbidden"),
            Refusal::AnyModel => (403, "model", "forbidden"),
        };
        passage.told = match refusal {
            Refusal::NoKey => Some((header::WWW_AUTHENTICATE, "Bearer realm=\"brainstem\"".to_owned())),
            Refusal::Unknown => Some((
                header::WWW_AUTHENTICATE,
                "Bearer realm=\"brainstem\", error=\"invalid_token\"".to_owned(),
            )),
            Refusal::TooOften(wait) => Some((header::RETRY_AFTER, seconds_up(*wait).to_string())),
            _ => None,
        };
        self.count_refusal(passage, reason, outcome);
        reply::send_error(session, passage, status, &refusal.to_string()).await?;
        Ok(true)
    }

    /// Of paths beside the asks that name a model in their body: the body is read, for a key that may not use
    /// every model.
    async fn check_named_model(&self, session: &mut Session, passage: &mut Passage) -> Result<bool> {
        let request = session.req_header();
        let (method, path) = (&request.method, request.uri.path());
        if need(method, path) != Need::Model || Dialect::of(method, path).is_some() {
            return Ok(false);
        }
        let limits = &self.brain.config.limits;
        session.set_read_timeout(Some(limits.body_timeout));
        let room = Room { max_body: limits.max_body, max_inspect: limits.max_inspect, budget: &self.budget };
        match body::read_within(limits.body_deadline, session, room).await? {
            Body::Whole(bytes, share) if body::forwardable(session, &bytes) => {
                let named = ask::model_of(&bytes).unwrap_or_default();
                if !passage.may_use(&named) {
                    return self.refuse_model(session, passage, &named).await;
                }
                passage.body = Held::Whole(bytes);
                passage.share = Some(share);
                Ok(false)
            }
            _ => self.refuse_unread(session, passage).await,
        }
    }

    /// The key may not use that model. It is not said whether there is one of that name.
    pub(super) async fn refuse_model(
        &self,
        session: &mut Session,
        passage: &mut Passage,
        model: &str,
    ) -> Result<bool> {
        self.count_refusal(passage, "model", "forbidden");
        let message = format!("this API key may not use the model '{model}'");
        reply::send_error(session, passage, 403, &message).await?;
        Ok(true)
    }

    /// Whether its model is one of the key's cannot be told.
    pub(super) async fn refuse_unread(&self, session: &mut Session, passage: &mut Passage) -> Result<bool> {
        self.count_refusal(passage, "model", "forbidden");
        let message = "this API key is limited to some models, and this body could not be read to see which it asks for";
        reply::send_error(session, passage, 403, message).await?;
        Ok(true)
    }

    fn count_refusal(&self, passage: &Passage, reason: &str, outcome: &str) {
        self.refuse(reason);
        if let Some(key) = &passage.key {
            self.brain.metrics.key_requests.with_label_values(&[&key.name, outcome]).inc();
        }
    }

    /// What a request wears on its way to the upstream: our key instead of the client's, and no `Origin` that
    /// only we know to be good.
    pub(super) fn dress(
        &self,
        request: &mut RequestHeader,
        upstream: &Upstream,
        passage: &Passage,
    ) -> Result<()> {
        let keeps = self.brain.config.auth.as_ref().is_none_or(|auth| auth.forward);
        let own = upstream.key.as_ref().filter(|_| self.brain.auth.is_none() || passage.key.is_some());
        if !keeps || own.is_some() {
            request.remove_header(&header::AUTHORIZATION);
            request.remove_header(&X_API_KEY);
        }
        if let Some(own) = own {
            request.insert_header(header::AUTHORIZATION, own.bearer())?;
        }
        if passage.cors == Cors::Listed {
            request.remove_header(&header::ORIGIN);
        }
        Ok(())
    }

    /// Lets a page that only we know read the upstream's reply.
    pub(super) fn open_to_page(
        &self,
        session: &Session,
        response: &mut ResponseHeader,
        cors: Cors,
    ) -> Result<()> {
        if cors == Cors::Listed {
            cors::UPSTREAMS_WORD.iter().for_each(|name| drop(response.remove_header(name)));
            cors::allow(response, cors, session.get_header(header::ORIGIN))?;
        }
        Ok(())
    }
}

/// Whole seconds, at least that long.
fn seconds_up(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_as_told_is_let_in() {
        assert_eq!(seconds_up(Duration::from_millis(1)), 1);
        assert_eq!(seconds_up(Duration::from_secs(2)), 2);
        assert_eq!(seconds_up(Duration::from_millis(2001)), 3);
    }
}
