"""Times a step of training on the CPU beside PyTorch: a network, batch, losses and Adam of the same shape, turn by turn.

    python -m venv perf && perf/bin/pip install torch onnx onnxruntime safetensors numpy
    perf/bin/python tests/perf/training.py --count 2 --side 144 --threads 1

All five decoders learn; the patch head rests, as it does on batches of segmentation. One round asks each engine
once, so that what else the machine does falls on all; the best of the rounds counts, by processor time and wall time.
"""

import argparse
import json
import subprocess

import torch
from network import HEADS, ROOT, Cerberus, timed
from torch.nn import functional


class Ours:
    def __init__(self, options):
        command = ["cargo", "bench", "--quiet", "-p", "cerb-train", "--bench", "step", "--"]
        command += [str(v) for v in ("serve", "resnet34", options.count, options.side, options.threads)]
        self.server = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.server.stdout.readline().strip() == "ready"

    def ask(self):
        self.server.stdin.write("step\n")
        self.server.stdin.flush()
        return json.loads(self.server.stdout.readline())


class Torch:
    def __init__(self, options, form):
        self.network = Cerberus().train().to(memory_format=form)
        self.adam = torch.optim.Adam(self.network.parameters())
        random = torch.Generator().manual_seed(5)
        size = (options.count, options.side, options.side)
        self.images = torch.rand((options.count, 3, options.side, options.side), generator=random).contiguous(memory_format=form)
        self.targets = [torch.randint(classes, size, generator=random) for _, _, classes in HEADS]

    def step(self):
        self.adam.zero_grad(set_to_none=True)
        network = self.network
        x0, x1, x2, x3, x4 = network.backbone(self.images)
        first, total = network.conv_map(x4), 0
        for (name, kind, classes), target in zip(HEADS, self.targets):
            x = first
            for level, skip in zip(network.decoder_head[name], (x3, x2, x1, x0)):
                x = level(skip + functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))
            logits = network.output_head[name][kind](x)
            if kind == "INST":
                total = total + functional.cross_entropy(logits, target)
            else:
                weights = torch.ones(classes)
                weights[0] = 0
                total = total + functional.cross_entropy(logits, target, weights, reduction="none").mean()
                mask, truth = (target > 0).unsqueeze(1), functional.one_hot(target, classes).permute(0, 3, 1, 2)
                likely = functional.softmax(logits, 1) * mask
                for k in range(1, classes):
                    p, t = likely[:, k], truth[:, k] * mask[:, 0]
                    total = total + 1 - (2 * (p * t).sum() + 1e-3) / (p.sum() + t.sum() + 1e-3)
        total.backward()
        self.adam.step()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2, help="images in a batch")
    parser.add_argument("--side", type=int, default=144, help="side of an image in pixels")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    ours = Ours(options)
    plain = Torch(options, torch.contiguous_format)
    last = Torch(options, torch.channels_last)
    engines = {
        "torch": lambda: timed(plain.step),
        "torch, channels last": lambda: timed(last.step),
        "cerb": ours.ask,
    }
    best = {name: {"wall": float("inf"), "cpu": float("inf")} for name in engines}
    for turn in range(options.rounds + 1):
        for name, engine in engines.items():
            found = engine()
            if turn > 0:  # The first makes memory and plans.
                best[name] = {key: min(best[name][key], found[key]) for key in best[name]}
    for name, found in best.items():
        print(f"{name:28} cpu {found['cpu']:7.3f} s   wall {found['wall']:7.3f} s")
    for key in ("cpu", "wall"):
        of = lambda name: best["cerb"][key] / best[name][key]
        print(f"{key}: a step takes {of('torch'):.3f} of PyTorch's ({of('torch, channels last'):.3f} channels last)")


if __name__ == "__main__":
    main()
