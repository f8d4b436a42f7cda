//! Dates as people write them, in Russian and English: absolute, relative, weekdays, quarters.

use std::ops::Range;

use jiff::civil::Date;

use super::words::{Word, gap, joined};

/// A date in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Its bytes.
    pub(super) at: Range<usize>,
    /// Its words.
    words: Range<usize>,
    /// The day, if day, month and year are told and mean one day only.
    pub(super) day: Option<Date>,
}

impl Found {
    /// The word of that index is part of it.
    pub(super) fn holds(&self, word: usize) -> bool {
        self.words.contains(&word)
    }
}

const MONTHS_EN: [(&str, &str); 12] = [
    ("january", "jan"),
    ("february", "feb"),
    ("march", "mar"),
    ("april", "apr"),
    ("may", "may"),
    ("june", "jun"),
    ("july", "jul"),
    ("august", "aug"),
    ("september", "sep"),
    ("october", "oct"),
    ("november", "nov"),
    ("december", "dec"),
];
const MONTHS_RU: [&[&str]; 12] = [
    &["январь", "января", "январе", "январю", "янв"],
    &["февраль", "февраля", "феврале", "февралю", "фев"],
    &["март", "марта", "марте", "марту", "мар"],
    &["апрель", "апреля", "апреле", "апрелю", "апр"],
    &["май", "мая", "мае", "маю"],
    &["июнь", "июня", "июне", "июню", "июн"],
    &["июль", "июля", "июле", "июлю", "июл"],
    &["август", "августа", "августе", "августу", "авг"],
    &["сентябрь", "сентября", "сентябре", "сентябрю", "сен", "сент"],
    &["октябрь", "октября", "октябре", "октябрю", "окт"],
    &["ноябрь", "ноября", "ноябре", "ноябрю", "ноя", "нояб"],
    &["декабрь", "декабря", "декабре", "декабрю", "дек"],
];
const WEEKDAYS: &[&str] = &[
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "mondays",
    "fridays",
    "понедельник",
    "понедельника",
    "понедельнику",
    "понедельникам",
    "вторник",
    "вторника",
    "вторнику",
    "вторникам",
    "среду",
    "среды",
    "среде",
    "средам",
    "четверг",
    "четверга",
    "четвергу",
    "четвергам",
    "пятница",
    "пятницу",
    "пятницы",
    "пятнице",
    "пятницам",
    "суббота",
    "субботу",
    "субботы",
    "субботе",
    "субботам",
    "воскресенье",
    "воскресенья",
    "воскресенью",
    "воскресеньям",
    "tuesdays",
    "saturdays",
    "sundays",
];
const RELATIVE: &[&str] = &[
    "today",
    "tomorrow",
    "yesterday",
    "tonight",
    "сегодня",
    "завтра",
    "послезавтра",
    "вчера",
    "позавчера",
    "сегодняшний",
];
const UNITS: &[&str] = &[
    "day",
    "days",
    "week",
    "weeks",
    "month",
    "months",
    "year",
    "years",
    "quarter",
    "weekend",
    "день",
    "дня",
    "дней",
    "сутки",
    "суток",
    "неделя",
    "неделю",
    "недели",
    "неделе",
    "недель",
    "неделей",
    "месяц",
    "месяца",
    "месяце",
    "месяцев",
    "месяцу",
    "год",
    "года",
    "году",
    "лет",
    "квартал",
    "квартала",
    "квартале",
    "выходные",
    "выходных",
    "годом",
    "кварталу",
    "выходным",
];
const NUMERALS: &[&str] = &[
    "a",
    "an",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "few",
    "couple",
    "один",
    "одну",
    "два",
    "две",
    "три",
    "четыре",
    "пять",
    "шесть",
    "семь",
    "восемь",
    "девять",
    "десять",
    "пару",
    "несколько",
    "полтора",
    "полторы",
    "двух",
    "трех",
    "четырех",
    "пяти",
    "шести",
    "twelve",
    "двенадцать",
    "пол",
];
/// The first ten days, as they are said.
const ORDINALS: [(&str, &str, &str); 10] = [
    ("first", "первого", "первое"),
    ("second", "второго", "второе"),
    ("third", "третьего", "третье"),
    ("fourth", "четвертого", "четвертое"),
    ("fifth", "пятого", "пятое"),
    ("sixth", "шестого", "шестое"),
    ("seventh", "седьмого", "седьмое"),
    ("eighth", "восьмого", "восьмое"),
    ("ninth", "девятого", "девятое"),
    ("tenth", "десятого", "десятое"),
];

