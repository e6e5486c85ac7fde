"""Recomputes the image crate's random cases with OpenCV, SciPy and scikit-image.

Usage: image.py SECTION FILE. The file is a row of arrays (type code, dimensions,
sizes, values; all little-endian), written by stdlib/image/tests/oracles.rs. Prints
how many cases agree, or the first that does not and fails.
"""

import struct
import sys

import cv2
import numpy as np
import skimage
from scipy import ndimage
from skimage import color, filters, morphology, segmentation

# 0.25 queues a pixel at no less than the value it was reached from, and 0.26 removes
# small objects at the limit too; the published results come from 0.19, which 0.24 equals.
if not skimage.__version__.startswith("0.24."):
    sys.exit(f"scikit-image {skimage.__version__} is not the 0.24 of requirements.txt")

TYPES = [np.uint8, np.int32, np.float32, np.float64]
CROSS = ndimage.generate_binary_structure(2, 1)
SQUARE = ndimage.generate_binary_structure(2, 2)


class Arrays:
    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = file.read()
        self.at = 0

    def __bool__(self):
        return self.at < len(self.data)

    def next(self):
        code, dimensions = struct.unpack_from("<II", self.data, self.at)
        shape = struct.unpack_from(f"<{dimensions}I", self.data, self.at + 8)
        start = self.at + 8 + 4 * dimensions
        array = np.frombuffer(self.data, TYPES[code], int(np.prod(shape)), start)
        self.at = start + array.nbytes
        return array.reshape(shape)


def same(what, found, expected):
    expected = np.asarray(expected)
    assert found.shape == expected.shape, f"{what}: shape {found.shape}, expected {expected.shape}"
    assert np.array_equal(found, expected), f"{what}:\n{found}\nexpected\n{expected}"


def near(what, found, expected, bound):
    worst = np.abs(found.astype(np.float64) - expected).max(initial=0)
    assert worst <= bound, f"{what}: off by {worst}"


