"""What the stages share: brainstem's own folding, features and dev cut (through feat/), the labelled lines, and the
roughing up of text.

TEACH_DATA names the folder of public sets (docs/classifier.md lists them), TEACH_WORK the folder of intermediate files;
make.sh sets both. SMOKE=1 cuts every stage to a handful of steps, to see that it runs.
"""
import collections
import ctypes
import os
import random
import re
import tomllib
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ["TEACH_DATA"])
WORK = Path(os.environ.get("TEACH_WORK", ROOT / ".cache/teach"))
SMOKE = bool(os.environ.get("SMOKE"))
LABELS = ["greeting", "data_question", "coding", "reasoning", "general"]
ANSWERS = (
    "none greeting good-morning good-evening nice-to-meet-you holiday goodbye good-night thanks praise how-are-you "
    "who-are-you name are-you-a-bot who-made-you which-model models version status health upstream capabilities "
    "ask-away lets-chat how-it-works age where-from boss private-life time date").split()
NAMES = 32  # outputs of the answer heads; the last is spare
BUCKETS, GRAM_MIN, GRAM_MAX = 240_000, 2, 5


def steps(n):
    return 6 if SMOKE else n


# ---- brainstem's own code

_lib = ctypes.CDLL(str(next((WORK / "feat/release").glob("libfeat.[sd]*[oy]*"))))
_lib.fold.restype = _lib.bag.restype = _lib.cut.restype = ctypes.c_size_t
_lib.fold.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
_lib.bag.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint32, ctypes.c_size_t, ctypes.c_size_t,
                     ctypes.c_void_p, ctypes.c_void_p]
_lib.cut.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_float, ctypes.c_uint64, ctypes.c_char_p]
_ids, _shares = np.zeros(2048, np.uint32), np.zeros(2048, np.float32)


def fold(text):
    raw = text.encode("utf-8", "ignore")
    out = ctypes.create_string_buffer(len(raw) * 4 + 16)
    n = _lib.fold(raw, len(raw), out, len(out))
    return out.raw[:n].decode("utf-8", "ignore")


def bag(text, buckets=BUCKETS):
    """-> numbers of the features, their shares."""
    raw = text.encode("utf-8", "ignore")
    n = _lib.bag(raw, len(raw), buckets, GRAM_MIN, GRAM_MAX, _ids.ctypes.data, _shares.ctypes.data)
    return _ids[:n].astype(np.int64), _shares[:n].copy()


def cut(texts, share, seed):
    """Which lines are dev lines; near-duplicates never part."""
    raw = "\n".join(t.replace("\n", " ") for t in texts).encode("utf-8", "ignore")
    out = ctypes.create_string_buffer(len(texts) + 1)
    assert _lib.cut(raw, len(raw), share, seed, out) == len(texts)
    return np.frombuffer(out.raw[:len(texts)], np.int8).astype(bool)


# ---- labels of the public intents; what is missing is neither clearly social nor clearly work

ANSWER_OF = {  # CLINC150's and HWU64's social intents, with the answer that fits where one does
    "are_you_a_bot": "are-you-a-bot", "do_you_have_pets": "private-life", "goodbye": "goodbye", "greeting": None,
    "how_old_are_you": "age", "thank_you": "thanks", "what_are_your_hobbies": "private-life",
    "what_can_i_ask_you": "capabilities", "what_is_your_name": "name", "where_are_you_from": "where-from",
    "who_do_you_work_for": "boss", "who_made_you": "who-made-you", "general_praise": "praise"}
SKIPPED = set(
    "yes no maybe calculator change_ai_name user_name repeat cancel transactions spending_history income pto_used "
    "general_quirky general_affirm general_negate general_confirm general_dontcare general_explain general_repeat "
    "general_commandstop".split())

# Time and date here and now are life support (`greeting`); elsewhere, and of another day, they are work.
ELSEWHERE = re.compile(
    r"\b(in|at|for) (?!the (date|time|day|moment|year)|today|american|your|this|moment|case|my)\w|zone|"
    r"\b(est|pst|mst|cst|gmt|utc|edt|pdt|central|pacific|eastern|mountain|standard|city|country|abroad)\b")
OTHER_DAY = re.compile(
    r"tomorrow|yesterday|\bfrom (now|today)|\b(will|next|last|after|before|until|till|ago)\b|\bfall|\bland|"
    r"\bin \w+ (days|weeks|months|years|hours)")
NOW_WORDS = set(
    "what what's whats which is it it's the time date day today today's todays now right current currently present "
    "exact please tell me can you could would give i need to know want like of week month year and hour minute do "
    "does have we are on clock say how just let show display report get local".split())
