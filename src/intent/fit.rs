//! One pass of training. Forward pass and gradients are MLX's; the update (Adam, on only the rows that a batch
//! touched) is plain Rust.

use std::collections::{BTreeMap, HashMap, HashSet};

use fastrand::Rng;
use mlx_rs::error::Exception;
use mlx_rs::ops::{add, logsumexp_axis, matmul, maximum, multiply, subtract, sum};
use mlx_rs::transforms::value_and_grad_with_argnums;
use mlx_rs::{Array, Device, DeviceType, Stream, with_stream};

use super::augment::Augmenter;
use super::features;
use super::labelled::Labelled;
use super::train::{Progress, TrainError, TrainOptions};
use super::weights::{Weights, to_half};
use crate::category::Label;

/// "clinc150" of "clinc150/train/goodbye".
pub(super) fn family(source: &str) -> &str {
    source.split('/').next().unwrap_or(source)
}

/// One pass: as many members as told, each from a seed of its own, joined into one model.
pub(super) fn fit(
    lines: &[&Labelled],
    options: &TrainOptions,
    progress: &mut impl FnMut(Progress),
) -> Result<Weights, TrainError> {
    let mut members = Vec::new();
    for member in 0..options.members {
        let seed = options.seed.wrapping_add(1000 * member as u64);
        members.push(fit_one(lines, &TrainOptions { seed, ..options.clone() }, member, progress)?);
    }
    Ok(join(&members))
}

/// Several small models side by side in one: rows beside rows, hidden layers that do not see each other, and
/// the mean of the logits.
fn join(members: &[Weights]) -> Weights {
    let count = members.len();
    let mut all = members[0].clone();
    if count == 1 {
        return all;
    }
    let (dim, hidden) = (all.dim, all.hidden);
    (all.dim, all.hidden) = (dim * count, hidden * count);
    let rows = 0..all.settings.buckets as usize;
    all.table =
        rows.flat_map(|r| members.iter().flat_map(move |m| &m.table[r * dim..][..dim])).copied().collect();
    all.hidden_weight = vec![0.0; all.dim * all.hidden];
    for (m, member) in members.iter().enumerate() {
        for row in 0..dim {
            let start = (m * dim + row) * all.hidden + m * hidden;
            all.hidden_weight[start..][..hidden]
                .copy_from_slice(&member.hidden_weight[row * hidden..][..hidden]);
        }
    }
    let mean = |v: &f32| v / count as f32;
    all.hidden_bias = members.iter().flat_map(|m| &m.hidden_bias).copied().collect();
    all.out_weight = members.iter().flat_map(|m| &m.out_weight).map(mean).collect();
    for (label, bias) in all.out_bias.iter_mut().enumerate() {
        *bias = members.iter().map(|m| mean(&m.out_bias[label])).sum();
    }
    all
}

/// One member, some epochs long.
fn fit_one(
    lines: &[&Labelled],
    options: &TrainOptions,
    member: usize,
    progress: &mut impl FnMut(Progress),
) -> Result<Weights, TrainError> {
    let mut rng = Rng::with_seed(options.seed);
    let augmenter = Augmenter::new(lines.iter().copied());
    let draws = Draws::new(lines, options.balance);
    let mut fit = Fit::new(options);
    fit.allow(lines);
    let stream = Stream::try_default_on_device(&Device::new(DeviceType::Cpu, 0))?;
    let steps = lines.len().div_ceil(options.batch);
    let mut bag = features::Bag::default();
    for epoch in 0..options.epochs {
        let mut total = 0.0;
        for step in 0..steps {
            let mut batch = Batch::new(options.batch);
            for row in 0..options.batch {
                let line = lines[draws.draw(&mut rng)];
                let text = augmenter.vary(line, &mut rng);
                bag.fill_with(&text, &options.settings, |_| rng.f32() >= options.dropout);
                batch.put(row, &bag, line.label, &fit.trained, options.smoothing);
            }
            let done = (epoch * steps + step) as f32 / (options.epochs * steps) as f32;
            let loss = with_stream(&stream, || fit.step(&batch, options.rate * (1.0 - done)))?;
            if !loss.is_finite() {
                return Err(TrainError::Diverged(loss));
            }
            total += loss;
        }
        let (epoch, of) = (member * options.epochs + epoch + 1, options.members * options.epochs);
        progress(Progress::Epoch { epoch, of, loss: total / steps as f32 });
    }
    Ok(fit.weights())
}

/// Draws lines, large sources less often than they are large.
struct Draws {
    groups: Vec<Vec<usize>>,
    up_to: Vec<f64>,
}

impl Draws {
    fn new(lines: &[&Labelled], balance: f32) -> Self {
        let mut groups: BTreeMap<(&str, Label), Vec<usize>> = BTreeMap::new();
        for (i, line) in lines.iter().enumerate() {
            groups.entry((family(&line.source), line.label)).or_default().push(i);
        }
        let groups: Vec<Vec<usize>> = groups.into_values().collect();
        let mut sum = 0.0;
        let weigh = |g: &Vec<usize>| {
            sum += (g.len() as f64).powf(f64::from(balance));
            sum
        };
        Self { up_to: groups.iter().map(weigh).collect(), groups }
    }

