"""Compares how fast windows of a slide are read with openslide-python, in megapixels per CPU second.

    read.py SLIDE [ROUNDS]

Windows of 448 px at 0.5 mpp from a slide of about 0.25 mpp, every 144 px as inference takes them and
every 448 px without overlap. `cargo bench -p cerb-slide --bench read` reads ours. The peer reads the
same windows of level 0 (`read_region`), drops alpha and resizes by area, with OpenCV (`cv2`) and with
Pillow (`pil`); `raw` is `read_region` alone, without alpha dropped or pixels resized. Rounds alternate,
so that what else the machine does falls on both; the best of each is told.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import openslide
from PIL import Image

SIDE, MPP = 448, 0.5
ROOT = Path(__file__).parents[2]


def bench():
    """Builds our benchmark and returns its program."""
    command = ["cargo", "bench", "-p", "cerb-slide", "--bench", "read", "--no-run", "--message-format=json"]
    lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    built = (json.loads(line) for line in lines if line.startswith("{"))
    return next(one["executable"] for one in built if one.get("executable"))


def peer(path, stride, how):
    slide = openslide.OpenSlide(path)
    factor = MPP / float(slide.properties["openslide.mpp-x"])
    width, height = (int(side / factor) for side in slide.dimensions)
    source = round(SIDE * factor)
    pixels, start = 0, time.process_time()
    for y in range(0, height - SIDE + 1, stride):
        for x in range(0, width - SIDE + 1, stride):
            region = slide.read_region((round(x * factor), round(y * factor)), 0, (source, source))
            if how == "cv2":
                cv2.resize(np.asarray(region)[..., :3], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
            elif how == "pil":
                np.asarray(region.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX))
            pixels += SIDE * SIDE
    return pixels / 1e6 / (time.process_time() - start)


def main():
    path, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 2
    cv2.setNumThreads(1)
    program = bench()
    for stride in (144, SIDE):
        best = {}
        for _ in range(rounds):
            said = subprocess.run([program, path, str(SIDE), str(stride), str(MPP)], check=True, capture_output=True, text=True)
            rates = {"cerb": float(said.stdout.split()[0])}
            rates |= {how: peer(path, stride, how) for how in ("cv2", "pil", "raw")}
            best = {how: max(rate, best.get(how, 0)) for how, rate in rates.items()}
        ratios = ", ".join(f"{how} {rate:.1f} ({best['cerb'] / rate:.1f} ×)" for how, rate in best.items() if how != "cerb")
        print(f"every {stride} px: cerb {best['cerb']:.1f} MP per CPU second; openslide-python {ratios}")


main()