/// A date being read: the word behind its last one, and what is known of the day.
#[derive(Debug, Clone, Copy, Default)]
struct Read {
    end: usize,
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
}

/// The dates of a text, in its order; none overlap.
pub(super) fn dates(text: &str, words: &[Word<'_>]) -> Vec<Found> {
    let line = Line { text, words };
    let mut found: Vec<Found> = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let best =
            line.readings(at).into_iter().flatten().max_by_key(|read| read.end).filter(|read| read.end > at);
        let Some(read) = best else {
            at += 1;
            continue;
        };
        let day = read.year.zip(read.month).zip(read.day).and_then(|((y, m), d)| {
            Date::new(i16::try_from(y).ok()?, i8::try_from(m).ok()?, i8::try_from(d).ok()?).ok()
        });
        let from = words.get(at).map_or(0, |word| word.at.start);
        let mut to = words.get(read.end - 1).map_or(from, |word| word.at.end);
        // "15 марта 2024 г."
        if words.get(read.end - 1).is_some_and(|w| w.low == "г") && text[to..].starts_with('.') {
            to += 1;
        }
        found.push(Found { at: from..to, words: at..read.end, day });
        at = read.end;
    }
    found
}

#[derive(Clone, Copy)]
struct Line<'a, 't> {
    text: &'t str,
    words: &'a [Word<'t>],
}

impl Line<'_, '_> {
    fn readings(self, at: usize) -> [Option<Read>; 9] {
        [
            self.numeric(at),
            self.day_month(at),
            self.month_day(at),
            self.month_alone(at),
            self.weekday(at),
            self.relative(at),
            self.distance(at),
            self.period(at),
            self.year_alone(at),
        ]
    }

    fn is(self, at: usize, any: &[&str]) -> bool {
        self.words.get(at).is_some_and(|word| word.is(any))
    }

    fn begins(self, at: usize, any: &[&str]) -> bool {
        self.words.get(at).is_some_and(|word| word.begins(any))
    }

    fn before(self, at: usize, any: &[&str]) -> bool {
        at.checked_sub(1).is_some_and(|before| self.is(before, any) && joined(self.text, self.words, before))
    }

    fn joined(self, after: usize) -> bool {
        joined(self.text, self.words, after)
    }

    fn number(self, at: usize, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
        self.words.get(at)?.number().filter(|n| range.contains(n))
    }

    /// The month that a word names.
    fn month(self, at: usize) -> Option<i64> {
        let word = self.words.get(at)?;
        let english = MONTHS_EN.iter().position(|(long, short)| {
            word.low == *long
                || (word.is_capital() && (word.low == *short || (word.low == "sept" && *short == "sep")))
        });
        let found = english.or_else(|| MONTHS_RU.iter().position(|forms| forms.contains(&word.low.as_str())));
        found.and_then(|month| i64::try_from(month + 1).ok())
    }

    /// A year and its word, behind the date so far.
    fn with_year(self, mut read: Read) -> Read {
        let after = read.end;
        let parted =
            matches!(gap(self.text, self.words, after - 1), ", " | " " | "\u{a0}" | ". " | "'" | " '");
        if parted
            && let Some(year) = self.number(after, 1000..=2999).filter(|_| self.words[after].text.len() == 4)
        {
            (read.year, read.end) = (Some(year), after + 1);
            if self.joined(after) && self.is(after + 1, &["года", "год", "году", "г"]) {
                read.end += 1;
            }
        } else if self.joined(after - 1)
            && self.is(after, &["этого", "следующего", "прошлого"])
            && self.is(after + 1, &["года"])
        {
            read.end += 2;
        }
        read
    }

