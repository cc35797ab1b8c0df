"""Writes fixtures/gpt2.safetensors and fixtures/llama.safetensors: what PyTorch computes for a tiny random GPT-2 and Llama.

Run it with a Python that has torch (Debian: python3-torch) after changing what the fixtures hold:

    /usr/bin/python3 packages/transformer/scripts/make-parity-fixtures.py

The two models are written out here from their papers and from Hugging Face's documented weight names, on plain torch operations.
Everything is computed in float64, and in float32 in several orders of summation. The file holds
  weight.*  the initial weights                      tokens   [steps, B, T + 1], one batch per step
  logits    of the first batch                       grad.*   gradients of its loss
  after.*   the weights after all AdamW steps        losses   the loss before each step
as float32, rounded from the float64 run, and in its metadata under "errors" the largest difference between float64 and any of the
float32 runs, for each tensor: float32 rounding as PyTorch itself shows it, Adam's amplification of small gradients included.

GPT-2's c_attn.bias has a list of three errors, for q, k and v: attention does not depend on the bias of k, whose gradient is nothing but
rounding, which Adam scales up to whole steps. It must not hide errors of its neighbours.
"""

import json
import math
import pathlib
import struct

import numpy as np
import torch

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)

STEPS, BATCH, SEQLEN, VOCAB, WIDTH, LAYERS, HEADS = 20, 2, 20, 64, 32, 2, 4
TRAINING = {"lr": 0.01, "minLr": 0.001, "warmupSteps": 4, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weightDecay": 0.1, "maxGradNorm": 0.5}

CONFIGS = {
    "gpt2": {"architecture": "gpt2", "vocabSize": VOCAB, "contextLength": 24, "nLayers": LAYERS, "nHeads": HEADS, "dModel": WIDTH},
    "llama": {
        "architecture": "llama", "vocabSize": VOCAB, "contextLength": 24, "nLayers": LAYERS, "nHeads": HEADS, "nHeadsK": 2,
        "dModel": WIDTH, "intermediateSize": 48, "ropeTheta": 500.0, "normEps": 1e-6,
    },
}


# Products in three orders of summation: equal in exact arithmetic, each rounds differently in float32.
def plain(a, b):
    return a @ b


def transposed(a, b):
    return (b.transpose(-1, -2) @ a.transpose(-1, -2)).transpose(-1, -2)


def halved(a, b):
    k = a.shape[-1] // 2
    return a[..., :k] @ b[..., :k, :] + a[..., k:] @ b[..., k:, :]


def attention(q, k, v, mm):
    """q [B, H, T, D], k and v [B, Hk, T, D]; causal."""
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
    scores = mm(q, k.transpose(-1, -2)) / math.sqrt(q.shape[-1])
    keep = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    return mm(scores.masked_fill(~keep, -math.inf).softmax(-1), v)


def heads(x, n):
    return x.view(x.shape[0], x.shape[1], n, -1).transpose(1, 2)


def merge(x):
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], -1)


