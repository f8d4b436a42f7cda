//! Cuts labelled lines into training and dev lines with no near-duplicates across the cut.
//!
//! Lines are grouped first, and a group goes one way as a whole. Two lines share a group if half of their
//! four-letter shingles are common (Jaccard, candidates from MinHash bands), or if they are the same once
//! every rare word is masked (made from the same template). Digits are all alike.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::labelled::Labelled;
use crate::text::fold;

const BANDS: usize = 20;
const ROWS: usize = 3;
/// Shared shingles from which two lines are near-duplicates.
const SIMILAR: f32 = 0.5;
/// A word in fewer lines than this is masked in templates.
const RARE: usize = 15;
/// A group larger than this share of all lines stays in training: it would be most of the dev lines.
const TOO_LARGE: f32 = 0.01;

/// For each line, whether it is a dev line. Depends on the lines' texts, the share and the seed only.
pub fn cut(lines: &[Labelled], share: f32, seed: u64) -> Vec<bool> {
    let mut dev = vec![false; lines.len()];
    for group in groups(lines) {
        if group.len() as f32 > (lines.len() as f32 * TOO_LARGE).max(50.0) {
            continue;
        }
        // The group's least text decides, so that the lines' order does not matter.
        let text = group.iter().map(|i| lines[*i].text.as_str()).min().unwrap_or_default();
        if (hash(text.as_bytes(), seed) >> 11) as f64 / ((1u64 << 53) as f64) < f64::from(share) {
            group.iter().for_each(|i| dev[*i] = true);
        }
    }
    dev
}

/// The lines' numbers by group.
fn groups(lines: &[Labelled]) -> Vec<Vec<usize>> {
    let plain: Vec<String> = lines.iter().map(|l| plain(&l.text)).collect();
    let shingles: Vec<Vec<u64>> = plain.iter().map(|t| shingles(t)).collect();
    let mut parents: Vec<usize> = (0..lines.len()).collect();
    let mut bands: HashMap<(usize, u64), Vec<usize>> = HashMap::new();
    for (i, set) in shingles.iter().enumerate() {
        for band in 0..BANDS {
            let key = (0..ROWS).fold(0, |key, row| {
                let salt = (band * ROWS + row) as u64;
                let least = set.iter().map(|s| mix(s ^ mix(salt + 1))).min().unwrap_or(0);
                mix(key ^ least)
            });
            bands.entry((band, key)).or_default().push(i);
        }
    }
    let mut together: Vec<&Vec<usize>> = bands.values().filter(|b| b.len() > 1).collect();
    together.sort();
    for members in together {
        for (n, i) in members.iter().enumerate() {
            // A band shared by very many lines is compared with some only; the others meet in other bands.
            for j in members[..n].iter().rev().take(64) {
                if root(&mut parents, *i) != root(&mut parents, *j)
                    && jaccard(&shingles[*i], &shingles[*j]) >= SIMILAR
                {
                    unite(&mut parents, *i, *j);
                }
            }
        }
    }
    let mut templates: HashMap<String, usize> = HashMap::new();
    for (i, template) in templated(&plain).into_iter().enumerate() {
        if let Some(template) = template {
            let first = *templates.entry(template).or_insert(i);
            unite(&mut parents, first, i);
        }
    }
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for i in 0..lines.len() {
        groups.entry(root(&mut parents, i)).or_default().push(i);
    }
    groups.into_values().collect()
}

fn plain(text: &str) -> String {
    let mut out = String::new();
    for c in fold(text).chars() {
        match c {
            c if c.is_ascii_digit() => out.push('0'),
            c if c.is_alphanumeric() => out.push(c),
            _ if out.ends_with(' ') => {}
            _ => out.push(' '),
        }
    }
    out.trim().to_owned()
}

fn shingles(plain: &str) -> Vec<u64> {
    let padded: Vec<char> = format!(" {plain} ").chars().collect();
    let set: HashSet<u64> = padded
        .windows(4.min(padded.len()))
        .map(|w| w.iter().fold(7, |h, c| mix(h ^ u64::from(*c as u32))))
        .collect();
    let mut sorted: Vec<u64> = set.into_iter().collect();
    sorted.sort_unstable();
    sorted
}

