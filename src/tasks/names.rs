//! Names of people: given names that are known, patronymics and surnames by their endings, capital letters where
//! something around them says that a person is meant.

use std::ops::Range;

use super::words::{Word, begins_sentence, gap, joined};

/// Stems of Russian given names, short forms too; [`ENDINGS`] may follow.
const RUSSIAN: &[&str] = &[
    "александр",
    "алексе",
    "алекс",
    "лех",
    "леш",
    "анатоли",
    "андре",
    "антон",
    "аркади",
    "арсени",
    "артем",
    "богдан",
    "борис",
    "вадим",
    "валентин",
    "валери",
    "васили",
    "вас",
    "виктор",
    "вит",
    "витали",
    "владимир",
    "вов",
    "владислав",
    "влад",
    "вячеслав",
    "слав",
    "геннади",
    "ген",
    "георги",
    "герман",
    "глеб",
    "григори",
    "гриш",
    "данил",
    "денис",
    "дмитри",
    "дим",
    "евгени",
    "жен",
    "егор",
    "захар",
    "иван",
    "ван",
    "игор",
    "илья",
    "иль",
    "кирилл",
    "константин",
    "кост",
    "леонид",
    "лен",
    "макар",
    "максим",
    "макс",
    "матве",
    "михаил",
    "миш",
    "никит",
    "никола",
    "кол",
    "олег",
    "павел",
    "павл",
    "паш",
    "петр",
    "пет",
    "роман",
    "ром",
    "руслан",
    "савели",
    "семен",
    "серге",
    "сереж",
    "серег",
    "станислав",
    "стас",
    "степан",
    "тимофе",
    "тимур",
    "федор",
    "фед",
    "эдуард",
    "юри",
    "юр",
    "ярослав",
    "ален",
    "алис",
    "алл",
    "анастаси",
    "наст",
    "ангелин",
    "анн",
    "ан",
    "валенти",
    "варвар",
    "вер",
    "вероник",
    "виктори",
    "вик",
    "галин",
    "гал",
    "дарь",
    "даш",
    "екатерин",
    "кат",
    "елен",
    "елизавет",
    "лиз",
    "инн",
    "ирин",
    "ир",
    "карин",
    "кристин",
    "ксени",
    "ларис",
    "лид",
    "лиди",
    "людмил",
    "люд",
    "маргарит",
    "рит",
    "марин",
    "мари",
    "маш",
    "надежд",
];
const RUSSIAN_MORE: &[&str] = &[
    "над",
    "натали",
    "наталь",
    "наташ",
    "нин",
    "оксан",
    "ольг",
    "ол",
    "полин",
    "светлан",
    "свет",
    "соф",
    "софи",
    "софь",
    "сон",
    "тамар",
    "татьян",
    "тан",
    "ульян",
    "эл",
    "эльвир",
    "юли",
    "юл",
    "яна",
    "ян",
    "саш",
    "шур",
    "тол",
    "мих",
    "рустам",
    "айгул",
];
const ENDINGS: &[&str] = &[
    "", "а", "я", "ы", "и", "е", "у", "ю", "ой", "ей", "ою", "ею", "ом", "ем", "ь", "й", "ам", "ами", "ии",
    "ию", "ин",
];
/// Stems so short that a stem alone, or any ending, would be another word.
const SHORT_STEMS: &[&str] =
    &["ир", "ол", "ан", "ян", "эл", "юр", "юл", "ген", "вас", "вит", "вер", "свет", "кол", "кат"];
