//! `auto`, where a client looks at one model: `ollama run` asks for its details before the first word is typed.

use bytes::Bytes;
use http::Method;
use pingora::prelude::*;

use super::listing::OPENAI;
use super::passage::{Held, Passage};
use super::{Proxy, errand, reply};
use crate::category::Category;
use crate::decide::is_auto;
use crate::dialect::Written;

/// A look at one model.
pub(super) enum Shown {
    /// Ollama's details of the model that the body names.
    Details,
    /// OpenAI's entry of the list, of the model in the path.
    Entry,
}

impl Shown {
    /// By method and path; of OpenAI's, only where it is `auto`.
    pub(super) fn of(method: &Method, path: &str) -> Option<Self> {
        match (method, path) {
            (&Method::POST, "/api/show") => Some(Self::Details),
            (&Method::GET, path) => {
                path.strip_prefix("/v1/models/").filter(|model| is_auto(model)).map(|_| Self::Entry)
            }
            _ => None,
        }
    }
}

impl Proxy {
    /// Shows `auto`: as the list has it, or with the details of the model that stands for it. Any other model is the
    /// upstream's to show. `true` if it has been answered.
    pub(super) async fn show(
        &self,
        session: &mut Session,
        passage: &mut Passage,
        shown: Shown,
    ) -> Result<bool> {
        let (body, named) = match shown {
            Shown::Entry => {
                let body = Bytes::from_static(OPENAI);
                let entry = Written { content_type: "application/json", no_cache: false, body };
                reply::send(session, passage, 200, entry).await?;
                return Ok(true);
            }
            Shown::Details if self.peek(session, passage).await? => return Ok(true),
            Shown::Details => match &passage.body {
                Held::Whole(body) => (body, errand::model_in(body)),
                Held::Nothing | Held::Prefix(_) => return Ok(false),
            },
        };
        if let Some(model) = named.filter(|name| is_auto(name)).and_then(|_| self.stands_for_auto(passage))
            && let Ok(serde_json::Value::Object(mut order)) = serde_json::from_slice(body)
        {
            // Older clients say `name`.
            order.remove("name");
            order.insert("model".to_owned(), model.as_str().into());
            passage.body = Held::Whole(serde_json::Value::Object(order).to_string().into());
            passage.errand = errand::of_model(Some(model));
            passage.upstream = self.brain.config.policy(Category::GENERAL).upstream;
        }
        Ok(false)
    }

    /// The model that an `auto` is sent to of which nothing more is known.
    fn stands_for_auto(&self, passage: &Passage) -> Option<String> {
        let policy = self.brain.config.policy(Category::GENERAL);
        let usable = |model: &&String| passage.may_use(model);
        let configured = policy.model.as_ref().filter(usable).cloned();
        configured.or_else(|| self.brain.seen(policy.upstream).models.as_ref()?.iter().find(usable).cloned())
    }
}