NOW_RU = re.compile(
    r"^(а |ну |так, |скажи(те)?,? |подскажи(те)?,? |слушай,? )*((который|какой) (сейчас |теперь )?час|сколько (сейчас |"
    r"там |же )?(времени|время)( сейчас)?|какое (сегодня|сейчас) (число|время)|какой (сегодня|сейчас) (день|день недели|"
    r"месяц|год)|какое число( сегодня)?|какая сегодня дата)[?.! ]*$")


def clock(folded):
    """Of an ask for clock or calendar: 'time' or 'date' (here and now), 'elsewhere', 'unsure'."""
    if NOW_RU.search(folded):
        return "time" if re.search("час|врем", folded) else "date"
    words = re.findall(r"[a-z']+", folded)
    if OTHER_DAY.search(folded) or re.search(r"\d", folded):
        return "unsure"
    if ELSEWHERE.search(folded):
        return "elsewhere"
    if len(words) > 1 and set(words) <= NOW_WORDS and re.search(r"\b(time|date|day|clock|hour|year|today)\b", folded):
        return "time" if re.search(r"\b(time|clock|hour)\b", folded) else "date"
    return "unsure"


def intent_label(intent, text):
    """-> (label or None, answer or None)"""
    if intent in SKIPPED:
        return None, None
    if intent in ("time", "date", "datetime_query"):
        kind = clock(fold(text))
        return {"unsure": (None, None), "elsewhere": ("general", None)}.get(kind, ("greeting", kind))
    if intent in ANSWER_OF:
        return "greeting", ANSWER_OF[intent]
    return "reasoning" if intent == "qa_maths" else "general", None


# ---- lines


def table(path):
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if len(parts := line.rstrip("\n").split("\t")) >= 2:
                yield parts


def is_ru(text):
    low = text.lower()
    return sum("а" <= c <= "я" or c == "ё" for c in low) > sum("a" <= c <= "z" for c in low)


def measured():
    """Files to measure with. Nothing is trained on them, nor on a line that stands there word for word."""
    return sorted((ROOT / "tests/fixtures").glob("*.tsv")) + sorted(DATA.glob("eval_only_*.tsv"))


def read_measured(path):
    for p in table(path):
        if p[0] in LABELS:
            yield p[1], LABELS.index(p[0]), p[2].strip() if len(p) > 2 else None


def load():
    """All labelled lines as dicts: text, label, answer (0 none, -1 not known), source, own, ru."""
    rows, seen = [], {}
    banned = {fold(t) for f in measured() for t, _, _ in read_measured(f)}

    def add(label, text, source, own, answer=None):
        text, key = text.strip(), fold(text)
        if not key or key in banned or label not in LABELS:
            return
        named = answer in ANSWERS and ANSWERS.index(answer) or (0 if answer == "-" or label != "greeting" else -1)
        if key in seen:
            if own and named > 0 and seen[key]["label"] == 0:
                seen[key]["answer"] = named
            return
        seen[key] = dict(text=text, label=LABELS.index(label), answer=named, source=source, own=own, ru=is_ru(text))
        rows.append(seen[key])

    # Own phrases; a third column, where there is one, names the answer.
    for f in sorted((ROOT / "models/phrases").glob("*.tsv")):
        for p in table(f):
            add(p[0], p[1], f.stem, True, p[2].strip() if len(p) > 2 else None)
    for f in sorted((ROOT / "rules/answers").glob("*.toml")):
        for a in tomllib.loads(f.read_text(encoding="utf-8")).get("answer", []):
            name, match = a["name"].removeprefix("translit-"), a.get("match", {})
            for text in a.get("examples", []):
                add("greeting", text, "answers", True, name)
            for text in match.get("any", []) if match.get("only") else []:
                add("greeting", text, "answers-only", True, name)
    for s in ("clinc150", "hwu64", "banking77"):
        for intent, text, *_ in table(DATA / f"{s}_train.tsv"):
            label, answer = intent_label(intent, text)
            if label:
                add(label, text, f"{s}/{label}", False, answer)
    for f in ("train_ru", "train_en", "short_train_ru", "short_train_en"):
        for label, text, *source in table(DATA / f"{f}.tsv"):
            source = source[0] if source else f
            if source.startswith(("clinc150", "hwu64", "banking77")):
                continue  # the same lines as above; there the intent decided
            add(label, text, source.split("/")[0] + ("/geo" if "geography" in source else ""), False)
    print(len(rows), "lines", collections.Counter(LABELS[r["label"]] for r in rows), flush=True)
    return rows


def split(rows):
    """-> training lines, dev lines."""
    dev = cut([r["text"] for r in rows], .1, 7)
    return [r for r, d in zip(rows, dev) if not d], [r for r, d in zip(rows, dev) if d]