const ENGLISH: &[&str] = &[
    "aaron",
    "adam",
    "alan",
    "albert",
    "alex",
    "alexander",
    "alice",
    "amanda",
    "amy",
    "andrea",
    "andrew",
    "angela",
    "ann",
    "anna",
    "anne",
    "anthony",
    "arthur",
    "ashley",
    "barbara",
    "ben",
    "benjamin",
    "betty",
    "bob",
    "brandon",
    "brian",
    "bruce",
    "carl",
    "carol",
    "caroline",
    "catherine",
    "charles",
    "charlie",
    "charlotte",
    "chloe",
    "chris",
    "christina",
    "christopher",
    "claire",
    "dan",
    "daniel",
    "dave",
    "david",
    "deborah",
    "dennis",
    "diana",
    "donald",
    "donna",
    "dorothy",
    "doug",
    "ed",
    "edward",
    "eleanor",
    "elena",
    "elizabeth",
    "ella",
    "emily",
    "emma",
    "eric",
    "ethan",
    "eva",
    "evelyn",
    "fiona",
    "frank",
    "fred",
    "gary",
    "george",
    "greg",
    "hannah",
    "harry",
    "heather",
    "helen",
    "henry",
    "ian",
    "isabella",
    "ivan",
    "jack",
    "jacob",
    "james",
    "jane",
    "jason",
    "jeff",
    "jennifer",
    "jenny",
    "jeremy",
    "jessica",
    "jim",
    "joan",
    "joe",
    "john",
    "jonathan",
    "jordan",
    "joseph",
    "josh",
    "joshua",
    "juan",
    "julia",
    "julie",
    "justin",
    "karen",
    "kate",
    "katherine",
    "katie",
    "keith",
    "kelly",
    "ken",
    "kevin",
    "kim",
    "kyle",
    "larry",
    "laura",
    "lauren",
    "leo",
    "linda",
    "lisa",
    "liz",
    "louis",
    "lucas",
    "lucy",
    "maria",
    "marie",
    "martin",
    "mary",
    "matt",
    "matthew",
    "megan",
    "melissa",
    "michael",
    "michelle",
    "mike",
    "nancy",
    "natalie",
    "nathan",
    "nick",
    "nicole",
    "noah",
    "olga",
    "olivia",
    "oliver",
    "oscar",
    "pamela",
    "patricia",
    "patrick",
    "paul",
    "peter",
    "phil",
    "priya",
    "rachel",
    "rebecca",
    "richard",
    "robert",
    "ryan",
    "sam",
    "samantha",
    "sandra",
    "sara",
    "sarah",
    "scott",
    "sean",
    "sophia",
    "sophie",
    "stephen",
    "steve",
    "susan",
];
const ENGLISH_MORE: &[&str] = &[
    "neil",
    "simon",
    "walter",
    "roger",
    "philip",
    "ronald",
    "raymond",
    "edwin",
    "harold",
    "douglas",
    "gerald",
    "ralph",
    "judith",
    "marilyn",
    "theresa",
    "judy",
    "irene",
    "alexandra",
    "ruth",
    "rita",
    "nina",
    "ingrid",
    "marco",
    "antonio",
    "miguel",
    "diego",
    "ahmad",
    "omar",
    "hassan",
    "ravi",
    "anil",
    "chen",
    "hiroshi",
    "sven",
    "lars",
    "erik",
    "felix",
    "hugo",
    "clara",
    "naomi",
    "thomas",
    "tim",
    "timothy",
    "tom",
    "tony",
    "tyler",
    "victor",
    "victoria",
    "vincent",
    "wei",
    "william",
    "yuki",
    "zoe",
    "mohammed",
    "ahmed",
    "fatima",
    "carlos",
    "pedro",
    "luis",
    "hans",
    "pierre",
    "raj",
    "ali",
    "dmitry",
];
/// Names that are words, too: only in the middle of a sentence, or with a surname.
const ALSO_WORDS: &[&str] = &[
    "mark",
    "will",
    "bill",
    "rose",
    "grace",
    "hope",
    "faith",
    "joy",
    "max",
    "rob",
    "любовь",
    "вера",
    "надежда",
    "лев",
];

