//! Numbers as people write them: digits with their groups and commas, words, thousands and millions.

use std::ops::Range;

use super::dates;
use super::words::{Word, gap, joined};
use crate::text::{Language, language};

/// A number in a text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    /// Its bytes, a word like "million" included.
    pub(super) at: Range<usize>,
    /// What it comes to.
    pub(super) value: f64,
}

const ENGLISH: [(&str, f64); 28] = [
    ("zero", 0.0),
    ("one", 1.0),
    ("two", 2.0),
    ("three", 3.0),
    ("four", 4.0),
    ("five", 5.0),
    ("six", 6.0),
    ("seven", 7.0),
    ("eight", 8.0),
    ("nine", 9.0),
    ("ten", 10.0),
    ("eleven", 11.0),
    ("twelve", 12.0),
    ("thirteen", 13.0),
    ("fourteen", 14.0),
    ("fifteen", 15.0),
    ("sixteen", 16.0),
    ("seventeen", 17.0),
    ("eighteen", 18.0),
    ("nineteen", 19.0),
    ("twenty", 20.0),
    ("thirty", 30.0),
    ("forty", 40.0),
    ("fifty", 50.0),
    ("sixty", 60.0),
    ("seventy", 70.0),
    ("eighty", 80.0),
    ("ninety", 90.0),
];
/// Nominative and genitive, which is what stands behind "до", "около", "больше".
const RUSSIAN: [(&[&str], f64); 37] = [
    (&["ноль"], 0.0),
    (&["два", "две", "двух", "двое"], 2.0),
    (&["три", "трех", "трое"], 3.0),
    (&["четыре", "четырех"], 4.0),
    (&["пять", "пяти"], 5.0),
    (&["шесть", "шести"], 6.0),
    (&["семь", "семи"], 7.0),
    (&["восемь", "восьми"], 8.0),
    (&["девять", "девяти"], 9.0),
    (&["десять", "десяти"], 10.0),
    (&["одиннадцать", "одиннадцати"], 11.0),
    (&["двенадцать", "двенадцати"], 12.0),
    (&["тринадцать", "тринадцати"], 13.0),
    (&["четырнадцать", "четырнадцати"], 14.0),
    (&["пятнадцать", "пятнадцати"], 15.0),
    (&["шестнадцать", "шестнадцати"], 16.0),
    (&["семнадцать", "семнадцати"], 17.0),
    (&["восемнадцать", "восемнадцати"], 18.0),
    (&["девятнадцать", "девятнадцати"], 19.0),
    (&["двадцать", "двадцати"], 20.0),
    (&["тридцать", "тридцати"], 30.0),
    (&["сорок", "сорока"], 40.0),
    (&["пятьдесят", "пятидесяти"], 50.0),
    (&["шестьдесят", "шестидесяти"], 60.0),
    (&["семьдесят", "семидесяти"], 70.0),
    (&["восемьдесят", "восьмидесяти"], 80.0),
    (&["девяносто"], 90.0),
    (&["сто", "ста"], 100.0),
    (&["двести", "двухсот"], 200.0),
    (&["триста", "трехсот"], 300.0),
    (&["четыреста", "четырехсот"], 400.0),
    (&["пятьсот", "пятисот"], 500.0),
    (&["шестьсот", "шестисот"], 600.0),
    (&["семьсот", "семисот"], 700.0),
    (&["восемьсот", "восьмисот"], 800.0),
    (&["девятьсот", "девятисот"], 900.0),
    (&["один", "одну", "одного", "одной"], 1.0),
];

