"""Times the network on the CPU beside PyTorch and ONNX Runtime: the same layers, weights and picture, turn by turn.

    python -m venv perf && perf/bin/pip install torch onnx onnxruntime safetensors numpy
    perf/bin/python tests/perf/network.py --threads 1 --rounds 3

It builds `cargo bench -p cerb-ops --bench network`, which writes the weights that all of them load. One round
asks each engine once, so that what else the machine does falls on all; the best of the rounds counts. Processor
time (user and system, all threads) is compared, and wall time where there is more than one thread.
"""

import argparse
import json
import pathlib
import resource
import subprocess
import tempfile
import time

import numpy
import onnxruntime
import safetensors.torch
import torch
from torch import nn
from torch.nn import functional

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEADS = [("Lumen", "INST", 3), ("Gland", "INST", 3), ("Nuclei", "INST", 3), ("Nuclei#TYPE", "TYPE", 7), ("Gland#TYPE", "TYPE", 3)]


class Basic(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        if stride != 1:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.halves = stride != 1

    def forward(self, x):
        beside = self.downsample(x) if self.halves else x
        x = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(x)) + beside)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 1, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inputs = 64
        for at, (outputs, blocks) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)]):
            stride = 1 if at == 0 else 2
            layers = [Basic(inputs, outputs, stride)] + [Basic(outputs, outputs, 1) for _ in range(blocks - 1)]
            setattr(self, f"layer{at + 1}", nn.Sequential(*layers))
            inputs = outputs

    def forward(self, x):
        x0 = functional.relu(self.bn1(self.conv1(x)))
        x1 = self.layer1(functional.max_pool2d(x0, 3, 2, 1))
        x2 = self.layer2(x1)
        x3 = self.layer3(x2)
        return x0, x1, x2, x3, self.layer4(x3)