    /// 2024-03-15, 15.03.2024, 3/15/24
    fn numeric(self, at: usize) -> Option<Read> {
        let first = self.words.get(at)?;
        let mark = gap(self.text, self.words, at);
        let glued = at
            .checked_sub(1)
            .is_some_and(|before| matches!(gap(self.text, self.words, before), "." | "/" | "-" | ""));
        if !first.digits || glued || !matches!(mark, "-" | "." | "/") {
            return None;
        }
        let second = self.number(at + 1, 1..=31).filter(|_| self.words[at + 1].text.len() <= 2)?;
        let third = self.words.get(at + 2).filter(|w| w.digits && gap(self.text, self.words, at + 1) == mark);
        let one = first.number()?;
        match third {
            Some(third) if first.text.len() == 4 && third.text.len() <= 2 => {
                let day = self.number(at + 2, 1..=31)?;
                (second <= 12).then_some(Read {
                    end: at + 3,
                    year: Some(one),
                    month: Some(second),
                    day: Some(day),
                })
            }
            Some(third)
                if first.text.len() <= 2 && matches!(third.text.len(), 2 | 4) && (1..=31).contains(&one) =>
            {
                let year = third.number().map(|y| if third.text.len() == 2 { 2000 + y } else { y });
                let sure = mark == "." || one > 12 || one == second;
                let (month, day) = match (second > 12, sure) {
                    (true, _) => (Some(one), Some(second)),
                    (false, true) => (Some(second), Some(one)),
                    // Americans and Britons mean two days by it.
                    (false, false) => (None, None),
                };
                Some(Read { end: at + 3, year, month, day }).filter(|r| r.month.is_none_or(|m| m <= 12))
            }
            None if mark != "-"
                && first.text.len() <= 2
                && self.words[at + 1].text.len() == 2
                && second <= 12 =>
            {
                let told = self.before(at, &["до", "к", "с", "на", "от", "по", "by", "on", "дата"]);
                let counted = self.joined(at + 1)
                    && self.begins(at + 2, &["руб", "процент", "кг", "км", "usd", "eur", "percent", "балл"]);
                ((1..=31).contains(&one) && told && !counted).then_some(Read {
                    end: at + 2,
                    month: Some(second),
                    day: Some(one),
                    ..Read::default()
                })
            }
            _ => None,
        }
    }

    /// 15 марта, 15-го марта 2024 года, 5-7 May, the 3rd of June, пятого мая
    fn day_month(self, at: usize) -> Option<Read> {
        let spoken = |word: &str| {
            ORDINALS.iter().position(|(en, ru, that)| word == *en || word == *ru || word == *that)
        };
        let word = self.words.get(at)?;
        let day = match self.number(at, 1..=31) {
            Some(day) => day,
            None => i64::try_from(spoken(&word.low)? + 1).ok()?,
        };
        let mark = gap(self.text, self.words, at);
        let mut next = at + 1;
        let ending =
            matches!(mark, "" | "-") && self.is(next, &["st", "nd", "rd", "th", "го", "е", "ое", "ого"]);
        let until = matches!(mark, "-" | "–" | "—") && self.number(next, 1..=31).is_some();
        if ending || until {
            next += 1;
        }
        if self.is(next, &["of"]) {
            next += 1;
        }
        let near = matches!(gap(self.text, self.words, next - 1), " " | "\u{a0}" | "-");
        let month = self.month(next).filter(|_| near)?;
        Some(self.with_year(Read { end: next + 1, year: None, month: Some(month), day: Some(day) }))
    }

    /// March 15th, 2024
    fn month_day(self, at: usize) -> Option<Read> {
        let month =
            self.month(at).filter(|_| self.words[at].text.is_ascii() && self.words[at].is_capital())?;
        let near = matches!(gap(self.text, self.words, at), " " | ". " | "\u{a0}");
        let day = self.number(at + 1, 1..=31).filter(|_| near && self.words[at + 1].text.len() <= 2)?;
        let mut end = at + 2;
        if gap(self.text, self.words, at + 1).is_empty() && self.is(end, &["st", "nd", "rd", "th"]) {
            end += 1;
        }
        Some(self.with_year(Read { end, year: None, month: Some(month), day: Some(day) }))
    }

