//! `normalize`: a list as people and models write it, made into clean items.

use crate::text::fold;

/// The items: no bullets or numbers before them, no marks behind, none blank, none twice, at most so many.
pub fn normalize(text: &str, most: usize) -> Vec<String> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| has_words(line)).collect();
    let parts: Vec<String> = match lines.as_slice() {
        [line] => split(line),
        lines => {
            // "Список покупок:" over a list is its title.
            let titled = lines.first().is_some_and(|line| line.ends_with(':') && bullet(line).is_none());
            lines.iter().skip(usize::from(titled)).map(|line| (*line).to_owned()).collect()
        }
    };
    let mut items: Vec<String> = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    for part in parts {
        if items.len() == most {
            break;
        }
        let item = clean(&part);
        let same = fold(&item);
        if has_words(&item) && !seen.contains(&same) {
            seen.push(same);
            items.push(item);
        }
    }
    items
}

fn has_words(text: &str) -> bool {
    text.chars().any(char::is_alphanumeric)
}

/// One line that holds the whole list: by numbers in it, else semicolons, bullets, else commas.
fn split(line: &str) -> Vec<String> {
    let body = match line.split_once(':') {
        // "Купить: молоко, хлеб"
        Some((title, rest))
            if title.split_whitespace().count() <= 5
                && rest.contains([',', ';', '1'])
                && !rest.starts_with("//") =>
        {
            rest
        }
        _ => line,
    };
    let numbered = numbered(body);
    if numbered.len() > 1 {
        return numbered;
    }
    for mark in [";", " • ", " * ", " | ", " - "] {
        if body.matches(mark).count() >= if mark == " - " { 2 } else { 1 } {
            return body.split(mark).map(str::to_owned).collect();
        }
    }
    let commas = body.split(", ").count();
    // A sentence has commas, too.
    let sentence = body.split(", ").any(|part| part.split_whitespace().count() > 6);
    if commas > 1 && !sentence { body.split(", ").flat_map(and).collect() } else { vec![body.to_owned()] }
}

/// The last of "молоко, хлеб и сыр" is two.
fn and(part: &str) -> Vec<String> {
    for word in [" и ", " and "] {
        if let Some((one, other)) = part.split_once(word)
            && one.split_whitespace().count() <= 3
            && other.split_whitespace().count() <= 3
        {
            return vec![one.to_owned(), other.to_owned()];
        }
    }
    vec![part.strip_prefix("and ").or(part.strip_prefix("и ")).unwrap_or(part).to_owned()]
}

/// "1) one 2) two"
fn numbered(body: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let (mut from, mut next) = (None, 1);
    loop {
        let rest_from = from.unwrap_or(0);
        let at = [format!("{next})"), format!("{next}.")].into_iter().filter_map(|mark| {
            let found = body[rest_from..].find(mark.as_str())? + rest_from;
            let alone = body[..found].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '.');
            let followed = body[found + mark.len()..].starts_with(|c: char| !c.is_ascii_digit());
            (alone && followed).then_some((found, found + mark.len()))
        });
        let Some((found, behind)) = at.min() else { break };
        if let Some(from) = from {
            parts.push(body[from..found].to_owned());
        }
        (from, next) = (Some(behind), next + 1);
    }
    if let Some(from) = from {
        parts.push(body[from..].to_owned());
    }
    parts
}

/// What stands behind a bullet, a number, a letter or a check box.
fn bullet(text: &str) -> Option<&str> {
    let text = text.trim_start();
    for mark in [
        "[ ]", "[x]", "[X]", "[х]", "☐", "☑", "✅", "✔️", "✔", "✓", "➤", "→", "▪️", "▪", "■", "●", "•", "·",
        "‣", "◦", "–", "—", "-", "*", "+", ">", "#",
    ] {
        if let Some(rest) = text.strip_prefix(mark) {
            let a_sign = matches!(mark, "-" | "+") && rest.starts_with(|c: char| c.is_ascii_digit());
            let emphasis = mark == "*" && rest.starts_with('*');
            return (!a_sign && !emphasis).then_some(rest);
        }
    }
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let letter = text.chars().next().filter(|c| c.is_alphabetic()).map_or(0, char::len_utf8);
    let width = if (1..=3).contains(&digits) { digits } else { letter };
    let rest = &text[width..];
    let rest = rest.strip_prefix(')').or_else(|| {
        rest.strip_prefix('.').filter(|r| digits > 0 && !r.starts_with(|c: char| c.is_ascii_digit()))
    });
    rest.filter(|_| width > 0)
}

fn clean(part: &str) -> String {
    let words: Vec<&str> = part.split_whitespace().collect();
    let joined = words.join(" ").replace("**", "").replace("__", "");
    let mut item = joined.as_str();
    // Marks may stand behind bullets, and bullets behind marks.
    loop {
        let bare =
            bullet(item).unwrap_or(item).trim_matches(|c: char| c.is_whitespace() || MARKS.contains(&c));
        let bare = bare.strip_prefix('(').unwrap_or(bare);
        if bare == item {
            return item.to_owned();
        }
        item = bare;
    }
}

/// Around an item, these are no part of it.
const MARKS: [char; 10] = [';', ',', '.', '`', '"', '«', '»', ':', '…', '\u{feff}'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_come_out_clean() {
        for (text, items) in [
            ("- milk\n- Bread;\n\n* milk\n3. eggs.", &["milk", "Bread", "eggs"][..]),
            ("Список:\n1) хлеб\n2) молоко\n2) Хлеб", &["хлеб", "молоко"]),
            ("1) one 2) two 3) three", &["one", "two", "three"]),
            ("Купить: молоко, хлеб и сыр", &["молоко", "хлеб", "сыр"]),
            ("[ ] **позвонить** маме\n[x] -5 градусов", &["позвонить маме", "-5 градусов"]),
            ("a; b;; c", &["a", "b", "c"]),
            ("a) раз\nб) два", &["раз", "два"]),
            ("\n \n", &[]),
        ] {
            assert_eq!(normalize(text, 5), items, "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_comes_out_is_always_well_formed(text in "([-*•.;:,\\[\\] )\\n]|[0-9]|[а-яa-z]{1,5}){0,40}", most in 1usize..7) {
            let items = normalize(&text, most);
            proptest::prop_assert!(items.len() <= most);
            for item in &items {
                proptest::prop_assert!(has_words(item) && bullet(item).is_none() && item.trim() == item && !item.contains('\n'), "{:?}", item);
                proptest::prop_assert_eq!(items.iter().filter(|other| fold(other) == fold(item)).count(), 1);
            }
        }
    }
}
