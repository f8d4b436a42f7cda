"""The teacher: the first six layers of multilingual-e5-small, fine-tuned on all labelled lines. Makes WORK/teacher.pt."""
import collections

import torch
import torch.nn as nn
import torch.nn.functional as F
from tokenizers import Tokenizer

from data import NAMES, WORK, Rough, figures, fold, load, seeded, split, steps

LAYERS, STEPS, BATCH, LR = 6, 800, 64, 1e-4
# At most so many lines of a public source a round: own lines are what real asks look like.
CAP = {"clinc150/general": 1200, "banking77/general": 500, "hwu64/general": 1000, "clinc150/greeting": 600, "conala": 600,
       "wikisql": 600, "text2sql": 350, "text2sql/geo": 120, "gsm8k": 350, "msvamp": 250, "answers-only": 500}


class Layer(nn.Module):
    def __init__(self, width=384, inner=1536, heads=12):
        super().__init__()
        self.heads = heads
        self.qkv, self.ao, self.aln = nn.Linear(width, 3 * width), nn.Linear(width, width), nn.LayerNorm(width, 1e-12)
        self.fi, self.fo, self.oln = nn.Linear(width, inner), nn.Linear(inner, width), nn.LayerNorm(width, 1e-12)

    def forward(self, x, mask, drop):
        b, n, w = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, w // self.heads).permute(2, 0, 3, 1, 4)
        a = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).reshape(b, n, w)
        x = self.aln(x + F.dropout(self.ao(a), drop, self.training))
        return self.oln(x + F.dropout(self.fo(F.gelu(self.fi(x))), drop, self.training))


class Teacher(nn.Module):
    def __init__(self, tensors, layers=LAYERS, width=384):
        super().__init__()
        self.word, self.pos = nn.Embedding(*tensors["emb.word"].shape), nn.Embedding(512, width)
        self.kind, self.ln = nn.Parameter(torch.zeros(width)), nn.LayerNorm(width, 1e-12)
        self.layers = nn.ModuleList(Layer() for _ in range(layers))
        self.label, self.answer = nn.Linear(width, 5), nn.Linear(width, NAMES)
        with torch.no_grad():
            self.word.weight.copy_(tensors["emb.word"])
            self.pos.weight.copy_(tensors["emb.pos"])
            self.kind.copy_(tensors["emb.type"][0])
            self.ln.weight.copy_(tensors["emb.ln.w"])
            self.ln.bias.copy_(tensors["emb.ln.b"])
            for i, layer in enumerate(self.layers):
                for end, part in (("w", "weight"), ("b", "bias")):
                    get = lambda name: tensors[f"l{i}.{name}.{end}"]
                    getattr(layer.qkv, part).copy_(torch.cat([get("q"), get("k"), get("v")]))
                    for name in ("ao", "fi", "fo", "aln", "oln"):
                        getattr(getattr(layer, name), part).copy_(get(name))

    def forward(self, ids, drop=0.):
        """Padded ids -> mean of the tokens."""
        keep = ids != 1
        mask = torch.zeros(ids.shape).masked_fill(~keep, -1e4)[:, None, None, :]
        if torch.is_autocast_enabled("cpu"):
            mask = mask.to(torch.bfloat16)
        x = F.dropout(self.ln(self.word(ids) + self.pos.weight[:ids.shape[1]] + self.kind), drop, self.training)
        for layer in self.layers:
            x = layer(x, mask, drop)
        w = keep.float()[:, :, None]
        return (x.float() * w).sum(1) / w.sum(1)


def pad(ids):
    n = max(map(len, ids))
    return torch.tensor([x + [1] * (n - len(x)) for x in ids])


def encoder():
    tk = Tokenizer.from_file(str(WORK / "tokenizer.json"))
    tk.enable_truncation(40)
    return lambda texts: [e.ids for e in tk.encode_batch([fold(t) for t in texts])]


def label(model, texts, encode):
    """-> label logits, answer logits, vectors."""
    ids, out = encode(texts), [torch.zeros(len(texts), n) for n in (5, NAMES, 384)]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    model.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for i in range(0, len(order), 128):
            k = order[i:i + 128]
            p = model(pad([ids[j] for j in k]))
            for where, x in zip(out, (model.label(p), model.answer(p), p)):
                where[k] = x.float()
    model.train()
    return out


def main():
    rng, _ = seeded(7)
    train, dev = split(load())
    model, encode, rough = Teacher(torch.load(WORK / "e5.pt")), encoder(), Rough(train)
    for name, p in model.named_parameters():  # the embeddings and the two lowest layers are right as they are
        if name.startswith(("word", "pos", "kind", "ln", "layers.0.", "layers.1.")):
            p.requires_grad = False
    heads = [p for n, p in model.named_parameters() if n.startswith(("label", "answer"))]
    body = [p for n, p in model.named_parameters() if p.requires_grad and not n.startswith(("label", "answer"))]
    opt = torch.optim.AdamW([dict(params=body, lr=LR), dict(params=heads, lr=1e-3)], weight_decay=.01)
    top = [g["lr"] for g in opt.param_groups]
    sources, total, step, todo = collections.defaultdict(list), steps(STEPS), 0, []
    for r in train:
        sources[r["source"]].append(r)
    while step < total:
        if not todo:  # a round: all own lines, and a draw of the others; batches of like length
            rows = [r for s, all_ in sorted(sources.items()) for r in rng.sample(all_, min(CAP.get(s, len(all_)), len(all_)))]
            rng.shuffle(rows)
            for i in range(0, len(rows) - BATCH + 1, BATCH * 32):
                part = sorted(((rough(r["text"], r["label"], rng), r) for r in rows[i:i + BATCH * 32]), key=lambda x: len(x[0]))
                todo += [part[j:j + BATCH] for j in range(0, len(part), BATCH)]
            rng.shuffle(todo)
        batch = todo.pop()
        pace = max(.01, min((step + 1) / (.06 * total), (total - step) / (.94 * total)))
        for g, lr in zip(opt.param_groups, top):
            g["lr"] = lr * pace
        y, a = (torch.tensor([r[k] for _, r in batch]) for k in ("label", "answer"))
        with torch.autocast("cpu", torch.bfloat16):
            p = model(pad(encode([t for t, _ in batch])), .1)
        loss, known = F.cross_entropy(model.label(p), y, label_smoothing=.05), a >= 0
        if known.any():
            each = F.cross_entropy(model.answer(p)[known], a[known], reduction="none")
            loss = loss + .5 * (each * torch.where(y == 0, 1., .2)[known]).sum() / len(batch)
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.)
        opt.step()
        step += 1
        if step % 50 == 0:
            print(f"{step}/{total} loss {loss.item():.3f}", flush=True)
    torch.save(model.state_dict(), WORK / "teacher.pt")
    dev = dev[:200] if total < 10 else dev
    print("teacher, dev:", figures(label(model, [r["text"] for r in dev], encode)[0].argmax(1).tolist(), dev), flush=True)


if __name__ == "__main__":
    main()