/// The share of common members of two sorted lists.
fn jaccard(a: &[u64], b: &[u64]) -> f32 {
    let (mut i, mut j, mut common) = (0, 0, 0usize);
    while i < a.len() && j < b.len() {
        match a[i].cmp(&b[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => (i, j, common) = (i + 1, j + 1, common + 1),
        }
    }
    common as f32 / (a.len() + b.len() - common).max(1) as f32
}

/// Each text with its rare words masked, if enough is left to call it a template.
fn templated(plain: &[String]) -> Vec<Option<String>> {
    let mut lines_with: HashMap<&str, usize> = HashMap::new();
    for text in plain {
        let words: HashSet<&str> = text.split(' ').collect();
        words.into_iter().for_each(|w| *lines_with.entry(w).or_default() += 1);
    }
    plain
        .iter()
        .map(|text| {
            let (mut kept, mut template) = (0, String::new());
            for word in text.split(' ') {
                if lines_with.get(word).is_some_and(|n| *n >= RARE) {
                    kept += 1;
                    template.push_str(word);
                    template.push(' ');
                } else if !template.ends_with("* ") {
                    template.push_str("* ");
                }
            }
            (kept >= 3 && template.contains('*')).then_some(template)
        })
        .collect()
}

fn root(parents: &mut [usize], mut i: usize) -> usize {
    while parents[i] != i {
        parents[i] = parents[parents[i]];
        i = parents[i];
    }
    i
}

fn unite(parents: &mut [usize], i: usize, j: usize) {
    let (a, b) = (root(parents, i), root(parents, j));
    parents[a.max(b)] = a.min(b);
}

fn hash(bytes: &[u8], seed: u64) -> u64 {
    bytes.iter().fold(mix(seed ^ 0x5eed), |h, b| mix(h ^ u64::from(*b)))
}

fn mix(mut h: u64) -> u64 {
    h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::category::Label;

    fn lines(texts: &[&str]) -> Vec<Labelled> {
        let line =
            |t: &&str| Labelled { label: Label::General, text: (*t).to_owned(), source: String::new() };
        texts.iter().map(line).collect()
    }

    fn group_of(texts: &[&str]) -> Vec<usize> {
        let mut of = vec![0; texts.len()];
        for (n, group) in groups(&lines(texts)).iter().enumerate() {
            group.iter().for_each(|i| of[*i] = n);
        }
        of
    }

    #[test]
    fn near_duplicates_share_a_group() {
        let of = group_of(&[
            "what is the weather like in london today",
            "What is the weather like in London today?!",
            "what is the weather like in london tomorrow",
            "write a poem about the sea",
            "у Маши 12 яблок, сколько осталось",
            "у Маши 57 яблок, сколько осталось",
        ]);
        assert_eq!((of[0], of[0]), (of[1], of[2]));
        assert_eq!(of[4], of[5]);
        assert_ne!(of[0], of[3]);
        assert_ne!(of[3], of[4]);
    }

    #[test]
    fn a_template_is_one_group_whatever_fills_it() {
        let names =
            ["Elbe", "Mississippi", "Po", "Ganges", "Yangtze", "Volga", "Danube", "Amazon", "Lena", "Ob"];
        let texts: Vec<String> =
            names.iter().chain(&names).map(|n| format!("where does the {n} end and the sea begin")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let of = group_of(&texts);
        assert!(of.iter().all(|g| *g == of[0]));
    }

    #[test]
    fn the_cut_is_the_same_for_the_same_seed_and_in_any_order() {
        let texts: Vec<String> =
            (0..400u64).map(|i| format!("{:x} {:x}", mix(i + 1), mix(i + 1000))).collect();
        let mut texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let dev = cut(&lines(&texts), 0.2, 1);
        let count = dev.iter().filter(|d| **d).count();
        assert!((40..=120).contains(&count), "{count} of 400");
        assert_eq!(dev, cut(&lines(&texts), 0.2, 1));
        assert_ne!(dev, cut(&lines(&texts), 0.2, 2));
        texts.reverse();
        let mut reversed = cut(&lines(&texts), 0.2, 1);
        reversed.reverse();
        assert_eq!(dev, reversed);
    }
}
