//! Drawing a token: by temperature, from the likeliest that together have the probability `top_p` (Holtzman et al.,
//! 2019, "nucleus sampling").

use fastrand::Rng;

/// A token of these logits.
pub fn draw(logits: &[f32], temperature: f32, top_p: f32, chance: &mut Rng) -> u32 {
    let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut weights: Vec<(u32, f32)> =
        (0u32..).zip(logits).map(|(id, logit)| (id, ((logit - best) / temperature).exp())).collect();
    let mut all: f32 = weights.iter().map(|(_, weight)| weight).sum();
    if top_p < 1.0 {
        // What has less than a ten-thousandth of the likeliest one's weight is in no nucleus worth sorting for.
        weights.retain(|(_, weight)| *weight > 1e-4);
        weights.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let mut sum = 0.0;
        let wanted = all * top_p;
        let mut kept = 0;
        for (_, weight) in &weights {
            kept += 1;
            sum += weight;
            if sum >= wanted {
                break;
            }
        }
        weights.truncate(kept);
        all = sum;
    }
    let mut left = chance.f32() * all;
    for (id, weight) in &weights {
        left -= weight;
        if left <= 0.0 && *weight > 0.0 {
            return *id;
        }
    }
    weights.iter().max_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(id, _)| *id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_and_shares_are_as_probable_as_they_are() {
        let logits = [1.0f32.ln(), 2.0f32.ln(), 5.0f32.ln(), f32::NEG_INFINITY];
        let run = |seed, top_p| {
            let mut chance = Rng::with_seed(seed);
            let mut counts = [0; 4];
            for _ in 0..4000 {
                counts[draw(&logits, 1.0, top_p, &mut chance) as usize] += 1;
            }
            counts
        };
        assert_eq!(run(7, 1.0), run(7, 1.0));
        let counts = run(7, 1.0);
        assert!((400..600).contains(&counts[0]) && (2300..2700).contains(&counts[2]), "{counts:?}");
        assert_eq!(counts[3], 0);
        let nucleus = run(7, 0.7);
        assert_eq!((nucleus[0], nucleus[3]), (0, 0), "{nucleus:?}");
        assert!(nucleus[1] > 0);
    }

    #[test]
    fn a_low_temperature_takes_the_likeliest() {
        let mut chance = Rng::with_seed(1);
        assert!((0..100).all(|_| draw(&[0.0, 1.0, 0.5], 0.01, 1.0, &mut chance) == 1));
    }
}