    fn draw(&self, rng: &mut Rng) -> usize {
        let at = rng.f64() * self.up_to.last().copied().unwrap_or(0.0);
        let group = &self.groups[self.up_to.partition_point(|u| *u <= at).min(self.groups.len() - 1)];
        group[rng.usize(..group.len())]
    }
}

/// Some lines' features over the rows that they touch.
struct Batch {
    size: usize,
    rows: Vec<u32>,
    place: HashMap<u32, usize>,
    /// (line, place in `rows`, share)
    entries: Vec<(usize, usize, f32)>,
    targets: Vec<f32>,
}

impl Batch {
    fn new(size: usize) -> Self {
        Self { size, rows: Vec::new(), place: HashMap::new(), entries: Vec::new(), targets: Vec::new() }
    }

    fn put(&mut self, line: usize, bag: &features::Bag, label: Label, trained: &[bool], smoothing: f32) {
        for (id, share) in bag.ids.iter().zip(&bag.shares).filter(|(id, _)| trained[**id as usize]) {
            let place = *self.place.entry(*id).or_insert_with(|| {
                self.rows.push(*id);
                self.rows.len() - 1
            });
            self.entries.push((line, place, *share));
        }
        let rest = smoothing / Label::ALL.len() as f32;
        self.targets.extend(Label::ALL.map(|l| if l == label { 1.0 - smoothing + rest } else { rest }));
    }

    /// Lines × rows.
    fn shares(&self) -> Vec<f32> {
        let mut all = vec![0.0; self.size * self.rows.len()];
        self.entries.iter().for_each(|(line, place, share)| all[line * self.rows.len() + place] += share);
        all
    }
}

/// Weights in training, with Adam's two moments each.
pub(super) struct Fit {
    options: TrainOptions,
    /// Table, hidden weight and bias, out weight and bias.
    values: [Vec<f32>; 5],
    first: [Vec<f32>; 5],
    second: [Vec<f32>; 5],
    trained: Vec<bool>,
    steps: i32,
}

impl Fit {
    pub(super) fn new(options: &TrainOptions) -> Self {
        let (dim, hidden, labels) = (options.dim, options.hidden, Label::ALL.len());
        let mut rng = Rng::with_seed(options.seed ^ 0x1217);
        let mut random = |n: usize, inputs: usize| {
            let width = (6.0 / inputs as f32).sqrt();
            (0..n).map(|_| (rng.f32() * 2.0 - 1.0) * width).collect::<Vec<f32>>()
        };
        // The table starts at zero: a feature that training never saw says nothing.
        let values = [
            vec![0.0; options.settings.buckets as usize * dim],
            random(dim * hidden, dim),
            vec![0.01; hidden],
            random(hidden * labels, hidden),
            vec![0.0; labels],
        ];
        let zeros = || [0, 1, 2, 3, 4].map(|i: usize| vec![0.0; values[i].len()]);
        let trained = vec![false; options.settings.buckets as usize];
        Self { options: options.clone(), first: zeros(), second: zeros(), values, trained, steps: 0 }
    }

    /// Marks the rows that enough lines touch.
    fn allow(&mut self, lines: &[&Labelled]) {
        let mut touched = vec![0u32; self.trained.len()];
        let mut bag = features::Bag::default();
        for line in lines {
            bag.fill(&line.text, &self.options.settings);
            let ids: HashSet<u32> = bag.ids.iter().copied().collect();
            ids.into_iter().for_each(|id| touched[id as usize] += 1);
        }
        self.trained = touched.iter().map(|n| *n >= self.options.rare).collect();
    }

    /// One step down; the mean loss before it.
    fn step(&mut self, batch: &Batch, rate: f32) -> Result<f32, Exception> {
        let (dim, hidden) = (self.options.dim, self.options.hidden as i32);
        let (lines, labels) = (batch.size as i32, Label::ALL.len() as i32);
        let count = batch.rows.len();
        let mut rows: Vec<f32> = Vec::with_capacity(count * dim);
        batch.rows.iter().for_each(|id| rows.extend(&self.values[0][*id as usize * dim..][..dim]));
        let shapes =
            [&[count as i32, dim as i32][..], &[dim as i32, hidden], &[hidden], &[hidden, labels], &[labels]];
        let mut inputs = vec![Array::from_slice(&rows, shapes[0])];
        inputs.extend((1..5).map(|i| Array::from_slice(&self.values[i], shapes[i])));
        let shares = Array::from_slice(&batch.shares(), &[lines, count as i32]);
        let targets = Array::from_slice(&batch.targets, &[lines, labels]);
        let each = Array::from_f32(1.0 / lines as f32);
        let zero = Array::from_f32(0.0);
        let loss = |x: &[Array]| -> Result<Vec<Array>, Exception> {
            let pooled = matmul(&shares, &x[0])?;
            let hidden = maximum(add(matmul(pooled, &x[1])?, &x[2])?, &zero)?;
            let logits = add(matmul(hidden, &x[3])?, &x[4])?;
            // Cross-entropy: targets sum to 1 on each line.
            let right = sum(multiply(&logits, &targets)?, None)?;
            let all = sum(logsumexp_axis(logits, -1, None)?, None)?;
            Ok(vec![multiply(subtract(all, right)?, &each)?])
        };
        let (value, gradients) = value_and_grad_with_argnums(loss, &[0, 1, 2, 3, 4][..])(&inputs)?;
        mlx_rs::transforms::eval(value.iter().chain(&gradients))?;
        let read = |a: &Array| a.to_vec_exact::<f32>().map_err(|e| Exception::custom(e.to_string()));
        let gradients = gradients.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        self.steps += 1;
        for (n, id) in batch.rows.iter().enumerate() {
            self.update(0, *id as usize * dim, &gradients[0][n * dim..][..dim], rate);
        }
        (1..5).for_each(|i| self.update(i, 0, &gradients[i], rate));
        Ok(read(&value[0])?.first().copied().unwrap_or(f32::NAN))
    }