    /// в марте, March 2024, the end of May, начало июня
    fn month_alone(self, at: usize) -> Option<Read> {
        let month = self.month(at)?;
        let word = &self.words[at];
        let read = self.with_year(Read { end: at + 1, year: None, month: Some(month), day: None });
        let english = word.text.is_ascii();
        let told = self.before(
            at,
            &[
                "in", "by", "of", "since", "until", "till", "last", "next", "this", "from", "during",
                "before", "after", "early", "late", "mid",
            ],
        );
        let a_name = matches!(word.low.as_str(), "may" | "march" | "mar" | "june" | "april" | "august");
        let short = word.text.chars().count() <= 3
            && word.low != "май"
            && word.low != "мая"
            && word.low != "мае"
            && word.low != "may";
        let holds = match (english, read.end > at + 1) {
            (_, true) => true,
            (true, false) => word.is_capital() && !short && (told || !a_name),
            (false, false) => !short && word.low != "мар",
        };
        holds.then_some(read)
    }

    /// on Monday, next friday, во вторник
    fn weekday(self, at: usize) -> Option<Read> {
        const WHICH_RU: &[&str] = &["следующ", "прошл", "эт", "ближайш", "будущ", "минувш"];
        let which = self.is(at, &["next", "last", "this", "coming"]) || self.begins(at, WHICH_RU);
        let day = if which { at + 1 } else { at };
        if !self.is(day, WEEKDAYS) || (which && !self.joined(at)) {
            return None;
        }
        // "environment, means" are среда, too: only with a word that dates it.
        let environment = self.begins(day, &["сред"]);
        let dated =
            which || self.before(day, &["в", "во", "на", "к", "до", "со", "с"]) || self.is(day, &["средам"]);
        (!environment || dated).then_some(Read { end: day + 1, ..Read::default() })
    }

    fn relative(self, at: usize) -> Option<Read> {
        let end = |end| Some(Read { end, ..Read::default() });
        if self.is(at, &["day"])
            && self.is(at + 1, &["after", "before"])
            && self.is(at + 2, &["tomorrow", "yesterday"])
        {
            return end(at + 3);
        }
        if self.is(at, RELATIVE) {
            return end(at + 1);
        }
        None
    }

    /// in two weeks, 3 days ago, через неделю, 5 лет назад
    fn distance(self, at: usize) -> Option<Read> {
        let unit = |from: usize| -> Option<usize> {
            let counted = self.words.get(from).is_some_and(|w| w.digits && w.text.len() <= 3)
                || self.is(from, NUMERALS);
            let from = if counted { from + 1 } else { from };
            let from = if self.is(from, &["of"]) { from + 1 } else { from };
            self.is(from, UNITS).then_some((from + 1, counted)).map(|(end, _)| end)
        };
        let end = |end| Some(Read { end, ..Read::default() });
        if self.is(at, &["in", "within"]) {
            let of_number = self.words.get(at + 1).is_some_and(|w| w.digits) || self.is(at + 1, NUMERALS);
            return unit(at + 1).filter(|_| of_number).and_then(end);
        }
        if self.is(at, &["через", "спустя"]) {
            return unit(at + 1).and_then(end);
        }
        unit(at).filter(|next| self.is(*next, &["ago", "назад"])).and_then(|next| end(next + 1))
    }