def outlines(mask):
    """Outlines of the outermost parts, by their first pixel in raster order."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    parts, _ = ndimage.label(mask, SQUARE)
    order = []
    for contour in found:
        contour = contour.reshape(-1, 2)
        x, y = contour[0]
        order.append((parts[y, x], contour))
    return [contour for _, contour in sorted(order, key=lambda pair: pair[0])]


def masks(arrays):
    mask, (limit, size) = arrays.next(), arrays.next()
    four, eight, stats = arrays.next(), arrays.next(), arrays.next()
    same("labels, 4 neighbours", four, ndimage.label(mask, CROSS)[0])
    expected, count = ndimage.label(mask, SQUARE)
    same("labels, 8 neighbours", eight, expected)
    areas = np.bincount(expected.ravel(), minlength=count + 1)[1:]
    boxes = [(s[1].start, s[0].start, s[1].stop, s[0].stop) for s in ndimage.find_objects(expected)]
    table = [[area, *box] for area, box in zip(areas, boxes)]
    same("areas and boxes", stats.reshape(-1, 5), np.array(table, np.int32).reshape(-1, 5))
    same("holes", arrays.next(), ndimage.binary_fill_holes(mask))
    kept = morphology.remove_small_objects(mask.astype(bool), min_size=int(limit), connectivity=1)
    same("small pieces", arrays.next(), kept)
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (int(size), int(size)))
    same(f"erosion, {size}", arrays.next(), cv2.erode(mask, element))
    same(f"dilation, {size}", arrays.next(), cv2.dilate(mask, element))
    for part in range(1, count + 1):
        same("outline of a part", arrays.next(), outlines(expected == part)[0])
    every = outlines(mask)
    none = np.zeros((0, 2), np.int32)
    same("last outline", arrays.next(), every[-1] if every else none)
    largest = outlines(expected == 1 + np.argmax(areas))[0] if count else none
    same("outline of the largest part", arrays.next(), largest)


def watershed(arrays):
    image, markers, mask = arrays.next(), arrays.next(), arrays.next()
    expected = segmentation.watershed(image, markers, mask=mask.astype(bool))
    same("watershed", arrays.next(), expected)


def at_least(mask, size):
    labels, _ = ndimage.label(mask, CROSS)
    return (np.bincount(labels.ravel()) >= size)[labels] & (labels > 0)


def nuclei(arrays):
    inner, contour = arrays.next(), arrays.next()
    foreground = ((inner + contour) > 0.5).astype(np.uint8)
    eroded = cv2.erode(foreground, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3)))
    seeds = ndimage.binary_fill_holes(at_least(inner > 0.5, 4))
    markers, _ = ndimage.label(seeds, CROSS)
    expected = segmentation.watershed(-inner, markers, mask=at_least(eroded, 8))
    same("nuclei", arrays.next(), expected)


def described(labels, types, reference, scale):
    ids = np.unique(labels)
    ids = ids[1:] if reference else ids[ids != 0]
    for name in ids:
        mask = labels == name
        (rows, columns), = ndimage.find_objects(mask.astype(int))
        box = np.array([columns.start, rows.start, columns.stop, rows.stop])
        origin = box[:2]
        crop = mask[rows, columns].astype(np.uint8)
        moments = cv2.moments(crop)
        centre = np.array([moments["m10"], moments["m01"]]) / moments["m00"] + origin
        if reference:
            contour = outlines(crop)[-1]
        else:
            parts, _ = ndimage.label(crop, SQUARE)
            contour = outlines(parts == 1 + np.argmax(np.bincount(parts.ravel())[1:]))[0]
        if len(contour) < 3:
            continue
        values, counts = np.unique(types[mask], return_counts=True)
        order = np.argsort(-counts, kind="stable")
        best = order[1] if values[order[0]] == 0 and len(order) > 1 else order[0]
        contour, area = contour + origin, int(mask.sum())
        if scale != 1:
            box, centre, contour = (np.round(v * float(scale)) for v in (box, centre, contour))
        head = [name, *box, area, int(values[best])]
        yield np.array(head, np.int32), [*centre, counts[best] / (area + 1e-6)], contour.astype(np.int32)


def objects(arrays):
    labels, types, (reference, scale, count) = arrays.next(), arrays.next(), arrays.next()
    expected = list(described(labels, types, reference, scale))
    assert len(expected) == count, f"{count} objects, expected {len(expected)}"
    for head, numbers, contour in expected:
        same("id, box, area, type", arrays.next(), head)
        near("centre, share", arrays.next(), np.array(numbers), 1e-9)
        same("outline", arrays.next(), contour)


def pixels(arrays):
    image, mask, rgb, (width, height), (sigma,) = (arrays.next() for _ in range(5))
    # OpenCV's order of summation depends on the number of channels: the last bit may differ.
    half = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_LINEAR)
    near("half, bilinear", arrays.next(), half, 2e-6)
    same("double, nearest", arrays.next(), cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST))
    quarter = cv2.resize(image, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_NEAREST)
    same("quarter, nearest", arrays.next(), quarter)
    size = (int(width), int(height))
    same(f"mask to {size}", arrays.next(), cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST))
    near("blur", arrays.next(), ndimage.gaussian_filter(image.astype(np.float64), sigma, mode="nearest"), 2e-5)
    level = -1 if mask.min() == mask.max() else filters.threshold_otsu(mask)
    same("threshold", arrays.next(), [level])
    # scikit-image divides by ln(1e-6), six decades: ours is in units of the stain's own density.
    stains = 6 * color.separate_stains(rgb, color.hed_from_rgb)
    for channel in range(3):
        near("stain", arrays.next(), stains[..., channel], 1e-5)


def tissue(arrays):
    rgb, (kernel, area), grey = arrays.next(), arrays.next(), arrays.next()
    same("brightness", grey, cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))
    # TIAToolbox's MorphologicalMasker, written anew with the same functions of OpenCV.
    dark = (grey < filters.threshold_otsu(grey)).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(dark)
    large = stats[:, cv2.CC_STAT_AREA] >= area
    large[0] = False
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (int(kernel), int(kernel)))
    same("tissue by brightness", arrays.next(), cv2.dilate(large[labels].astype(np.uint8), element))
    hed = [skimage.img_as_ubyte(color.rgb2hed(rgb)[..., channel]) for channel in range(3)]
    stains = [arrays.next().copy() for _ in range(3)]
    for ours, theirs in zip(stains, hed):
        same("stain in bytes", ours, theirs)
    disc = morphology.disk(4)
    entropies = [filters.rank.entropy(stain, disc) for stain in stains]
    ours = arrays.next()
    near("entropy", ours, entropies[0] + entropies[1] - entropies[2], 1e-5)
    ours = ours.astype(np.float64)
    above = ours > filters.threshold_otsu(ours)
    disc = morphology.disk(3)

    def filled(mask):
        # A gap at the edge of the picture is no hole to us.
        small = morphology.remove_small_holes(mask, int(area))
        return small & ndimage.binary_fill_holes(mask)

    closed = filled(morphology.binary_erosion(above, disc))
    kept = morphology.remove_small_objects(closed, int(area))
    same("tissue by entropy", arrays.next(), filled(morphology.binary_dilation(kept, disc)))


# Reinhard et al. 2001 and the target that Amgad et al. 2019 published.
CONES = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
OPPONENT = np.diag([3**-0.5, 6**-0.5, 2**-0.5]) @ np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0]])
MEAN, SPREAD = [8.74108109, -0.12440419, 0.0444982], [0.6135447, 0.10989545, 0.0286032]


def reinhard(rgb):
    lab = np.log(rgb.reshape(-1, 3) @ CONES.T) @ OPPONENT.T
    lab = (lab - lab.mean(0)) / lab.std(0) * SPREAD + MEAN
    rgb_again = np.exp(lab @ np.linalg.inv(OPPONENT).T) @ np.linalg.inv(CONES).T
    return np.clip(np.round(rgb_again), 0, 255).reshape(rgb.shape)


def colour(arrays):
    from torchstain.numpy.normalizers.macenko import NumpyMacenkoNormalizer

    rgb = arrays.next()
    # A value on the edge between two whole numbers may fall to either side.
    macenko = NumpyMacenkoNormalizer().normalize(rgb, stains=False)[0]
    near("macenko", arrays.next(), macenko, 1)
    near("reinhard", arrays.next(), reinhard(rgb), 1)


def areas(arrays):
    from shapely import Polygon, box

    classes, (count,) = arrays.next(), arrays.next()
    parts = sum(ndimage.label(classes == value, CROSS)[1] for value in range(1, 16))
    assert count == parts, f"{count} areas, expected {parts}"
    for _ in range(count):
        value, pixels, rings = arrays.next()
        outline, *holes = [arrays.next() for _ in range(rings)]
        area = Polygon(outline, holes)
        assert area.is_valid and area.area == pixels, f"area {area} of {pixels} px:\n{classes}"
        drawn = [area.contains(box(x, y, x + 1, y + 1)) for y, x in np.ndindex(classes.shape)]
        assert (classes[np.reshape(drawn, classes.shape)] == value).all(), f"area {area}:\n{classes}"


def main():
    section, path = sys.argv[1:]
    arrays, count = Arrays(path), 0
    compare = {"masks": masks, "watershed": watershed, "nuclei": nuclei, "objects": objects, "pixels": pixels, "tissue": tissue, "colour": colour, "areas": areas}[section]
    while arrays:
        try:
            compare(arrays)
        except AssertionError as error:
            sys.exit(f"case {count} of {section} differs: {error}")
        count += 1
    print(f"{count} cases agree: {section}")


main()
