//! Where tasks are done, so that none stands in an ask's way: rules on threads of their own, a few at a time; the
//! encoder only while no ask wants it, one task at a time; the light model only if it is idle. Who finds no place is
//! told at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::order::OneOrMany;
use super::{
    EMBED_MODEL, Method, Order, Refused, Said, Task, clarify, complexity, duplicate, entities, fact,
    normalize, safety, summary, title, wording,
};
use crate::intent::Scores;
use crate::intent::Verdict;
use crate::intent::worker::{Intent, Outcome};
use crate::light::{Engine, Refusal};

/// Tasks by rules that run at one time.
const BY_RULE: usize = 4;
/// How long a task waits for a moment in which no ask wants the encoder.
const PATIENCE: Duration = Duration::from_millis(250);

/// The places at which tasks are done.
#[derive(Debug, Clone)]
pub struct Desk {
    rules: Arc<Semaphore>,
    encoder: Arc<Semaphore>,
}

impl Default for Desk {
    fn default() -> Self {
        Self { rules: Arc::new(Semaphore::new(BY_RULE)), encoder: Arc::new(Semaphore::new(1)) }
    }
}

/// What tasks are done with.
#[derive(Debug, Clone, Copy)]
pub struct Tools<'a> {
    /// The classifier, unless its mode is off.
    pub intent: Option<&'a Arc<Intent>>,
    /// The light model.
    pub light: &'a Engine,
    /// The tasks that the light model is to do.
    pub by_model: &'a [Task],
}

/// Why the encoder gave nothing.
enum Without {
    Refused(Refused),
    Unfit(String),
}

impl Desk {
    /// Does a task within the time.
    ///
    /// # Errors
    /// If it is busy, or the time is over; both change nothing for anybody else.
    pub async fn serve(&self, order: Order, tools: Tools<'_>, within: Duration) -> Result<Said, Refused> {
        let deadline = Instant::now() + within;
        match tokio::time::timeout(within, self.done(order, tools, deadline)).await {
            Ok(done) => done,
            Err(_) => Err(Refused::Deadline),
        }
    }

    async fn done(&self, order: Order, tools: Tools<'_>, deadline: Instant) -> Result<Said, Refused> {
        if tools.by_model.contains(&order.task())
            && let Some(said) = by_model(&order, tools.light, deadline).await?
        {
            return Ok(said);
        }
        match order {
            Order::Intent(texts) => self.intent(texts, tools).await,
            Order::Embed(texts) => self.embed(texts, tools).await,
            Order::Duplicate { texts, candidates } => self.duplicate(texts, candidates, tools).await,
            other => {
                let place = place(&self.rules)?;
                let work = move || {
                    let said = by_rule(other);
                    drop(place);
                    said
                };
                tokio::task::spawn_blocking(work).await.map_err(|_| Refused::Busy)
            }
        }
    }

    async fn intent(&self, texts: OneOrMany, tools: Tools<'_>) -> Result<Said, Refused> {
        let verdicts = match self.verdicts(texts.all(), false, tools).await {
            Ok(verdicts) => verdicts,
            Err(without) => return without.said(),
        };
        let one = |verdict: &Verdict| {
            let label = verdict.confident();
            json!({"label": label.name(), "probability": verdict.of(label), "scores": Scores::from(verdict)})
        };
        let value = match texts {
            OneOrMany::One(_) => verdicts.first().map_or(Value::Null, one),
            OneOrMany::Many(_) => verdicts.iter().map(one).collect(),
        };
        Ok(Said::Result { value, method: Method::Encoder, model: None })
    }

    async fn embed(&self, texts: Vec<String>, tools: Tools<'_>) -> Result<Said, Refused> {
        match self.vectors(&texts, tools).await {
            Ok(vectors) => {
                let value = json!({"embeddings": vectors});
                Ok(Said::Result { value, method: Method::Encoder, model: Some(EMBED_MODEL.to_owned()) })
            }
            Err(without) => without.said(),
        }
    }