/// The numbers of a text that are part of no date, time, version or name.
pub(super) fn numbers(text: &str, words: &[Word<'_>], dates: &[dates::Found]) -> Vec<Found> {
    let taken = |at: usize| dates.iter().any(|date| date.holds(at));
    let russian = language(text) == Language::Ru;
    let mut found = Vec::new();
    let mut at = 0;
    while at < words.len() {
        if taken(at) {
            at += 1;
            continue;
        }
        let read = if words[at].digits { written(text, words, at, russian) } else { spoken(text, words, at) };
        match read {
            Some((Some(number), end)) => {
                found.push(number);
                at = end;
            }
            Some((None, end)) => at = end,
            None => at += 1,
        }
    }
    found
}

/// Digits: the number, unless it is none, and the word behind it.
fn written(text: &str, words: &[Word<'_>], at: usize, russian: bool) -> Option<(Option<Found>, usize)> {
    let part = |n: usize| words.get(n).filter(|w| w.digits).map(|w| w.text);
    let between = |n: usize| gap(text, words, n);
    let mut digits = words[at].text.to_owned();
    let mut end = at + 1;
    // 1 250 000; 1,250,000. A group has three digits, the first one to three.
    let grouped =
        |mark: &str| matches!(mark, " " | "\u{a0}" | "\u{202f}") || (mark == "," && !russian) || mark == "'";
    while digits.len() < 15
        && words[at].text.len() <= 3
        && grouped(between(end - 1))
        && part(end).is_some_and(|p| p.len() == 3)
    {
        digits.push_str(part(end).unwrap_or(""));
        end += 1;
    }
    let point = between(end - 1) == "." || (between(end - 1) == "," && (russian || end == at + 1));
    let fraction = part(end).filter(|_| point);
    if let Some(fraction) = fraction {
        let continues = matches!(between(end), "." | ":") && part(end + 1).is_some();
        if continues {
            // 192.168.1.1, 3.11.2: no quantity.
            while matches!(between(end), "." | ":") && part(end + 1).is_some() {
                end += 1;
            }
            return Some((None, end + 1));
        }
        digits.push('.');
        digits.push_str(fraction);
        end += 1;
    }
    let mark = at.checked_sub(1).map_or("", between);
    let part_of_name =
        at > 0 && (mark.is_empty() || (mark == "-" && !words[at - 1].digits)) || mark.ends_with(['#', '№']);
    let clock = matches!(between(end - 1), ":") && part(end).is_some();
    let ordinal = matches!(between(end - 1), "" | "-")
        && words.get(end).is_some_and(|w| w.is(&["st", "nd", "rd", "th", "й", "я", "го", "ом", "ый", "ая"]));
    let listed = at.checked_sub(1).is_none_or(|b| between(b).contains('\n'))
        && text[words[end - 1].at.end..].starts_with([')'])
        || at.checked_sub(1).is_none_or(|b| between(b).contains('\n'))
            && text[words[end - 1].at.end..].starts_with(". ");
    if part_of_name || clock || ordinal || listed {
        let skipped = if clock { end + 1 } else { end };
        return Some((None, skipped));
    }
    let value: f64 = digits.parse().ok()?;
    let before = &text[..words[at].at.start];
    let below_zero =
        before.strip_suffix(['-', '−']).filter(|rest| rest.is_empty() || rest.ends_with([' ', '(']));
    let (from, sign) = below_zero.map_or((before.len(), 1.0), |rest| (rest.len(), -1.0));
    let mut to = words[end - 1].at.end;
    let mut value = sign * value;
    if let Some((times, width)) = scale(text, words, end - 1) {
        value *= times;
        to = words[end - 1 + width].at.end;
        end += width;
    }
    Some((Some(Found { at: from..to, value }), end))
}

/// "million" and its kin behind a number.
fn scale(text: &str, words: &[Word<'_>], last: usize) -> Option<(f64, usize)> {
    let next = words.get(last + 1)?;
    let glued = gap(text, words, last).is_empty();
    if !glued && !joined(text, words, last) {
        return None;
    }
    let times = if next.is(&["thousand", "тысяч", "тысячи", "тысяча", "тысячу", "тыс"])
        || (glued && next.is(&["k", "к"]))
    {
        1e3
    } else if next.begins(&["миллион", "million"]) || next.is(&["млн"]) || (glued && next.text == "M")
    {
        1e6
    } else if next.begins(&["миллиард", "billion"]) || next.is(&["млрд"]) {
        1e9
    } else {
        return None;
    };
    Some((times, 1))
}

/// Words: "двадцать пять", "three hundred and five", "полтора миллиона".
fn spoken(text: &str, words: &[Word<'_>], at: usize) -> Option<(Option<Found>, usize)> {
    let small = |word: &Word<'_>| {
        let english = ENGLISH.iter().find(|(name, _)| word.low == *name).map(|(_, value)| *value);
        english.or_else(|| RUSSIAN.iter().find(|(names, _)| word.is(names)).map(|(_, value)| *value))
    };
    let (mut total, mut part, mut last) = (0.0, 0.0, None::<usize>);
    let mut next = at;
    while let Some(word) = words.get(next) {
        let near = last.is_none_or(|l| joined(text, words, l) || gap(text, words, l) == "-");
        if !near {
            break;
        }
        if let Some(value) = small(word) {
            // "один два": two numbers.
            let fits = part == 0.0
                || (value < 10.0 && part % 10.0 == 0.0 && part >= 20.0)
                || (value < 100.0 && part % 100.0 == 0.0);
            if !fits {
                break;
            }
            part += value;
        } else if word.low == "hundred" && part > 0.0 {
            part *= 100.0;
        } else if word.low == "полтора" || word.low == "полторы" {
            part = 1.5;
        } else if word.is(&["and"])
            && last.is_some()
            && words.get(next + 1).is_some_and(|w| small(w).is_some())
            && part >= 100.0
        {
        } else if word.is(&["тысяча", "тысячу", "сотня", "сотню", "миллион", "миллиард"]) && last.is_none()
        {
            part = match word.low.as_str() {
                "миллион" => 1e6,
                "миллиард" => 1e9,
                "сотня" | "сотню" => 100.0,
                _ => 1000.0,
            };
        } else if let (Some(l), true) = (last, part > 0.0) {
            let Some((times, _)) = scale(text, words, l) else { break };
            total += part * times;
            part = 0.0;
        } else {
            break;
        }
        last = Some(next);
        next += 1;
    }
    let last = last?;
    // "one of them", "один из": no count. "one" alone seldom is.
    let alone = last == at && words[at].is(&["one", "один", "одну", "одного", "одной"]);
    let counted = words.get(at + 1).is_some_and(|w| {
        joined(text, words, at)
            && w.is(&["hour", "day", "week", "month", "year", "percent", "раз", "час", "процент", "рубль"])
    });
    if alone && !counted {
        return None;
    }
    Some((Some(Found { at: words[at].at.start..words[last].at.end, value: total + part }), last + 1))
}

#[cfg(test)]
mod tests {
    use super::super::words::words;
    use super::*;

    fn found(text: &str) -> Vec<(&str, f64)> {
        let words = words(text);
        numbers(text, &words, &dates::dates(text, &words))
            .iter()
            .map(|n| (&text[n.at.clone()], n.value))
            .collect()
    }

    #[test]
    fn numbers_are_read_in_every_form() {
        for (text, number, value) in [
            ("переведи 1 250 рублей Маше", "1 250", 1250.0),
            ("it costs $1,250.50 now", "1,250.50", 1250.5),
            ("рост на 3,5%", "3,5", 3.5),
            ("около 2,5 млн рублей", "2,5 млн", 2.5e6),
            ("we need 40k users", "40k", 40_000.0),
            ("температура -15 градусов", "-15", -15.0),
            ("двадцать пять человек", "двадцать пять", 25.0),
            ("three hundred and five seats", "three hundred and five", 305.0),
            ("сто двадцать тысяч", "сто двадцать тысяч", 120_000.0),
            ("twenty-one pilots", "twenty-one", 21.0),
            ("5 марта 300 гостей", "300", 300.0),
        ] {
            assert_eq!(found(text), [(number, value)], "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_none() {
        for text in [
            "ticket ABC-123",
            "at 15:30",
            "server 192.168.1.1",
            "on the 3rd try",
            "1) first",
            "один из нас",
            "15 марта 2024 года",
        ] {
            assert_eq!(found(text), [], "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_it(text in "([0-9]{1,4}|[-−.,: ]|млн|сто|two|hundred|and|k|тысяч|th){0,14}") {
            found(&text);
        }
    }
}