    /// next week, на прошлой неделе, в этом году, конец месяца, Q3 2024, первый квартал
    fn period(self, at: usize) -> Option<Read> {
        let end = |end| Some(Read { end, ..Read::default() });
        let with_year = |from: usize| {
            let read = self.with_year(Read { end: from, ..Read::default() });
            Some(Read { year: None, ..read })
        };
        if self.is(at, &["q"])
            && gap(self.text, self.words, at).is_empty()
            && self.number(at + 1, 1..=4).is_some()
        {
            return with_year(at + 2);
        }
        let of_russian = self.begins(
            at,
            &[
                "следующ",
                "прошл",
                "этой",
                "этом",
                "этот",
                "эту",
                "эти",
                "этих",
                "текущ",
                "ближайш",
                "будущ",
                "минувш",
                "нынешн",
            ],
        );
        if (of_russian || self.is(at, &["next", "last", "this", "current", "coming"]))
            && self.joined(at)
            && self.is(at + 1, UNITS)
        {
            return end(at + 2);
        }
        let ends = self.begins(at, &["конц", "конец", "начал", "середин"]);
        if ends && self.joined(at) {
            let this = usize::from(self.begins(at + 1, &["этого", "следующ", "текущ", "этой"]));
            if self.is(at + 1 + this, &["месяца", "года", "недели", "квартала"])
                || self.month(at + 1).is_some()
            {
                return with_year(at + 2 + this);
            }
        }
        if self.is(at, &["end", "beginning", "start", "middle"]) && self.is(at + 1, &["of"]) {
            let the = usize::from(self.is(at + 2, &["the", "this", "next"]));
            if self.is(at + 2 + the, &["month", "year", "week", "quarter"]) || self.month(at + 2).is_some() {
                return with_year(at + 3 + the);
            }
        }
        let nth = self.number(at, 1..=4).is_some()
            || self.begins(at, &["перв", "втор", "трет", "четверт"])
            || self.is(at, &["i", "ii", "iii", "iv"]);
        (nth && self.is(at + 1, &["квартал", "квартала", "квартале"])).then(|| with_year(at + 2)).flatten()
    }

    /// в 1999 году, since 2010
    fn year_alone(self, at: usize) -> Option<Read> {
        let year = self.number(at, 1500..=2199).filter(|_| self.words[at].text.len() == 4)?;
        let russian = self.joined(at) && self.is(at + 1, &["год", "года", "году", "годом", "годах", "г"]);
        // "in 2010 cases" is a number; so is "2010 рублей".
        let counted = self.joined(at)
            && self.words.get(at + 1).is_some_and(|w| w.low.ends_with('s') && w.low.len() > 3);
        let told = self.before(
            at,
            &["in", "since", "by", "until", "before", "after", "during", "early", "late", "from"],
        );
        let end = at + 1 + usize::from(russian);
        (russian || (told && !counted)).then_some(Read { end, year: Some(year), ..Read::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::words::words;
    use super::*;

    fn found(text: &str) -> Vec<(&str, String)> {
        let day = |found: &Found| found.day.map_or(String::new(), |day| day.to_string());
        dates(text, &words(text)).iter().map(|f| (&text[f.at.clone()], day(f))).collect()
    }

    #[test]
    fn days_are_read_in_every_form() {
        for (text, date, day) in [
            ("due 2024-03-15, please", "2024-03-15", "2024-03-15"),
            ("сдать 15.03.2024 отчёт", "15.03.2024", "2024-03-15"),
            ("on 03/04/2024 we left", "03/04/2024", ""),
            ("до 15.03 всё", "15.03", ""),
            ("встреча 15 марта 2024 года в офисе", "15 марта 2024 года", "2024-03-15"),
            ("15-го марта", "15-го марта", ""),
            ("meet me on March 3rd, 2025 at noon", "March 3rd, 2025", "2025-03-03"),
            ("the 3rd of June 2021", "3rd of June 2021", "2021-06-03"),
            ("in two weeks we fly", "in two weeks", ""),
            ("три дня назад", "три дня назад", ""),
            ("через неделю", "через неделю", ""),
            ("во вторник собрание", "вторник", ""),
            ("на следующей неделе", "следующей неделе", ""),
            ("к концу месяца", "концу месяца", ""),
            ("отчёт за Q3 2024", "Q3 2024", ""),
            ("он родился в 1999 году", "1999 году", ""),
            ("завтра в 15:30", "завтра", ""),
        ] {
            assert_eq!(found(text), [(date, day.to_owned())], "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_one_is_none() {
        for text in [
            "version 3.11 of it",
            "may I march on",
            "10.5 процентов",
            "окружающая среда",
            "позвони 8-800-555",
            "in 2010 cases",
            "192.168.1.1",
        ] {
            assert_eq!(found(text), [], "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_it(text in "([0-9]{1,4}|[-./ ,]|марта|May|года|in|назад|days|th|конец|эт|Q){0,14}") {
            dates(&text, &words(&text));
        }
    }
}
