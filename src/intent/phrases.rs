//! Our own labelled phrases (`models/phrases/*.tsv`), compiled in: what a head is made from where nobody trained one.

use std::path::Path;

use super::labelled::{self, Labelled};

const FILES: [(&str, &str); 10] = [
    ("en-coding", include_str!("../../models/phrases/en-coding.tsv")),
    ("en-data_question", include_str!("../../models/phrases/en-data_question.tsv")),
    ("en-general", include_str!("../../models/phrases/en-general.tsv")),
    ("en-greeting", include_str!("../../models/phrases/en-greeting.tsv")),
    ("en-reasoning", include_str!("../../models/phrases/en-reasoning.tsv")),
    ("ru-coding", include_str!("../../models/phrases/ru-coding.tsv")),
    ("ru-data_question", include_str!("../../models/phrases/ru-data_question.tsv")),
    ("ru-general", include_str!("../../models/phrases/ru-general.tsv")),
    ("ru-greeting", include_str!("../../models/phrases/ru-greeting.tsv")),
    ("ru-reasoning", include_str!("../../models/phrases/ru-reasoning.tsv")),
];

/// All of them, or at most so many of each of the ten files, evenly spread over the file.
pub fn lines(of_each: Option<usize>) -> Vec<Labelled> {
    let mut all = Vec::new();
    for (name, text) in FILES {
        // A test reads every file, so nothing is lost here.
        let lines = labelled::parse(Path::new(name), text).unwrap_or_default();
        let (count, wanted) = (lines.len(), of_each.unwrap_or(lines.len()).min(lines.len()));
        let chosen = (0..wanted).map(|i| i * count / wanted);
        // The third column names an answer; the file is the source.
        all.extend(chosen.map(|i| Labelled { source: name.to_owned(), ..lines[i].clone() }));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::category::Label;

    #[test]
    fn every_file_is_read_and_every_label_is_there_in_a_few() {
        for (name, text) in FILES {
            assert!(labelled::parse(Path::new(name), text).is_ok(), "{name}");
        }
        assert!(lines(None).len() > 17_000);
        let few = lines(Some(7));
        assert_eq!(few.len(), 70);
        for label in Label::ALL {
            assert_eq!(few.iter().filter(|line| line.label == label).count(), 14, "{label}");
        }
    }
}
