//! Writing a text, token by token.

use fastrand::Rng;
use mlx_rs::Array;
use mlx_rs::error::Exception;
use mlx_rs::ops::indexing::argmax_axis;
use mlx_rs::transforms::async_eval;

use super::sample::draw;
use super::words::Heard;
use super::{Model, Wanted};
use crate::light::prompt::{Finish, Limits, Prompt, Refusal, Written};
use crate::light::stops::{Passed, Stops};

/// Hears a piece of text; told that nobody listens any more by `false`.
pub type Listener<'a> = &'a mut dyn FnMut(&str) -> bool;

impl Model {
    /// Writes on from a prompt and tells each piece of text.
    ///
    /// # Errors
    /// Why there is no text, or not all of it.
    pub fn write(
        &mut self,
        prompt: &Prompt,
        limits: &Limits,
        wanted: Wanted<'_>,
        listener: Listener<'_>,
    ) -> Result<Written, Refusal> {
        let (_, tokens) = self.prompt(prompt)?;
        let most = limits.max_tokens.min(self.about.context - tokens.len());
        let mut pen =
            Pen { text: String::new(), stops: Stops::new(&limits.stop), heard: Heard::default(), listener };
        let (made, finish) = self.go_on(&tokens, limits, most, wanted, &mut pen)?;
        Ok(Written { text: pen.text, prompt_tokens: tokens.len(), tokens: made, finish })
    }

    /// The likeliest token after these: what a first token costs.
    ///
    /// # Errors
    /// What MLX says.
    pub fn first(&mut self, tokens: &[u32]) -> Result<u32, Refusal> {
        let logits = self.read(tokens, &|| true)?;
        let first = self.next(&logits, &Limits::default(), &mut Rng::with_seed(0))?;
        self.token(&first)
    }

    /// The likeliest tokens after these, ends of texts not looked at, for comparison with other implementations.
    ///
    /// # Errors
    /// What MLX says.
    pub fn greedy(&mut self, tokens: &[u32], steps: usize) -> Result<Vec<u32>, Refusal> {
        let (limits, mut chance) = (Limits::default(), Rng::with_seed(0));
        let logits = self.read(tokens, &|| true)?;
        let mut next = self.next(&logits, &limits, &mut chance)?;
        let mut made = Vec::with_capacity(steps);
        for _ in 0..steps {
            let ahead = self.follow(&next, &limits, &mut chance)?;
            let token = self.token(&next)?;
            self.read.push(token);
            made.push(token);
            next = ahead;
        }
        Ok(made)
    }

    fn go_on(
        &mut self,
        tokens: &[u32],
        limits: &Limits,
        most: usize,
        wanted: Wanted<'_>,
        pen: &mut Pen<'_>,
    ) -> Result<(usize, Finish), Refusal> {
        let mut chance = Rng::with_seed(limits.seed);
        let logits = self.read(tokens, wanted)?;
        let mut next = self.next(&logits, limits, &mut chance)?;
        for made in 0..most {
            // The likeliest token's successor is under way before that token is looked at; a drawn one waits.
            let ahead = match limits.temperature <= 0.0 && made + 1 < most {
                true => Some(self.follow(&next, limits, &mut chance)?),
                false => None,
            };
            let token = self.token(&next)?;
            if ahead.is_some() {
                self.read.push(token);
            }
            if self.words.is_end(token) {
                pen.end(self)?;
                return Ok((made, Finish::Stop));
            }
            match pen.put(token, self)? {
                Stroke::Stopped => return Ok((made + 1, Finish::Stop)),
                Stroke::Unheard => return Err(Refusal::Deadline),
                Stroke::Written if !wanted() => return Err(Refusal::Deadline),
                Stroke::Written => {}
            }
            next = match ahead {
                Some(ahead) => ahead,
                None if made + 1 < most => {
                    let ahead = self.follow(&next, limits, &mut chance)?;
                    self.read.push(token);
                    ahead
                }
                None => break,
            };
        }
        pen.end(self)?;
        Ok((most, Finish::Length))
    }

    /// Reads a token that may not be known yet, and chooses the one after it.
    fn follow(&mut self, token: &Array, limits: &Limits, chance: &mut Rng) -> Result<Array, Refusal> {
        let logits = self.on(|model| {
            let ids = token.reshape(&[1, 1])?;
            let vectors = model.decoder.read(&ids, &mut model.cache, &model.stream)?;
            model.decoder.last(&vectors, &model.stream)
        })?;
        self.next(&logits, limits, chance)
    }

    fn token(&mut self, chosen: &Array) -> Result<u32, Refusal> {
        self.on(|_| chosen.try_item_exact().map_err(|e| Exception::from(e.to_string().as_str())))
    }

    /// The token that these logits choose; the likeliest is not waited for.
    fn next(&mut self, logits: &Array, limits: &Limits, chance: &mut Rng) -> Result<Array, Refusal> {
        if limits.temperature <= 0.0 {
            return self.on(|_| {
                let best = argmax_axis(logits, -1, false)?;
                async_eval([&best])?;
                Ok(best)
            });
        }
        let numbers = self.numbers(logits)?;
        let token = draw(&numbers, limits.temperature, limits.top_p, chance);
        Ok(Array::from_slice(&[token], &[1]))
    }
}

/// Tokens on their way to the listener.
struct Pen<'a> {
    text: String,
    stops: Stops,
    heard: Heard,
    listener: Listener<'a>,
}

/// What came of a token.
enum Stroke {
    Written,
    /// A stop string is complete.
    Stopped,
    /// Nobody listens.
    Unheard,
}

impl Pen<'_> {
    fn put(&mut self, token: u32, model: &Model) -> Result<Stroke, Refusal> {
        let piece = self.heard.push(token, &model.words).map_err(Refusal::Failed)?;
        Ok(match self.stops.push(&piece) {
            Passed::Text(text) if self.tell(&text) => Stroke::Written,
            Passed::Text(_) => Stroke::Unheard,
            Passed::Last(text) => {
                self.tell(&text);
                Stroke::Stopped
            }
        })
    }

    /// What was held back.
    fn end(&mut self, model: &Model) -> Result<(), Refusal> {
        let piece = self.heard.rest(&model.words).map_err(Refusal::Failed)?;
        let text = match self.stops.push(&piece) {
            Passed::Text(text) => text + &self.stops.rest(),
            Passed::Last(text) => text,
        };
        self.tell(&text);
        Ok(())
    }

    fn tell(&mut self, text: &str) -> bool {
        self.text.push_str(text);
        text.is_empty() || (self.listener)(text)
    }
}