def gpt2(w, tokens, config, mm):
    def norm(x, name):
        return torch.nn.functional.layer_norm(x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"], 1e-5)

    def conv1d(x, name):
        return mm(x, w[name + ".weight"]) + w[name + ".bias"]

    def gelu_new(x):
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    x = w["transformer.wte.weight"][tokens] + w["transformer.wpe.weight"][: tokens.shape[1]]
    for layer in range(config["nLayers"]):
        h = f"transformer.h.{layer}"
        q, k, v = conv1d(norm(x, h + ".ln_1"), h + ".attn.c_attn").split(config["dModel"], dim=-1)
        n = config["nHeads"]
        x = x + conv1d(merge(attention(heads(q, n), heads(k, n), heads(v, n), mm)), h + ".attn.c_proj")
        x = x + conv1d(gelu_new(conv1d(norm(x, h + ".ln_2"), h + ".mlp.c_fc")), h + ".mlp.c_proj")
    return mm(norm(x, "transformer.ln_f"), w["transformer.wte.weight"].t())


def llama(w, tokens, config, mm):
    dtype = w["model.norm.weight"].dtype
    head_dim = config["dModel"] // config["nHeads"]
    frequencies = config["ropeTheta"] ** (-torch.arange(0, head_dim, 2, dtype=dtype) / head_dim)
    angles = torch.outer(torch.arange(tokens.shape[1], dtype=dtype), frequencies)
    cos, sin = torch.cat([angles, angles], -1).cos(), torch.cat([angles, angles], -1).sin()

    def norm(x, name):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + config["normEps"]) * w[name + ".weight"]

    def linear(x, name):
        return mm(x, w[name + ".weight"].t())

    def rotate(x):
        a, b = x.chunk(2, dim=-1)
        return x * cos + torch.cat([-b, a], -1) * sin

    x = w["model.embed_tokens.weight"][tokens]
    for layer in range(config["nLayers"]):
        m = f"model.layers.{layer}"
        y = norm(x, m + ".input_layernorm")
        q = rotate(heads(linear(y, m + ".self_attn.q_proj"), config["nHeads"]))
        k = rotate(heads(linear(y, m + ".self_attn.k_proj"), config["nHeadsK"]))
        v = heads(linear(y, m + ".self_attn.v_proj"), config["nHeadsK"])
        x = x + linear(merge(attention(q, k, v, mm)), m + ".self_attn.o_proj")
        y = norm(x, m + ".post_attention_layernorm")
        gate = torch.nn.functional.silu(linear(y, m + ".mlp.gate_proj"))
        x = x + linear(gate * linear(y, m + ".mlp.up_proj"), m + ".mlp.down_proj")
    return linear(norm(x, "model.norm"), "lm_head")


def shapes(config):
    c, v = config["dModel"], config["vocabSize"]
    if config["architecture"] == "gpt2":
        yield "transformer.wte.weight", (v, c)
        yield "transformer.wpe.weight", (config["contextLength"], c)
        for layer in range(config["nLayers"]):
            h = f"transformer.h.{layer}."
            for name, n_in, n_out in (("attn.c_attn", c, 3 * c), ("attn.c_proj", c, c), ("mlp.c_fc", c, 4 * c), ("mlp.c_proj", 4 * c, c)):
                yield h + name + ".weight", (n_in, n_out)
                yield h + name + ".bias", (n_out,)
            for name in ("ln_1", "ln_2"):
                yield h + name + ".weight", (c,)
                yield h + name + ".bias", (c,)
        yield "transformer.ln_f.weight", (c,)
        yield "transformer.ln_f.bias", (c,)
        return
    kv = c // config["nHeads"] * config["nHeadsK"]
    wide = config["intermediateSize"]
    yield "model.embed_tokens.weight", (v, c)
    for layer in range(config["nLayers"]):
        m = f"model.layers.{layer}."
        for name, n_out, n_in in (("q", c, c), ("k", kv, c), ("v", kv, c), ("o", c, c)):
            yield f"{m}self_attn.{name}_proj.weight", (n_out, n_in)
        for name, n_out, n_in in (("gate", wide, c), ("up", wide, c), ("down", c, wide)):
            yield f"{m}mlp.{name}_proj.weight", (n_out, n_in)
        yield m + "input_layernorm.weight", (c,)
        yield m + "post_attention_layernorm.weight", (c,)
    yield "model.norm.weight", (c,)
    yield "lm_head.weight", (v, c)


def initial_weights(config, generator):
    """Larger than a real start, so that attention is far from uniform and every gradient counts."""
    weights = {}
    for name, shape in shapes(config):
        centre = 1.0 if "ln_" in name and name.endswith("weight") or "norm" in name else 0.0
        weights[name] = (centre + 0.2 * torch.randn(shape, generator=generator, dtype=torch.float64)).float()
    return weights


