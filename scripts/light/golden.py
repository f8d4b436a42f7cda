"""Has mlx-lm read what src/light/model reads, for tests/light_model.rs: golden.py SMOL OUT
SMOL is the directory of SmolLM2 (scripts/light-model.sh), OUT is tests/fixtures. Writes OUT/light/NAME/: tiny checkpoints
with random weights, one or two of every family, and OUT/light/golden.json: logits and what follows greedily."""
import json
import os
import sys
from pathlib import Path

# Compiling calls the system's C++ compiler on the CPU, for minutes, and rounds no otherwise.
os.environ["MLX_DISABLE_COMPILE"] = "1"
import mlx.core as mx  # noqa: E402
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten, tree_map
from mlx_lm.generate import generate_step
from mlx_lm.utils import load, load_model, _get_classes
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

BASE = {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 96, "num_attention_heads": 4,
        "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "vocab_size": 264, "max_position_embeddings": 512,
        "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": True, "eos_token_id": 258}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}
LONG = {"type": "longrope", "short_factor": [1.0] * 6, "long_factor": [1.0, 1.1, 1.3, 2.0, 4.0, 8.0]}
GEMMA = {"model_type": "gemma3_text", "hidden_activation": "gelu_pytorch_tanh", "head_dim": 32, "sliding_window": 8,
         "sliding_window_pattern": 2, "query_pre_attn_scalar": 24, "rope_local_base_freq": 10000.0,
         "rope_theta": 1000000.0, "rms_norm_eps": 1e-6}
# name: (config, precision, bits)
MODELS = {
    "llama-bf16": ({"model_type": "llama"}, mx.bfloat16, None),
    "llama3-4bit": ({"model_type": "llama", "rope_scaling": LLAMA3, "tie_word_embeddings": False}, mx.bfloat16, 4),
    "qwen2-f16": ({"model_type": "qwen2"}, mx.float16, None),
    "qwen2-4bit": ({"model_type": "qwen2", "tie_word_embeddings": False}, mx.float16, 4),
    "qwen3-f32": ({"model_type": "qwen3", "head_dim": 16, "num_hidden_layers": 1}, mx.float32, None),
    "qwen3-8bit": ({"model_type": "qwen3", "head_dim": 32}, mx.bfloat16, 8),
    "phi3-f16": ({"model_type": "phi3", "rope_scaling": LONG, "partial_rotary_factor": 0.75,
                  "original_max_position_embeddings": 32, "tie_word_embeddings": False}, mx.float16, None),
    "phi3-4bit": ({"model_type": "phi3", "num_key_value_heads": 4}, mx.bfloat16, 4),
    "gemma3-bf16": (GEMMA, mx.bfloat16, None),
    "gemma3-4bit": (GEMMA, mx.bfloat16, 4),
}
TEXTS = ["What is the capital of France?", "Write one sentence about the sea.",
         "Summarize: the meeting was moved from Monday to Tuesday because the room was taken."]


def save(path, what):
    path.write_text(json.dumps(what, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def tokenizer(out):
    """Bytes, and four control tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(t, special=True) for t in ("<s>", "</s>", "<|end|>", "<|user|>")])
    made.save(str(out / "tokenizer.json"))
    save(out / "tokenizer_config.json", {"bos_token": "<s>", "eos_token": "</s>", "chat_template":
         "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}<|model|>"})


def tiny(out, name, config, dtype, bits):
    out.mkdir(parents=True, exist_ok=True)
    config = {**BASE, **config}
    model_class, args_class = _get_classes(config)
    model = model_class(args_class.from_dict(config))
    mx.random.seed(sum(name.encode()))
    tied = {"lm_head.weight"} if config["tie_word_embeddings"] else set()
    if config["model_type"] == "gemma3_text":
        model.sanitize({})
    scale = {"norm": 0.1, "proj": 0.2, "embed": 0.5, "lm_head": 0.3}

    def random(path, array):
        if "norm" in path:
            middle = 0.0 if config["model_type"] == "gemma3_text" else 1.0
            return (middle + 0.1 * mx.random.normal(array.shape)).astype(dtype)
        size = next(s for part, s in scale.items() if part in path)
        return (size * mx.random.normal(array.shape)).astype(dtype)

    model.update(tree_map(lambda x: x, _unflatten(
        {p: random(p, a) for p, a in tree_flatten(model.parameters()) if p not in tied})))
    if bits:
        nn.quantize(model, group_size=32, bits=bits)
        config["quantization"] = {"group_size": 32, "bits": bits}
    weights = {p: a for p, a in tree_flatten(model.parameters()) if p not in tied and "_freqs" not in p}
    mx.save_safetensors(str(out / "model.safetensors"), weights, metadata={"format": "mlx"})
    save(out / "config.json", config)
    tokenizer(out)


def _unflatten(weights):
    from mlx.utils import tree_unflatten
    return tree_unflatten(list(weights.items()))


def read(model, ids, steps):
    logits = np.array(model(mx.array([ids]))[0].astype(mx.float32))
    follows = [int(t) for (t, _), _ in zip(generate_step(mx.array(ids), model, max_tokens=steps), range(steps))]
    keep = [0, len(ids) // 2, len(ids) - 1]
    return {"ids": ids, "at": keep, "logits": [[float(f"{x:.6g}") for x in logits[i]] for i in keep], "follows": follows}


def main(smol, out):
    golden = {"tiny": {}, "smollm2": []}
    chance = np.random.default_rng(1)
    for name, (config, dtype, bits) in MODELS.items():
        directory = out / "light" / name
        tiny(directory, name, config, dtype, bits)
        model, _ = load_model(directory)
        golden["tiny"][name] = read(model, [int(x) for x in chance.integers(0, 256, 24)], 64)
    keep(out, golden)
    model, words = load(str(smol))
    for text in TEXTS:
        ids = words.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True,
                                        tokenize=True, return_dict=False)
        follows = [int(t) for (t, _), _ in zip(generate_step(mx.array(ids), model, max_tokens=64), range(64))]
        golden["smollm2"].append({"text": text, "ids": ids, "follows": follows})
        print(words.decode(follows))
        keep(out, golden)


def keep(out, golden):
    (out / "light" / "golden.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
