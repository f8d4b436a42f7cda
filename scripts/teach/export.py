"""Quantises the students, fits the answer head, calibrates on the dev lines, and writes model.safetensors, config.json
and tokenizer.json. usage: export.py OUT_DIR"""
import json
import shutil
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
import torch
import torch.nn.functional as F

import answers
import student
from data import ANSWERS, BUCKETS, GRAM_MAX, GRAM_MIN, LABELS, WORK, figures

QUANT = {"enc.word": dict(bits=4, group=64), "bag.table": dict(bits=4, group=32), "ans.table": dict(bits=8, group=32)}
FALSE_ALL, FALSE_OWN, PRECISION = .001, .006, .97  # what the thresholds may let through


def store(prefix, module, table, out):
    """Puts a module's weights into `out` as they ship, and back into the module as they will be read."""
    for name, p in module.named_parameters():
        if name == table:
            q, key = QUANT[f"{prefix}.{table.removesuffix('.weight')}"], f"{prefix}.{table.removesuffix('.weight')}"
            w, s, b = mx.quantize(mx.array(p.detach().numpy()), group_size=q["group"], bits=q["bits"])
            s, b = s.astype(mx.float16), b.astype(mx.float16)
            out.update({key + ".weight": w, key + ".scales": s, key + ".biases": b})
            wide = mx.dequantize(w, s.astype(mx.float32), b.astype(mx.float32), group_size=q["group"], bits=q["bits"])
            p.data = torch.from_numpy(np.array(wide))
        elif not name.startswith("match"):
            half = p.detach().half()
            p.data = half.float()
            out[f"{prefix}.{name}"] = mx.array((half.T if half.dim() == 2 and name != "pos" else half).contiguous().numpy())


def blend_by(e, b, y, weight):
    """Share of the bag and temperature with the least weighted loss."""
    def loss(share, t):
        each = F.cross_entropy(((1 - share) * e + share * b) / t, y, reduction="none")
        return float((each * weight).sum() / weight.sum()), share, t
    _, share, t = min(loss(s, t) for s in np.arange(0, .8, .05).round(2).tolist() for t in (.5, .6, .7, .8, .9, 1., 1.15, 1.3))
    return share, t


def greeting_from(own, others):
    """Least threshold that lets few enough of the negatives through."""
    at = lambda p, share: float(np.sort(p)[::-1][int(share * len(p))]) + 1e-4 if len(p) else .5
    return float(np.clip(max(at(np.concatenate([own, others]), FALSE_ALL), at(own, FALSE_OWN)), .5, .985))


def main():
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    pool, saved = torch.load(WORK / "pool.pt", weights_only=False), torch.load(WORK / "student.pt")
    enc, bag_, tensors = student.Encoder(len(pool["word"])), student.Bag(), {}
    enc.load_state_dict(saved["enc"])
    bag_.load_state_dict(saved["bag"])
    store("enc", enc, "word.weight", tensors)
    store("bag", bag_, "table.weight", tensors)

    dev, unseen = pool["dev"], pool["unseen"]
    texts, y = [r["text"] for r in dev], np.array([r["label"] for r in dev])
    own = np.array([r["own"] for r in dev])
    e, b, x = student.look(enc, bag_, texts)
    share, temperature = blend_by(e, b, torch.from_numpy(y), torch.from_numpy(np.where(own, 1., .25)))
    p = student.blend(e, b, share, temperature).numpy()
    pu = student.blend(*student.look(enc, bag_, [r["text"] for r in unseen])[:2], share, temperature).numpy()[:, 0]
    print("students as shipped, dev:", figures(p.argmax(1), dev))
    for t in (.5, .75, .85, .9, .95):
        false, caught = (p[own & (y != 0), 0] >= t).mean(), (p[own & (y == 0), 0] >= t).mean()
        print(f"  greeting from {t}: own dev {false:.2%} false, {caught:.1%} caught; unseen public {(pu >= t).mean():.2%} false")

    net = answers.fit(enc, bag_, pool["base"])
    store("ans", net, "table.weight", tensors)
    known = np.array([r["label"] == 0 and r["answer"] >= 0 for r in dev])
    a = np.array([r["answer"] for r in dev])[known]
    q = net(x[known], [t for t, k in zip(texts, known) if k]).softmax(1).detach().numpy()
    q[:, 0] = 0  # a name is named or not; `none` only takes probability away
    right, sure, answer_from = q.argmax(1) == a, q.max(1), .95
    for t in np.arange(.3, .995, .01).round(2).tolist():
        if (sure >= t).any() and right[sure >= t].mean() >= PRECISION:
            answer_from = t
            break
    print(f"answers, dev greetings {len(a)}: from {answer_from} named rightly {(right & (sure >= answer_from)).sum() / max(1, (a > 0).sum()):.1%}")

    others = np.concatenate([p[~own & (y != 0), 0], pu])
    config = dict(
        format=1, labels=LABELS, answers=ANSWERS, width=student.WIDTH, heads=student.HEADS, layers=student.LAYERS,
        feed_forward=student.INNER, max_tokens=student.MAX_TOKENS, vocab=len(pool["word"]), quant=QUANT, buckets=BUCKETS,
        gram_min=GRAM_MIN, gram_max=GRAM_MAX, bag_width=32, answer_buckets=answers.BUCKETS, bag_share=share,
        temperature=temperature, greeting_from=greeting_from(p[own & (y != 0), 0], others), sure_from=.35,
        answer_from=answer_from, rms_eps=1e-6, encoder_hidden=128, bag_hidden=64, answer_hidden=answers.HIDDEN,
        cascade_from=.9, bag_sure_from=.9)
    mx.save_safetensors(str(out / "model.safetensors"), tensors)
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    shutil.copy(WORK / "tokenizer.json", out / "tokenizer.json")
    torch.save(dict(enc=enc.state_dict(), bag=bag_.state_dict(), ans=net.state_dict()), WORK / "shipped.pt")


if __name__ == "__main__":
    mx.set_default_device(mx.cpu)
    main()