/// A capital word behind one of these is a person.
const CUES: &[&str] = &[
    "mr",
    "mrs",
    "ms",
    "miss",
    "dr",
    "prof",
    "professor",
    "doctor",
    "sir",
    "madam",
    "call",
    "ask",
    "tell",
    "email",
    "emailed",
    "called",
    "asked",
    "told",
    "met",
    "meet",
    "meeting",
    "dear",
    "named",
    "colleague",
    "friend",
    "brother",
    "sister",
    "manager",
    "from",
    "by",
    "author",
    "with",
    "г-н",
    "господин",
    "господину",
    "госпожа",
    "доктор",
    "доктору",
    "профессор",
    "профессора",
    "зовут",
    "позвони",
    "позвонить",
    "напиши",
    "написать",
    "спроси",
    "спросить",
    "скажи",
    "передай",
    "коллега",
    "коллеге",
    "директор",
    "менеджер",
    "менеджеру",
    "бухгалтер",
    "друг",
    "подруга",
    "брат",
    "сестра",
    "автор",
    "от",
    "товарищ",
    "дядя",
    "тетя",
    "инженер",
    "врач",
];
/// A capital word behind one of these is a place, a firm or a thing.
const NOT_CUES: &[&str] = &[
    "in",
    "at",
    "to",
    "near",
    "city",
    "company",
    "inc",
    "project",
    "street",
    "university",
    "hotel",
    "bank",
    "brand",
    "app",
    "the",
    "в",
    "во",
    "на",
    "из",
    "под",
    "город",
    "городе",
    "города",
    "улица",
    "улице",
    "компания",
    "компании",
    "компанию",
    "фирма",
    "фирмы",
    "проект",
    "проекта",
    "проекту",
    "проекте",
    "завод",
    "банк",
    "банке",
    "ооо",
    "бренд",
    "ресторан",
];
/// Capitalised in the middle of a sentence and no person.
const NEVER: &[&str] = &[
    "i",
    "i'm",
    "english",
    "russian",
    "french",
    "german",
    "spanish",
    "chinese",
    "italian",
    "japanese",
    "python",
    "java",
    "rust",
    "linux",
    "windows",
    "google",
    "excel",
    "github",
    "docker",
    "kubernetes",
    "apple",
    "amazon",
    "microsoft",
    "openai",
    "ollama",
    "redis",
    "kafka",
    "postgres",
    "telegram",
    "slack",
    "zoom",
    "jira",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
    "христос",
    "бог",
    "яндекс",
    "сбербанк",
    "москва",
    "москвы",
    "москву",
    "москве",
    "россия",
    "россии",
    "европа",
];
/// Patronymics with their cases.
const PATRONYMICS: &[&str] = &[
    "ович",
    "овича",
    "овичу",
    "овичем",
    "евич",
    "евича",
    "евичу",
    "евичем",
    "овна",
    "овны",
    "овне",
    "овной",
    "евна",
    "евны",
    "евне",
    "евной",
    "ильич",
];
const SURNAMES: &[&str] = &[
    "ов",
    "ова",
    "ову",
    "овым",
    "ове",
    "овой",
    "ев",
    "ева",
    "еву",
    "евым",
    "еве",
    "евой",
    "ин",
    "ина",
    "ину",
    "иным",
    "ине",
    "иной",
    "ский",
    "ского",
    "скому",
    "ским",
    "ская",
    "ской",
    "скую",
    "цкий",
    "цкого",
    "цкому",
    "цкая",
    "цкой",
    "енко",
    "чук",
    "чука",
    "чуку",
    "чуком",
    "ко",
    "ых",
    "их",
    "юк",
    "юка",
    "юку",
    "дзе",
    "швили",
    "ян",
    "яна",
    "яну",
    "ер",
    "овы",
    "ина",
];

/// The names of people in a text, each once, as they stand there.
pub(super) fn names(text: &str, words: &[Word<'_>], taken: &[Range<usize>]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let free = |n: usize| words.get(n).is_some_and(|w| !taken.iter().any(|t| t.contains(&w.at.start)));
        if !free(at) || !(is_candidate(&words[at]) || is_initial(text, words, at)) {
            at += 1;
            continue;
        }
        let mut end = at + 1;
        while free(end) && is_part(text, words, end) {
            end += 1;
        }
        // "Ask Maria", "Позвони Ивану": the sentence's first word is no part of the name.
        let first = begins_sentence(text, words, at);
        if first
            && end - at > 1
            && !is_known(&words[at])
            && !is_patronymic(&words[at + 1])
            && is_person_after(text, words, at, end)
        {
            at += 1;
            continue;
        }
        if is_person(text, words, at..end) {
            let mut to = words[end - 1].at.end;
            let initials = text[to..].starts_with('.') && words[end - 1].text.chars().count() == 1;
            to += usize::from(initials);
            let name = text[words[at].at.start..to].to_owned();
            if !found.contains(&name) {
                found.push(name);
            }
        }
        at = end;
    }
    found
}

fn is_candidate(word: &Word<'_>) -> bool {
    let mut chars = word.text.chars();
    let capital = chars.next().is_some_and(char::is_uppercase);
    let rest_small = chars.clone().next().is_some() && chars.all(char::is_lowercase);
    let initial =
        word.text.chars().count() == 1 && !word.is(&["i", "a", "в", "с", "к", "о", "и", "я", "у", "а"]);
    capital && (rest_small || initial) && !NEVER.contains(&word.low.as_str())
}

