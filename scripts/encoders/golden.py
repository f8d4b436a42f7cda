"""What `transformers` makes of some texts with the real weights and with two tiny random checkpoints:
golden.py ENCODERS FIXTURES. Writes FIXTURES/encoders-golden.json and FIXTURES/encoders/{bert,roberta}; the same every time."""
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoModel, BertConfig, BertModel, XLMRobertaConfig, XLMRobertaModel

TEXTS = ["привет, как дела?", "Напиши функцию на Python, которая сортирует список словарей по двум ключам.",
         "сколько заказов было в Казани за прошлую неделю, с разбивкой по дням", "Ёлка стоит 1 500 ₽ — это дорого?",
         "hello there, how are you doing today?", "Compare TCP and QUIC: which one is better for video calls, and why?",
         "SELECT name FROM users WHERE id = 7; -- what's wrong with it?", "long " * 400]


def vectors(model, tokenizer, texts, cls, most):
    """-> token ids and unit vectors, one text at a time."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(most)
    out = []
    for text in texts:
        ids = tokenizer.encode(text).ids
        with torch.no_grad():
            hidden = model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        pooled = hidden[0] if cls else hidden.mean(0)
        pooled = pooled / pooled.norm()
        # In ten-thousandths: the cosine moves by less than 1e-6.
        out.append({"ids": ids if len(ids) < 64 else [], "tokens": len(ids), "vector": [round(x * 1e4) for x in pooled.tolist()]})
    return out


def tiny(directory, kind):
    """A random checkpoint of a few KB: BERT reads its first token, in half precision; XLM-RoBERTa the mean, in bfloat16."""
    torch.manual_seed(7)
    letters = [c for c in "abcdefghijklmnopqrstuvwxyzабвгдежзийклмнопрстуфхцчшщъыьэюя0123456789?,.:;-"]
    special = ["<s>", "<pad>", "</s>", "<unk>"] if kind == "roberta" else ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocab = {piece: i for i, piece in enumerate(special + letters + ["##" + c for c in letters])}
    begin, end, unknown = ("<s>", "</s>", "<unk>") if kind == "roberta" else ("[CLS]", "[SEP]", "[UNK]")
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token=unknown))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}", special_tokens=[(begin, vocab[begin]), (end, vocab[end])])
    sizes = dict(vocab_size=len(vocab), hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=32,
                 initializer_range=0.5)
    if kind == "bert":
        model = BertModel(BertConfig(max_position_embeddings=48, **sizes)).half().float()
    else:
        config = XLMRobertaConfig(max_position_embeddings=50, pad_token_id=1, type_vocab_size=1, **sizes)
        model = XLMRobertaModel(config, add_pooling_layer=False).bfloat16().float()
    model.eval()
    directory.mkdir(parents=True, exist_ok=True)
    config = model.config.to_dict()
    keep = [*sizes, "max_position_embeddings", "pad_token_id", "type_vocab_size", "layer_norm_eps", "hidden_act", "model_type"]
    config = {name: config[name] for name in keep if name != "initializer_range"}
    config["architectures"] = [type(model).__name__]
    (directory / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    tokenizer.save(str(directory / "tokenizer.json"), pretty=False)
    kept, prefix = (torch.float16, "bert.") if kind == "bert" else (torch.bfloat16, "0.auto_model.")
    save_file({prefix + k: v.to(kept).contiguous() for k, v in model.state_dict().items() if v.is_floating_point()},
              directory / "model.safetensors", {"format": "pt"})
    if kind == "bert":
        modules = [{"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
                   {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]
        (directory / "modules.json").write_text(json.dumps(modules, indent=1) + "\n")
        (directory / "1_Pooling").mkdir(exist_ok=True)
        (directory / "1_Pooling/config.json").write_text(json.dumps({
            "word_embedding_dimension": 16, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, indent=1) + "\n")
    return vectors(model, tokenizer, TEXTS, kind == "bert", 48)


def main():
    encoders, fixtures = map(Path, sys.argv[1:])
    golden = {"texts": TEXTS, "models": {}}
    for kind in ("bert", "roberta"):
        golden["models"]["tiny-" + kind] = tiny(fixtures / "encoders" / kind, kind)
    for name, prefix, most in (("minilm", "", 256), ("e5-small", "query: ", 512)):
        model = AutoModel.from_pretrained(encoders / name, dtype=torch.float32).eval()
        tokenizer = Tokenizer.from_file(str(encoders / name / "tokenizer.json"))
        golden["models"][name] = vectors(model, tokenizer, [prefix + t for t in TEXTS], False, most)
    (fixtures / "encoders-golden.json").write_text(
        json.dumps(golden, ensure_ascii=False, separators=(",", ":")).replace('{"ids"', '\n{"ids"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