def unlabelled():
    files = ("koziev_questions4.txt", "koziev_questions5.txt", "koziev_paraphrases.txt")
    lines = [line.strip() for f in files for line in open(DATA / f, encoding="utf-8")]
    return [t for t in dict.fromkeys(lines) if t]


def figures(predicted, rows):
    """Accuracy by kind of line, as text."""
    out = []
    for own in (True, False):
        for ru in (True, False):
            k = [i for i, r in enumerate(rows) if r["own"] == own and r["ru"] == ru]
            if k:
                right = np.mean([predicted[i] == rows[i]["label"] for i in k])
                out.append(f"{'own' if own else 'public'} {'ru' if ru else 'en'} {len(k)} {right:.3f}")
    return "; ".join(out)


# ---- roughing up

OPEN = {True: "привет|здравствуйте|добрый день|добрый вечер|доброе утро|салют|хай|слушай|спасибо|приветствую|эй|прив|"
              "подскажи пожалуйста|окей спасибо, теперь|здорово|как дела|дружище|бот|ладно, спасибо. а теперь".split("|"),
        False: "hi|hello|hey|good morning|good evening|hi there|hey there|thanks|hello there|yo|ok thanks, now|please|"
               "hey bot|how are you|good afternoon|hiya|dear assistant|ok cool, now|great, thank you. next".split("|")}
CLOSE = {True: "спасибо|пожалуйста|заранее спасибо|буду благодарен|благодарю|плиз|спс|пж|хорошего дня".split("|"),
         False: "thanks|please|thank you|thanks in advance|pls|thx|cheers|ty|have a nice day".split("|")}
ENDS = ["?", "!", ".", "...", "!!", "??", ")", ")))", " :)"]
KEYS = ["qwertyuiop[]asdfghjkl;'zxcvbnm,.", "йцукенгшщзхъфывапролджэячсмитьбю"]


def typo(text, rng):
    """One slip: a letter lost, doubled, swapped with the next or hit beside; or a blank lost."""
    if len(text) < 4:
        return text
    at = rng.randrange(1, len(text) - 1)
    c, kind = text[at], rng.randrange(5)
    if not c.isalpha():
        return text
    if kind == 0:
        return text[:at] + text[at + 1:]
    if kind == 1:
        return text[:at] + c + text[at:]
    if kind == 2 and text[at + 1].isalpha():
        return text[:at] + text[at + 1] + c + text[at + 2:]
    if kind == 3 and " " in text:
        blank = text.index(" ") if rng.random() < .5 else text.rindex(" ")
        return text[:blank] + text[blank + 1:]
    for keys in KEYS:
        if (p := keys.find(c)) >= 0:
            beside = min(p + 1, len(keys) - 1) if rng.random() < .5 else max(p - 1, 0)
            return text[:at] + keys[beside] + text[at + 1:]
    return text


class Rough:
    """Writes a line as somebody else would, with its label kept."""

    def __init__(self, rows):
        short = [r for r in rows if r["label"] == 0 and len(r["text"].split()) <= 6]
        self.greetings = {ru: [r["text"].rstrip(".!? ") for r in short if r["ru"] == ru] or OPEN[ru] for ru in (True, False)}

    def __call__(self, text, label, rng):
        ru, n = is_ru(text), len(text.split())
        if label == 0:  # two greetings are still one
            if n <= 15 and rng.random() < .15:
                two = [text, rng.choice(self.greetings[ru])]
                rng.shuffle(two)
                text = rng.choice([", ", "! ", ". ", " ", "? "]).join(two)
        elif n >= 3:  # work with a greeting before it is still work
            if rng.random() < .16:
                opening = rng.choice(self.greetings[ru] if rng.random() < .5 else OPEN[ru])
                text = opening + rng.choice([", ", "! ", ". ", " "]) + text
            if rng.random() < .06:
                text += rng.choice([", ", ". ", " ", "! "]) + rng.choice(CLOSE[ru])
        if rng.random() < .35:
            text = text.rstrip(".!? ") or text
        if rng.random() < .1:
            text += rng.choice(ENDS)
        if rng.random() < .1:
            text = text.replace("'", "")
        if rng.random() < .08:
            text = re.sub(r"[,.;:!?\"«»()-]", "", text).strip() or text
        if rng.random() < .4:
            for _ in range(1 + (rng.random() < .4) + n // 10):
                text = typo(text, rng)
        if rng.random() < .006:  # the other keyboard layout
            a, b = KEYS if not ru else KEYS[::-1]
            text = text.lower().translate(str.maketrans(a, b))
        return text


def seeded(seed):
    """Seeds torch; -> generators of Python's and numpy's own."""
    import torch
    torch.manual_seed(seed)
    return random.Random(seed), np.random.default_rng(seed)
