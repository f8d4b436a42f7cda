"""The students, distilled side by side on the same batches; they share no weights. Makes WORK/student.pt.

Encoder: two blocks over token vectors that start from the teacher's. Bag: brainstem's hashed features, 240,000 x 32.
"""
import collections

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from tokenizers import Tokenizer

from data import ANSWERS, BUCKETS, NAMES, WORK, Rough, bag, clock, figures, fold, seeded, steps, typo

STEPS, BATCH = 3500, 128
WIDTH, INNER, LAYERS, HEADS, MAX_TOKENS = 256, 256, 2, 4, 48
BAG_SHARE, TEMPERATURE = .55, .7  # while training; export.py fits both


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.n1, self.n2 = Norm(), Norm()
        self.qkv, self.o = nn.Linear(WIDTH, 3 * WIDTH, False), nn.Linear(WIDTH, WIDTH, False)
        self.f1, self.f2 = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH, False)
        for layer in (self.o, self.f2):
            nn.init.normal_(layer.weight, std=.02 / LAYERS ** .5)

    def forward(self, x, mask, drop):
        b, n, _ = x.shape
        q, k, v = self.qkv(self.n1(x)).view(b, n, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        a = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).reshape(b, n, WIDTH)
        x = x + F.dropout(self.o(a), drop, self.training)
        return x + F.dropout(self.f2(F.relu(self.f1(self.n2(x)))), drop, self.training)


class Encoder(nn.Module):
    def __init__(self, vocab):
        super().__init__()
        self.word, self.pos = nn.Embedding(vocab, WIDTH, sparse=True), nn.Parameter(torch.randn(64, WIDTH) * .02)
        self.blocks, self.norm = nn.ModuleList(Block() for _ in range(LAYERS)), Norm()
        self.hid, self.out = nn.Linear(2 * WIDTH, 128), nn.Linear(128, 5 + NAMES)
        self.match = nn.Linear(WIDTH, 384)  # to the teacher's vector; only while training

    def forward(self, ids, drop=0.):
        """-> logits, mean of the tokens, mean and maximum."""
        keep = ids != 1
        mask = torch.zeros(ids.shape).masked_fill(~keep, -1e4)[:, None, None, :]
        x = self.word(ids)
        if self.training:  # whole pieces are dropped: no word may decide alone
            x = x * (torch.rand(ids.shape) > .06).float()[:, :, None]
        x = x + self.pos[:ids.shape[1]]
        for block in self.blocks:
            x = block(x, mask, drop)
        x, w = self.norm(x), keep.float()[:, :, None]
        mean = (x * w).sum(1) / w.sum(1)
        both = torch.cat([mean, x.masked_fill(~keep[:, :, None], -1e4).amax(1)], 1)
        h = F.relu(self.hid(F.dropout(both, drop, self.training)))
        return self.out(F.dropout(h, drop, self.training)), mean, both