/// "А. С. Пушкин": a letter with a full stop, and a capital behind it.
fn is_initial(text: &str, words: &[Word<'_>], at: usize) -> bool {
    let letter = words.get(at).is_some_and(|word| word.is_capital() && word.text.chars().count() == 1);
    let capital = words.get(at + 1).is_some_and(Word::is_capital);
    letter && capital && matches!(gap(text, words, at), "." | ". ")
}

/// The word goes on with the name before it: a surname, a patronymic, an initial, the other half of a double name.
fn is_part(text: &str, words: &[Word<'_>], at: usize) -> bool {
    let before = at - 1;
    let mark = gap(text, words, before);
    let initial = words[before].text.chars().count() == 1;
    let near = joined(text, words, before) && !mark.is_empty()
        || mark == "-"
        || mark == "'"
        || (initial && (mark == "." || mark == ". "));
    let Some(word) = words.get(at) else { return false };
    let letter = word.text.chars().count() == 1 && word.is_capital() && gap(text, words, at).starts_with('.');
    near && (is_candidate(word) || letter) && (words[before].text.is_ascii() == word.text.is_ascii())
}

fn is_known(word: &Word<'_>) -> bool {
    let low = word.low.as_str();
    if ENGLISH.contains(&low) || ENGLISH_MORE.contains(&low) || ALSO_WORDS.contains(&low) {
        return true;
    }
    RUSSIAN.iter().chain(RUSSIAN_MORE).any(|stem| {
        let Some(rest) = low.strip_prefix(stem) else { return false };
        let short = SHORT_STEMS.contains(stem);
        ENDINGS.contains(&rest)
            && (!short || matches!(rest, "а" | "я" | "е" | "ы" | "и" | "у" | "ю" | "ой" | "ей"))
    })
}

fn is_patronymic(word: &Word<'_>) -> bool {
    word.text.chars().count() >= 6 && PATRONYMICS.iter().any(|end| word.low.ends_with(end))
}

fn is_surname(word: &Word<'_>) -> bool {
    word.text.chars().count() >= 5 && SURNAMES.iter().any(|end| word.low.ends_with(end))
}

/// What follows the first word is a person by itself.
fn is_person_after(text: &str, words: &[Word<'_>], at: usize, end: usize) -> bool {
    CUES.contains(&words[at].low.as_str()) || is_person(text, words, at + 1..end) && is_known(&words[at + 1])
}

fn is_person(text: &str, words: &[Word<'_>], span: Range<usize>) -> bool {
    let Some(parts) = words.get(span.clone()) else { return false };
    let Some(first) = parts.first() else { return false };
    let begins = begins_sentence(text, words, span.start);
    let several = parts.len() > 1;
    let before = span.start.checked_sub(1).and_then(|b| words.get(b)).map(|w| w.low.as_str()).unwrap_or("");
    // "г-н" is cut into two.
    let cue =
        CUES.contains(&before) || (before == "н" && span.start >= 2 && words[span.start - 2].low == "г");
    if parts.iter().all(|part| part.text.chars().count() == 1)
        || NOT_CUES.contains(&first.low.as_str()) && begins
    {
        return false;
    }
    if parts.iter().any(is_patronymic) {
        return true;
    }
    if NOT_CUES.contains(&before) && !(several && is_known(first)) && !(before == "to" && is_known(first)) {
        return false;
    }
    if parts.iter().any(is_known) {
        return several || !begins || !ALSO_WORDS.contains(&first.low.as_str());
    }
    if parts.iter().any(|part| part.text.chars().count() == 1) && several {
        return true;
    }
    !begins && (cue || (is_surname(first) && !first.text.is_ascii()))
}

#[cfg(test)]
mod tests {
    use super::super::words::words;
    use super::*;

    fn found(text: &str) -> Vec<String> {
        names(text, &words(text), &[])
    }

    #[test]
    fn people_are_found_in_every_case() {
        for (text, names) in [
            ("Позвони Ивану Петрову завтра", &["Ивану Петрову"][..]),
            ("Встреча с Анной Сергеевной Ивановой и Олегом", &["Анной Сергеевной Ивановой", "Олегом"]),
            ("отправь отчёт Смирнову", &["Смирнову"]),
            ("Ask Maria and John Smith about it", &["Maria", "John Smith"]),
            ("Dr. House is here, call Zbigniew", &["House", "Zbigniew"]),
            ("роман А. С. Пушкина", &["А. С. Пушкина"]),
        ] {
            assert_eq!(found(text), names, "{text}");
        }
    }

    #[test]
    fn what_is_written_large_is_not_always_a_person() {
        for text in [
            "Купи молоко в Москве",
            "Deploy Docker on Monday",
            "I will mark it",
            "Компания Ромашка растёт",
            "Напиши письмо",
            "Привет, как дела",
        ] {
            assert_eq!(found(text), Vec::<String>::new(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_it(text in "([A-ZА-Я]|[a-zа-я]{1,4}|Иван|Ask|[-. ']){0,14}") {
            found(&text);
        }
    }
}