def learning_rate(step):
    t = TRAINING
    if step < t["warmupSteps"]:
        return t["lr"] * (step + 1) / t["warmupSteps"]
    progress = (step - t["warmupSteps"]) / (STEPS - t["warmupSteps"])
    return t["minLr"] + 0.5 * (t["lr"] - t["minLr"]) * (1 + math.cos(math.pi * progress))


def run(config, weights, tokens, dtype, mm, micro_batches):
    w = {name: torch.nn.Parameter(value.to(dtype, copy=True)) for name, value in weights.items()}
    model = gpt2 if config["architecture"] == "gpt2" else llama
    groups = [
        {"params": [p for p in w.values() if p.dim() >= 2], "weight_decay": TRAINING["weightDecay"]},
        {"params": [p for p in w.values() if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(TRAINING["beta1"], TRAINING["beta2"]), eps=TRAINING["eps"])
    result, losses = {}, []
    for step in range(STEPS):
        total = 0.0
        for part in tokens[step].chunk(micro_batches):
            logits = model(w, part[:, :-1], config, mm)
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten()) / micro_batches
            loss.backward()
            total += loss.detach()
            if step == 0:
                result["logits"] = torch.cat([result.get("logits", logits[:0]), logits]).detach()
        losses.append(total)
        if step == 0:
            result.update({"grad." + name: p.grad.clone() for name, p in w.items()})
        torch.nn.utils.clip_grad_norm_(w.values(), TRAINING["maxGradNorm"])
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        optimizer.step()
        optimizer.zero_grad()
    result["losses"] = torch.stack(losses)
    result.update({"after." + name: p.detach().clone() for name, p in w.items()})
    return {name: value.double() for name, value in result.items()}


def largest_errors(key, exact, rounded):
    """One number per part of the tensor's first axis."""
    parts = 3 if key.endswith("c_attn.bias") else 1
    return [max((r.chunk(parts)[i] - part).abs().max().item() for r in rounded) for i, part in enumerate(exact.chunk(parts))]


def write_safetensors(path, tensors, metadata):
    header, data = {"__metadata__": metadata}, b""
    for name, array in tensors.items():
        begin = len(data)
        data += np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": {"float32": "F32", "int32": "I32"}[str(array.dtype)], "shape": list(array.shape), "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    print(path, 8 + len(text) + len(data), "bytes")


def main():
    folder = pathlib.Path(__file__).parent.parent / "fixtures"
    folder.mkdir(exist_ok=True)
    for seed, (name, config) in enumerate(CONFIGS.items()):
        generator = torch.Generator().manual_seed(seed)
        weights = initial_weights(config, generator)
        tokens = torch.randint(0, VOCAB, (STEPS, BATCH, SEQLEN + 1), generator=generator)
        exact = run(config, weights, tokens, torch.float64, plain, 1)
        rounded = [run(config, weights, tokens, torch.float32, mm, parts) for mm, parts in ((plain, 1), (transposed, 1), (halved, 2))]
        errors = {key: largest_errors(key, value, [r[key] for r in rounded]) for key, value in exact.items()}
        tensors = {"tokens": tokens.numpy().astype(np.int32)}
        tensors.update({"weight." + key: value.numpy() for key, value in weights.items()})
        tensors.update({key: value.float().numpy() for key, value in exact.items()})
        metadata = {"config": json.dumps(config), "training": json.dumps(TRAINING), "errors": json.dumps(errors)}
        write_safetensors(folder / f"{name}.safetensors", tensors, metadata)
        print("loss", exact["losses"][0].item(), "->", exact["losses"][-1].item())
        for key, parts in sorted(errors.items(), key=lambda e: -max(e[1]) / exact[e[0]].abs().max())[:6]:
            print(f"  {key}: max {exact[key].abs().max():.3g}, float32 errors {parts}")


main()
