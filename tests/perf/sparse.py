"""Paints a slide of 100,000 × 100,000 px at 0.25 mpp that is white but for some fields of real tissue.

    .venv/bin/python tests/perf/sparse.py sparse.tif --fields 8

The tissue is that of pipelines/data, doubled in size. A pyramidal TIFF of JPEG tiles: what memory and scratch a whole
slide takes can be watched without one (docs/performance.md).
"""

import argparse
import io
import pathlib

import numpy
import tifffile
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[2]
SLIDE = ROOT / "pipelines/data/CMU-1-Small-Region.svs"
TILE = 512
LEVELS = (1, 4, 16, 64)


def encoded(tile):
    out = io.BytesIO()
    Image.fromarray(tile).save(out, "JPEG", quality=80, subsampling="4:2:0")
    return out.getvalue()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slide", type=pathlib.Path)
    parser.add_argument("--side", type=int, default=100_000, help="pixels per side")
    parser.add_argument("--fields", type=int, default=8, help="fields of tissue, 768 µm a side")
    options = parser.parse_args()
    field = Image.fromarray(tifffile.imread(SLIDE, level=0)[200:1736, 300:1836]).resize((3072, 3072), Image.Resampling.LANCZOS)
    spread = numpy.random.default_rng(5)
    last = options.side - 3072
    corners = [(64 * int(y), 64 * int(x)) for y, x in spread.integers(0, last // 64, (options.fields, 2))]
    with tifffile.TiffWriter(options.slide, bigtiff=True) as out:
        for level in LEVELS:
            side = -(-options.side // level)
            small = numpy.asarray(field.resize((3072 // level, 3072 // level), Image.Resampling.BOX))
            blank = encoded(numpy.full((TILE, TILE, 3), 243, numpy.uint8))

            def tiles():
                for top in range(0, side, TILE):
                    for left in range(0, side, TILE):
                        tile = None
                        for y, x in corners:
                            y, x = y // level - top, x // level - left
                            height, width = small.shape[:2]
                            if -height < y < TILE and -width < x < TILE:
                                tile = numpy.full((TILE, TILE, 3), 243, numpy.uint8) if tile is None else tile
                                part = small[max(-y, 0) : TILE - y, max(-x, 0) : TILE - x]
                                tile[max(y, 0) : max(y, 0) + part.shape[0], max(x, 0) : max(x, 0) + part.shape[1]] = part
                        yield blank if tile is None else encoded(tile)

            per_centimetre = 1e4 / (0.25 * level)
            out.write(
                tiles(),
                shape=(side, side, 3),
                dtype=numpy.uint8,
                tile=(TILE, TILE),
                photometric="ycbcr",
                subsampling=(2, 2),
                compression="jpeg",
                resolution=(per_centimetre, per_centimetre),
                resolutionunit="CENTIMETER",
                subfiletype=0 if level == 1 else 1,
                metadata=None,
            )


if __name__ == "__main__":
    main()