    async fn duplicate(
        &self,
        texts: OneOrMany,
        candidates: Vec<String>,
        tools: Tools<'_>,
    ) -> Result<Said, Refused> {
        let both: Vec<String> = texts.all().iter().chain(&candidates).cloned().collect();
        // Without the encoder words and letters must do.
        let vectors = match self.vectors(&both, tools).await {
            Ok(vectors) => Some(vectors),
            Err(Without::Refused(Refused::Deadline)) => return Err(Refused::Deadline),
            Err(_) => None,
        };
        let method = if vectors.is_some() { Method::Encoder } else { Method::Rule };
        let place = place(&self.rules)?;
        let work = move || {
            let count = texts.all().len();
            let one = |(at, text): (usize, &String)| {
                let cosines = vectors.as_ref().and_then(|all| {
                    let own = all.get(at)?;
                    Some(
                        all.get(count..)?
                            .iter()
                            .map(|other| duplicate::cosine(own, other))
                            .collect::<Vec<_>>(),
                    )
                });
                json!(duplicate::best(text, &candidates, cosines.as_deref()))
            };
            let value = match &texts {
                OneOrMany::One(text) => one((0, text)),
                OneOrMany::Many(texts) => texts.iter().enumerate().map(one).collect(),
            };
            drop(place);
            value
        };
        let value = tokio::task::spawn_blocking(work).await.map_err(|_| Refused::Busy)?;
        Ok(Said::Result { value, method, model: None })
    }

    /// The texts as vectors of length 1.
    async fn vectors(&self, texts: &[String], tools: Tools<'_>) -> Result<Vec<Vec<f32>>, Without> {
        let verdicts = self.verdicts(texts, true, tools).await?;
        let mut vectors = Vec::with_capacity(verdicts.len());
        for verdict in verdicts {
            let norm = verdict.embedding.iter().map(|x| x * x).sum::<f32>().sqrt();
            if norm.is_nan() || norm <= 0.0 {
                return Err(Without::Unfit("the classifier makes no vector of such a text".to_owned()));
            }
            vectors.push(verdict.embedding.iter().map(|x| x / norm).collect());
        }
        Ok(vectors)
    }