class Bag(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.EmbeddingBag(BUCKETS, 32, mode="sum", sparse=True)
        nn.init.normal_(self.table.weight, std=.02)
        self.hid, self.out = nn.Linear(32, 64), nn.Linear(64, 5 + NAMES)

    def forward(self, bags, drop=0.):
        """-> logits, sum of the rows."""
        ids, offsets, shares = bags
        x = self.table(ids, offsets, per_sample_weights=shares)
        return self.out(F.dropout(F.relu(self.hid(x)), drop, self.training)), x


def bags(texts, buckets=BUCKETS):
    b = [bag(t, buckets) for t in texts]
    ids, shares = (torch.from_numpy(np.concatenate([x[i] for x in b])) for i in (0, 1))
    return ids, torch.from_numpy(np.cumsum([0] + [len(i) for i, _ in b[:-1]])), shares


_tokenizer = Tokenizer.from_file(str(WORK / "tokenizer.json"))


def tokens(texts, most=MAX_TOKENS):
    """Padded ids; of a long text the first three quarters of `most` and the last quarter."""
    e = [x.ids for x in _tokenizer.encode_batch([fold(t) for t in texts])]
    e = [x if len(x) <= most else x[:most // 4 * 3] + x[-(most // 4):] for x in e]
    n = max(map(len, e))
    return torch.tensor([x + [1] * (n - len(x)) for x in e])


def look(enc, bag_, texts):
    """-> log-probabilities of the labels by the encoder, by the bag; features (544) for the answer head."""
    enc.eval(), bag_.eval()
    order, out = sorted(range(len(texts)), key=lambda i: len(texts[i])), [[], [], []]
    with torch.no_grad():
        for i in range(0, len(order), 256):
            t = [texts[j] for j in order[i:i + 256]]
            e, _, both = enc(tokens(t))
            b, x = bag_(bags(t))
            for where, v in zip(out, (e[:, :5].log_softmax(1), b[:, :5].log_softmax(1), torch.cat([both, x], 1))):
                where.append(v)
    enc.train(), bag_.train()
    back = np.argsort(order)
    return [torch.cat(v)[back] for v in out]


def blend(e, b, share=BAG_SHARE, temperature=TEMPERATURE):
    return torch.softmax(((1 - share) * e + share * b) / temperature, 1)


def start(word, pieces):
    """First token vectors: the teacher's input vectors and each piece's way through it, in their main directions."""
    parts = [x - x.mean(0) for x in (word, pieces)]
    x = torch.cat([p / p.norm(dim=1).mean() for p in parts], 1)
    x = x - x.mean(0)
    _, _, directions = torch.linalg.svd(x[torch.randperm(len(x))[:12_000]], full_matrices=False)
    e = x @ directions[:WIDTH].T
    return e / e.std() * .3


def weigh(rows, said, n):
    """How often each line is drawn, and how far the teacher is trusted against the line's own label."""
    size = collections.Counter(r["source"] for r in rows)
    draw, trust = np.full(n, .25), np.full(n, .5)
    for i, r in enumerate(rows):
        if not r["own"]:
            draw[i] = min(1., 40 / size[r["source"]] ** .5)
        else:
            draw[i] = .35 if r["source"] == "answers-only" else 1. if r["ru"] else 1.35
            if r["label"] == 4:
                draw[i] *= 1.3  # own general lines were written along the border of greeting
            if int(said[i].argmax()) != r["label"]:
                trust[i] = .25
        if r["answer"] in (ANSWERS.index("time"), ANSWERS.index("date")):
            trust[i] = 0.
    return draw, trust


def main():
    rng, nrng = seeded(7)
    pool = torch.load(WORK / "pool.pt", weights_only=False)
    base, dev, said = pool["base"], pool["dev"], pool["said"]
    texts = [r["text"] for r in base] + pool["texts"]
    labels, names, vectors = (torch.cat([a, b]) for a, b in zip(said["base"], said["texts"]))
    labels, names, vectors = labels.softmax(1), names.softmax(1), F.normalize(vectors - vectors.mean(0), dim=1)
    draw, trust = weigh(base, said["base"][0], len(texts))
    hard = torch.tensor([r["label"] for r in base] + [-1] * len(pool["texts"]))
    named = torch.tensor([r["answer"] for r in base] + [-1] * len(pool["texts"]))
    for i in range(len(base), len(texts)):  # time and date here and now: the label guide knows better than any teacher
        if (kind := clock(fold(texts[i]))) in ("time", "date"):
            hard[i], named[i], trust[i] = 0, ANSWERS.index(kind), 0.
    trust = torch.tensor(trust, dtype=torch.float32)
    enc, bag_, rough = Encoder(len(pool["word"])), Bag(), Rough(base)
    enc.word.weight.data.copy_(start(pool["word"], pool["pieces"]))
    opt = [torch.optim.SparseAdam([enc.word.weight], lr=1e-3), torch.optim.SparseAdam([bag_.table.weight], lr=4e-3),
           torch.optim.AdamW([p for n, p in enc.named_parameters() if n != "word.weight"], lr=1e-3, weight_decay=.01),
           torch.optim.AdamW([p for n, p in bag_.named_parameters() if n != "table.weight"], lr=3e-3, weight_decay=.01)]
    top, total, step, todo, mined = [o.param_groups[0]["lr"] for o in opt], steps(STEPS), 0, [], False

    def vary(i):
        t = rough(texts[i], int(hard[i]), rng) if hard[i] >= 0 else texts[i].rstrip(".!? ") or texts[i]
        if rng.random() < .22:
            for _ in range(1 if rng.random() < .4 else 2):
                t = typo(t, rng)
        return t

    while step < total:
        if not mined and step >= total // 2:  # what the students themselves call a greeting and is none comes more often
            mined = True
            p = blend(*look(enc, bag_, texts)[:2])[:, 0]
            near = ((p > .15) & torch.where(hard >= 0, hard != 0, labels[:, 0] < .35)).numpy()
            draw[near] *= 2.5
            todo = []
            print(near.sum(), "lines near the border", flush=True)
        if not todo:
            k = nrng.choice(len(texts), BATCH * 16, p=draw / draw.sum())
            part = sorted(((vary(i), int(i)) for i in k), key=lambda x: len(x[0]))
            todo = [part[j:j + BATCH] for j in range(0, len(part), BATCH)]
            rng.shuffle(todo)
        t, k = zip(*todo.pop())
        k = torch.tensor(k)
        pace = min((step + 1) / 150, .5 * (1 + np.cos(np.pi * step / total)) + .01)
        for o, lr in zip(opt, top):
            o.param_groups[0]["lr"] = lr * pace
        y, z = hard[k], named[k]
        w = torch.where(y >= 0, trust[k], torch.ones(1))[:, None]
        target = w * labels[k] + (1 - w) * (F.one_hot(y.clamp(0), 5) * .97 + .006)
        name = names[k].clone()
        name[z >= 0] = .3 * name[z >= 0] + .7 * F.one_hot(z[z >= 0], NAMES)
        care = torch.where(target[:, 0] > .3, 1., .15) * torch.where((y >= 0) & (z < 0), .3, 1.)
        e, mean, _ = enc(tokens(t, 32), .1)  # longer ones cost too much while training
        b, _ = bag_(bags(t), .1)
        loss = .5 * (1 - F.cosine_similarity(enc.match(mean), vectors[k], dim=1)).mean()
        for o in (e, b):
            loss = loss - (target * o[:, :5].log_softmax(1)).sum(1).mean()
            loss = loss - .4 * ((name * o[:, 5:].log_softmax(1)).sum(1) * care).mean()
        for o in opt:
            o.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(opt[2].param_groups[0]["params"], 1.)
        for o in opt:
            o.step()
        step += 1
        if step % 100 == 0:
            print(f"{step}/{total} loss {loss.item():.3f}", flush=True)
        if step % 800 == 0 or step == total:
            p = blend(*look(enc, bag_, [r["text"] for r in dev])[:2])
            print("students, dev:", figures(p.argmax(1).tolist(), dev), flush=True)
            torch.save(dict(enc=enc.state_dict(), bag=bag_.state_dict()), WORK / "student.pt")


if __name__ == "__main__":
    main()