class Unit(nn.Module):
    def __init__(self, inputs, outputs, side):
        super().__init__()
        self.bn = nn.BatchNorm2d(outputs)
        self.conv = nn.Conv2d(inputs, outputs, side, 1, side // 2)

    def forward(self, x):
        return functional.relu(self.bn(self.conv(x)))


class Level(nn.Module):
    def __init__(self, inputs, between, outputs):
        super().__init__()
        self.block = nn.Sequential(Unit(inputs, between, 3), Unit(between, outputs, 3))

    def forward(self, x):
        return self.block(x)


class One(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x):
        return self.conv(x)


class Hidden(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(Unit(64, 96, 1))

    def forward(self, x):
        return self.block(x)


class Head(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.x = nn.Sequential(Hidden(), One(96, classes))

    def forward(self, x):
        return self.x(x)


class PatchClass(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(512)
        self.conv1 = nn.Conv2d(512, 256, 1)
        self.bn2 = nn.BatchNorm2d(256)
        self.conv2 = nn.Conv2d(256, 9, 1)

    def forward(self, x):
        start = (x.shape[2] - 9) // 2
        x = x[:, :, start : start + 9, start : start + 9].mean((2, 3), keepdim=True)
        x = functional.relu(self.bn2(self.conv1(functional.relu(self.bn1(x)))))
        return self.conv2(x)


def doubled(x):
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class Cerberus(nn.Module):
    """The published layers, by the specification of the weights' names."""

    def __init__(self):
        super().__init__()
        self.backbone = Encoder()
        self.conv_map = nn.Conv2d(512, 256, 1, bias=False)
        levels = [(256, 256, 128), (128, 128, 64), (64, 64, 64), (64, 64, 64)]
        self.decoder_head = nn.ModuleDict({name: nn.ModuleList(Level(*level) for level in levels) for name, _, _ in HEADS})
        self.decoder_head["Patch-Class"] = PatchClass()
        self.output_head = nn.ModuleDict({name: nn.ModuleDict({kind: Head(classes)}) for name, kind, classes in HEADS})

    def forward(self, image):
        x0, x1, x2, x3, x4 = self.backbone(image)
        first = self.conv_map(x4)
        outputs = []
        for name, kind, _ in HEADS:
            x = first
            for level, skip in zip(self.decoder_head[name], (x3, x2, x1, x0)):
                x = level(skip + doubled(x))
            outputs.append(self.output_head[name][kind](x))
        return (*outputs, self.decoder_head["Patch-Class"](x4))


def picture(side):
    """The picture that the bench makes."""
    index = numpy.arange(3 * side * side, dtype=numpy.uint32)
    values = ((index * numpy.uint32(2654435761)) >> numpy.uint32(13)).astype(numpy.uint8)
    return numpy.ascontiguousarray(values.reshape(1, side, side, 3).transpose(0, 3, 1, 2), dtype=numpy.float32) / 255


def timed(work):
    def spent():
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    cpu, began = spent(), time.perf_counter()
    work()
    return {"wall": time.perf_counter() - began, "cpu": spent() - cpu}


class Ours:
    def __init__(self, weights):
        command = ["cargo", "bench", "--quiet", "-p", "cerb-ops", "--bench", "network", "--", "serve", str(weights)]
        self.server = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.server.stdout.readline().strip() == "ready"

    def ask(self, side, kept, threads):
        self.server.stdin.write(f"{side} {kept} {threads}\n")
        self.server.stdin.flush()
        return json.loads(self.server.stdout.readline())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--large", type=int, default=1024, help="side of the larger input, 304 px more than a multiple of 144")
    options = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp())
    ours = Ours(folder / "weights.safetensors")

    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)
    network = Cerberus().eval()
    tensors = safetensors.torch.load_file(folder / "weights.safetensors")
    missing, unexpected = network.load_state_dict(tensors, strict=False)
    missing = [name for name in missing if "num_batches" not in name]
    unexpected = [name for name in unexpected if not name.startswith("backbone.fc.")]
    assert not missing and not unexpected, (missing, unexpected)
    image = picture(448)
    example = torch.from_numpy(image)
    torch.onnx.export(network, (example,), folder / "network.onnx", opset_version=17, dynamo=False)
    session = onnxruntime.SessionOptions()
    session.intra_op_num_threads = options.threads
    session.add_session_config_entry("session.intra_op.allow_spinning", "0")
    runtime = onnxruntime.InferenceSession(folder / "network.onnx", session, providers=["CPUExecutionProvider"])
    last = network.to(memory_format=torch.channels_last)
    reshaped = example.contiguous(memory_format=torch.channels_last)
    plain = Cerberus().eval()
    plain.load_state_dict(tensors, strict=False)

    large, kept = options.large, options.large - 304
    engines = {
        "torch 448": lambda: timed(lambda: plain(example)),
        "torch 448, channels last": lambda: timed(lambda: last(reshaped)),
        "onnxruntime 448": lambda: timed(lambda: runtime.run(None, {runtime.get_inputs()[0].name: image})),
        "cerb 448, all of it": lambda: ours.ask(448, 0, options.threads),
        "cerb 448, centre 144": lambda: ours.ask(448, 144, options.threads),
        f"cerb {large}, centre {kept}": lambda: ours.ask(large, kept, options.threads),
    }
    best = {name: {"wall": float("inf"), "cpu": float("inf")} for name in engines}
    for turn in range(options.rounds + 1):
        for name, engine in engines.items():
            found = engine()
            if turn > 0:  # The first makes memory and plans.
                best[name] = {key: min(best[name][key], found[key]) for key in found}
    for name, found in best.items():
        print(f"{name:28} cpu {found['cpu']:7.3f} s   wall {found['wall']:7.3f} s")
    ratio = lambda one, other, key, scale=1.0: best[one][key] / best[other][key] * scale
    # What 448/144 takes for the area that one large input answers for.
    patches = (kept / 144) ** 2
    for key in ("cpu", "wall"):
        print(
            f"{key}: all of a 448 patch {ratio('cerb 448, all of it', 'onnxruntime 448', key):.3f} of ONNX Runtime,"
            f" {ratio('cerb 448, all of it', 'torch 448', key):.3f} of PyTorch"
            f" ({ratio('cerb 448, all of it', 'torch 448, channels last', key):.3f} channels last);"
            f" one kept 144² {ratio('cerb 448, centre 144', 'torch 448', key):.3f} of PyTorch's patch;"
            f" the same tissue at {large}/{kept} {ratio(f'cerb {large}, centre {kept}', 'torch 448', key, 1 / patches):.4f} of PyTorch at 448/144"
        )


if __name__ == "__main__":
    main()