    /// What the classifier says of each text. Between two texts every waiting ask goes first.
    async fn verdicts(
        &self,
        texts: &[String],
        fully: bool,
        tools: Tools<'_>,
    ) -> Result<Vec<Verdict>, Without> {
        let unfit = |why: &str| Err(Without::Unfit(why.to_owned()));
        let Some(intent) = tools.intent else {
            return unfit("the classifier is switched off (classifier.mode)");
        };
        let _place = place(&self.encoder).map_err(Without::Refused)?;
        let mut verdicts = Vec::with_capacity(texts.len());
        for text in texts {
            let clock = Instant::now();
            let outcome = loop {
                let outcome = if fully {
                    intent.read_in_passing(text).await
                } else {
                    intent.ask_in_passing(text).await
                };
                if outcome != Outcome::Busy || clock.elapsed() > PATIENCE {
                    break outcome;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            };
            match outcome {
                Outcome::Verdict(verdict) => verdicts.push(verdict),
                Outcome::Busy => return Err(Without::Refused(Refused::Busy)),
                Outcome::Timeout => return Err(Without::Refused(Refused::Deadline)),
                Outcome::Error => return unfit("the classifier failed"),
                Outcome::Open => return unfit("the classifier is out of service"),
            }
        }
        Ok(verdicts)
    }
}

impl Without {
    fn said(self) -> Result<Said, Refused> {
        match self {
            Self::Refused(refused) => Err(refused),
            Self::Unfit(why) => Ok(Said::Nothing(why)),
        }
    }
}

fn place(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Refused> {
    places.clone().try_acquire_owned().map_err(|_| Refused::Busy)
}

/// By rules alone.
fn by_rule(order: Order) -> Said {
    let none = |why: &str| Said::Nothing(why.to_owned());
    match order {
        Order::Complexity(text) => Said::by_rule(json!({"level": complexity::level(&text)})),
        Order::Entities(text) => Said::by_rule(json!(entities::entities(&text))),
        Order::Clarify(text) => Said::by_rule(json!(clarify::clarify(&text))),
        Order::Summary { text, sentences } => match summary::summary(&text, sentences) {
            Some(summary) => Said::by_rule(json!({"summary": summary})),
            None => none("no sentence sums the text up"),
        },
        Order::Normalize { text, max_items } => {
            Said::by_rule(json!({"items": normalize::normalize(&text, max_items)}))
        }
        Order::Fact { text, kind } => Said::by_rule(json!(fact::fact(&text, kind))),
        Order::Safety(text) => Said::by_rule(json!(safety::safety(&text))),
        Order::Title(text) => match title::title(&text) {
            Some(title) => Said::by_rule(json!({"title": title})),
            None => none("nothing in the text makes a title"),
        },
        Order::Intent(_) | Order::Embed(_) | Order::Duplicate { .. } => none("the encoder does this"),
    }
}

/// By the light model. None: it is not there, or what it says does not hold, so the rules do it.
async fn by_model(order: &Order, light: &Engine, deadline: Instant) -> Result<Option<Said>, Refused> {
    let value = match order {
        Order::Title(text) => {
            wording::title(light, text, deadline).await.map(|said| said.map(|title| json!({"title": title})))
        }
        Order::Summary { text, sentences } => wording::summary(light, text, *sentences, deadline)
            .await
            .map(|said| said.map(|summary| json!({"summary": summary}))),
        Order::Complexity(text) => {
            wording::complexity(light, text, deadline).await.map(|level| Some(json!({"level": level})))
        }
        Order::Safety(text) => wording::safety(light, text, deadline).await.map(|found| Some(json!(found))),
        _ => return Ok(None),
    };
    match value {
        Ok(value) => {
            let model = light.about().map(|about| about.name);
            Ok(value.map(|value| Said::Result { value, method: Method::Model, model }))
        }
        Err(Refusal::Busy) => Err(Refused::Busy),
        Err(Refusal::Deadline) => Err(Refused::Deadline),
        Err(Refusal::Off | Refusal::Loading | Refusal::TooLong { .. } | Refusal::Failed(_)) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> Tools<'static> {
        const OFF: &[Task] = &[Task::Title];
        Tools { intent: None, light: Box::leak(Box::new(Engine::off())), by_model: OFF }
    }

    #[tokio::test]
    async fn without_any_model_the_rules_do_what_they_can() {
        let desk = Desk::default();
        let serve = |order| desk.serve(order, nothing(), Duration::from_secs(30));
        let said = serve(Order::Title("hello, write a haiku".into())).await.unwrap();
        assert_eq!(said, Said::by_rule(json!({"title": "Write a haiku"})));
        let pair = Order::Duplicate { texts: OneOrMany::One("a b".into()), candidates: vec!["A b".into()] };
        assert!(matches!(serve(pair).await, Ok(Said::Result { method: Method::Rule, .. })));
        assert!(matches!(serve(Order::Embed(vec!["a".into()])).await, Ok(Said::Nothing(_))));
    }

    #[tokio::test]
    async fn who_finds_no_place_hears_it_at_once() {
        let desk = Desk::default();
        let all = desk.rules.clone().try_acquire_many_owned(4).unwrap();
        let order = || Order::Title("write a haiku".into());
        assert_eq!(desk.serve(order(), nothing(), Duration::from_secs(30)).await, Err(Refused::Busy));
        drop(all);
        assert!(desk.serve(order(), nothing(), Duration::from_secs(30)).await.is_ok());
    }
}
