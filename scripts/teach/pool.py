"""What the teacher says of many texts: the labelled lines, the unlabelled ones, and ones made from them by putting near
words in, cropping and mixing. A student learns more from these soft labels than from the hard ones. Makes WORK/pool.pt."""
import collections
import re

import torch
import torch.nn.functional as F
import wordfreq

from data import SMOKE, WORK, figures, fold, load, measured, read_measured, seeded, split, unlabelled
from teacher import Teacher, encoder, label

CAP = {"clinc150/general": 5000, "banking77/general": 2000, "hwu64/general": 4000}


def near_words(tensors, rows, encode):
    """Word -> words that the untuned encoder holds for near, of the same alphabet."""
    model, near = Teacher(tensors, 12).eval(), {}
    ours = collections.Counter(w for r in rows for w in re.findall(r"[a-zа-я]{4,}", fold(r["text"])))
    for lang, pattern, most in (("ru", "[а-я]{4,}", 20_000), ("en", "[a-z]{4,}", 15_000)):
        ranked = sorted(wordfreq.get_frequency_dict(lang).items(), key=lambda x: (-x[1], x[0]))[:60_000]
        words = [w for w in dict.fromkeys(fold(w) for w, _ in ranked) if re.fullmatch(pattern, w)][150:most]
        words = list(dict.fromkeys(words + [w for w, c in ours.items() if c >= 2 and re.fullmatch(pattern, w)]))
        words = words[:400] if SMOKE else words
        x = label(model, ["query: " + w for w in words], encode)[2]
        x = F.normalize(x - x.mean(0), dim=1)
        for i in range(0, len(words), 2000):
            for j, (value, index) in enumerate(zip(*((x[i:i + 2000] @ x.T).topk(9, 1)))):
                if words[i + j] in ours:
                    near[words[i + j]] = [words[t] for s, t in zip(value.tolist(), index.tolist()) if s > .45 and t != i + j]
    return near


def made(base, near, rng):
    """Texts without labels, each once, in an order that does not depend on anything but the seed."""
    own, public = [r["text"] for r in base if r["own"]], [r["text"] for r in base if not r["own"]]

    def replace(text, share):
        def one(word):
            others = near.get(word.group(0))
            return rng.choice(others) if others and rng.random() < share else word.group(0)
        return re.sub(r"[a-zа-я]{4,}", one, fold(text))

    def crop(text):
        w = text.split()
        n = rng.randrange(3, len(w)) if len(w) >= 5 else 0
        at = rng.randrange(0, len(w) - n + 1)
        return " ".join(w[at:at + n])

    def mix():
        a, b = rng.choice(own).split(), rng.choice(own).split()
        return " ".join(a[:max(1, len(a) // 2)] + b[len(b) // 2:])

    out = [replace(t, .4) for t in own] + unlabelled() + [replace(t, .4) for t in rng.sample(public, min(9000, len(public)))]
    out += [crop(t) for t in own] + [replace(t, .7) for t in own] + [mix() for _ in range(6000)]
    known = {fold(r["text"]) for r in base} | {fold(t) for f in measured() for t, _, _ in read_measured(f)}
    return [t for t in dict.fromkeys(out) if t and fold(t) not in known]


def main():
    rng, _ = seeded(11)
    train, dev = split(load())
    sources = collections.defaultdict(list)
    for r in train:
        sources[r["source"]].append(r)
    base = [r for s, rows in sorted(sources.items()) for r in rng.sample(rows, min(CAP.get(s, len(rows)), len(rows)))]
    rest = {r["text"] for r in train} - {r["text"] for r in base}
    unseen = [r for r in train if r["text"] in rest and r["label"]]  # for the greeting threshold: nobody trains on them
    tensors, encode = torch.load(WORK / "e5.pt"), encoder()
    texts = made(base, near_words(tensors, base, encode), rng)
    if SMOKE:
        base, dev, unseen, texts = base[::30], dev[::8], unseen[::30], texts[::300]
    model = Teacher(tensors)
    model.load_state_dict(torch.load(WORK / "teacher.pt"))
    model.eval()
    print(len(base), "labelled", len(dev), "dev", len(unseen), "unseen", len(texts), "unlabelled", flush=True)
    said = {k: label(model, t, encode) for k, t in
            (("dev", [r["text"] for r in dev]), ("base", [r["text"] for r in base]), ("texts", texts))}
    pieces = []  # each piece alone through the teacher: where a student's vectors start
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for k in torch.arange(len(tensors["emb.word"])).split(2048):
            pieces.append(model(torch.stack([torch.zeros_like(k), k, torch.full_like(k, 2)], 1)).float())
    print("teacher, dev:", figures(said["dev"][0].argmax(1).tolist(), dev), flush=True)
    torch.save(dict(base=base, dev=dev, unseen=unseen, texts=texts, said=said, word=model.word.weight.detach(),
                    pieces=torch.cat(pieces)), WORK / "pool.pt")


if __name__ == "__main__":
    main()
