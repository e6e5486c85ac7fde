"""Judges the slide reader's pixels by OpenSlide, tifffile and OpenCV.

`slide.py check DIR` reads `DIR/cases.txt`, one region a line, tab-separated:
    oracle, slide, level, x, y, width, height, file, out_width, out_height
and compares the RGB bytes of `file` with what the oracle reads there. Oracles:
    openslide   level pixels, equal to the bit
    tifffile    pixels of the pyramid's level, equal to the bit
    associated  `level` is the image's name, equal to the bit
    area        OpenSlide's region resized by cv2.INTER_AREA, within 1
    cubic       OpenSlide's region resized by cv2.INTER_CUBIC, within 1
`slide.py make DIR` writes TIFF files of every kind the reader knows, each with its pixels
beside it, and `DIR/made.txt`: file, width, height, RGB file.
"""

import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import openslide
import tifffile


@lru_cache
def slide(path):
    return openslide.OpenSlide(path)


@lru_cache
def level_pixels(path, level):
    with tifffile.TiffFile(path) as tiff:
        return tiff.series[0].levels[level].asarray()


def on_white(rgba):
    rgba = np.asarray(rgba)
    assert (rgba[..., 3] == 255).all(), "the oracle sees transparency"
    return rgba[..., :3]


def read_level(path, level, x, y, w, h):
    downsample = slide(path).level_downsamples[level]
    corner = (round(x * downsample), round(y * downsample))
    return on_white(slide(path).read_region(corner, level, (w, h)))


def expected(oracle, path, level, x, y, w, h, out):
    if oracle == "openslide":
        return read_level(path, int(level), x, y, w, h)
    if oracle == "tifffile":
        return level_pixels(path, int(level))[y : y + h, x : x + w]
    if oracle == "associated":
        return on_white(slide(path).associated_images[level])
    import cv2

    how = {"area": cv2.INTER_AREA, "cubic": cv2.INTER_CUBIC}[oracle]
    return cv2.resize(read_level(path, int(level), x, y, w, h), out, interpolation=how)


def check(folder):
    bad = 0
    for line in (folder / "cases.txt").read_text().splitlines():
        oracle, path, level, *numbers, file, ow, oh = line.split("\t")
        x, y, w, h = map(int, numbers)
        out = (int(ow), int(oh))
        ours = np.frombuffer((folder / file).read_bytes(), np.uint8).reshape(out[1], out[0], 3)
        theirs = expected(oracle, path, level, x, y, w, h, out)
        bound = 1 if oracle in ("area", "cubic") else 0
        if theirs.shape != ours.shape:
            print(f"{line}: shape {ours.shape}, the oracle's is {theirs.shape}")
            bad += 1
            continue
        gap = np.abs(ours.astype(int) - theirs.astype(int))
        name = Path(path).name
        print(f"{name} {oracle} level {level} ({x},{y}) {w}x{h}: {(gap == 0).mean():.4%} equal, max {gap.max()}")
        bad += gap.max() > bound
    return bad


def make(folder):
    root = Path(__file__).parents[1]
    rgb = level_pixels(str(root / "slides" / "glands-small.tif"), 1)[:301, :407].copy()
    grey = rgb[..., 1].copy()
    tiles = {"tile": (64, 48)}
    kinds = {
        "none-strips": dict(rowsperstrip=7),
        "none-one-strip": dict(rowsperstrip=301),
        "none-tiles": dict(**tiles),
        "lzw-strips": dict(compression="lzw", rowsperstrip=10),
        "lzw-tiles-predictor": dict(compression="lzw", predictor=True, **tiles),
        "deflate-tiles": dict(compression="zlib", **tiles),
        "deflate-tiles-predictor": dict(compression="zlib", predictor=True, **tiles),
        "deflate-adobe": dict(compression="adobe_deflate", rowsperstrip=16),
        "big-endian": dict(byteorder=">", compression="zlib", predictor=True, **tiles),
        "bigtiff": dict(bigtiff=True, compression="lzw", **tiles),
        "bigtiff-big-endian": dict(bigtiff=True, byteorder=">", **tiles),
        "jpeg-tiles": dict(compression="jpeg", subsampling=(2, 2), tile=(64, 64)),
        "jpeg-tiles-444": dict(compression="jpeg", subsampling=(1, 1), tile=(64, 64)),
        "jpeg-strips": dict(compression="jpeg", subsampling=(2, 2), rowsperstrip=32),
        "grey-lzw": dict(grey=True, compression="lzw", **tiles),
        "grey-jpeg": dict(grey=True, compression="jpeg", tile=(64, 64)),
        "grey-white-is-zero": dict(grey=True, photometric="miniswhite", rowsperstrip=9),
        "rgba": dict(alpha=True, compression="zlib", **tiles),
    }
    lines = []
    for name, options in kinds.items():
        writer = {k: options.pop(k) for k in ("bigtiff", "byteorder") if k in options}
        pixels = grey if options.pop("grey", False) else rgb
        if options.pop("alpha", False):
            pixels = np.dstack([rgb, np.full_like(grey, 255)])
            options["extrasamples"] = ["unassalpha"]
        options.setdefault("photometric", "minisblack" if pixels.ndim == 2 else "rgb")
        file = folder / f"{name}.tif"
        with tifffile.TiffWriter(file, **writer) as tiff:
            tiff.write(pixels, metadata=None, **options)
        # Lossless kinds must come back as they were; JPEG as libjpeg-turbo decodes it.
        back = tifffile.imread(file)
        if options["photometric"] == "miniswhite":
            back = 255 - back
        back = np.dstack([back] * 3) if back.ndim == 2 else back[..., :3]
        (folder / f"{name}.rgb").write_bytes(back.tobytes())
        lines.append(f"{name}.tif\t{back.shape[1]}\t{back.shape[0]}\t{name}.rgb")
    (folder / "made.txt").write_text("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    command, folder = sys.argv[1:]
    sys.exit(1 if {"check": check, "make": make}[command](Path(folder)) else 0)