    /// Adam on a piece of one of the values.
    fn update(&mut self, which: usize, start: usize, gradient: &[f32], rate: f32) {
        let (b1, b2) = (0.9f32, 0.999f32);
        let scale = (1.0 - b2.powi(self.steps)).sqrt() / (1.0 - b1.powi(self.steps)) * rate;
        let range = start..start + gradient.len();
        let decay = if which == 0 { 1.0 - self.options.decay * rate } else { 1.0 };
        let values = self.values[which][range.clone()].iter_mut();
        let moments = self.first[which][range.clone()].iter_mut().zip(&mut self.second[which][range]);
        for ((value, (m, v)), g) in values.zip(moments).zip(gradient) {
            *m = b1 * *m + (1.0 - b1) * g;
            *v = b2 * *v + (1.0 - b2) * g * g;
            *value = *value * decay - scale * *m / (v.sqrt() + 1e-8);
        }
    }

    pub(super) fn weights(&self) -> Weights {
        let [table, hidden_weight, hidden_bias, out_weight, out_bias] = &self.values;
        Weights {
            settings: self.options.settings,
            dim: self.options.dim,
            hidden: self.options.hidden,
            table: table.iter().map(|v| to_half(*v)).collect(),
            hidden_weight: hidden_weight.clone(),
            hidden_bias: hidden_bias.clone(),
            out_weight: out_weight.clone(),
            out_bias: out_bias.clone(),
            temperature: 1.0,
            greeting_from: 0.9,
            sure_from: 0.0,
            notes: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(source: &str, label: Label) -> Labelled {
        Labelled { label, text: "text".to_owned(), source: source.to_owned() }
    }

    #[test]
    fn large_sources_are_drawn_less_often_than_they_are_large() {
        let mut lines = vec![line("small/x", Label::General)];
        lines.extend((0..100).map(|_| line("large/y", Label::General)));
        let lines: Vec<&Labelled> = lines.iter().collect();
        let draws = Draws::new(&lines, 0.5);
        let mut rng = Rng::with_seed(1);
        let small = (0..11_000).filter(|_| draws.draw(&mut rng) == 0).count();
        assert!((900..1100).contains(&small), "{small} of 11000, 1000 expected");
    }

    #[test]
    fn rows_that_few_lines_touch_stay_zero() {
        let lines = [line("a", Label::General), Labelled { text: "once".into(), ..line("a", Label::Coding) }];
        let options = TrainOptions { rare: 2, ..TrainOptions::default() };
        let mut fit = Fit::new(&options);
        fit.allow(&[&lines[0], &lines[0], &lines[1]]);
        let trained = |text: &str| {
            let mut bag = features::Bag::default();
            bag.fill(text, &options.settings);
            fit.trained[bag.ids[0] as usize]
        };
        assert_eq!((trained("text"), trained("once"), trained("never")), (true, false, false));
    }

    #[test]
    fn joined_models_say_the_mean_of_what_each_says() {
        let member = |seed: u64| {
            let settings = features::Settings { buckets: 64, gram_min: 3, gram_max: 4 };
            let options = TrainOptions { settings, dim: 3, hidden: 4, seed, ..TrainOptions::default() };
            let mut weights = Fit::new(&options).weights();
            let mut rng = Rng::with_seed(seed);
            weights.table.iter_mut().for_each(|v| *v = to_half(rng.f32()));
            weights
        };
        let logs = |weights: &Weights| {
            let scores = crate::intent::bag::Bag::new(weights).unwrap().classify("some text").unwrap().scores;
            scores.map(|p| p.ln())
        };
        let (a, b) = (member(1), member(2));
        let joined = join(&[a.clone(), b.clone()]);
        assert_eq!((joined.dim, joined.hidden, joined.table.len()), (6, 8, 64 * 6));
        let (a, b, both) = (logs(&a), logs(&b), logs(&joined));
        // Log-probabilities are logits but for a constant, which differences are free of.
        for label in 1..5 {
            let mean = (a[label] - a[0] + b[label] - b[0]) / 2.0;
            assert!((both[label] - both[0] - mean).abs() < 1e-3, "{label}");
        }
    }
}
