//! Places blocks in layers: what is read stands above what reads it.
//!
//! The classical four steps (Sugiyama, Tagawa, Toda 1981): layers by longest
//! path, bends where an edge passes a layer, fewer crossings by barycentres, and
//! positions by least squares under a minimum distance.

use super::Drawing;

/// A point, in pixels.
pub type Point = (f64, f64);

/// Where everything stands.
pub struct Layout {
    /// Size of the picture.
    pub size: Point,
    /// Centre of each block.
    pub centres: Vec<Point>,
    /// The points each edge runs through, from the bottom of one block to the top of another.
    pub routes: Vec<Vec<Point>>,
}

/// Height of a block.
pub const BLOCK_HEIGHT: f64 = 44.0;
const GAP_X: f64 = 28.0;
const GAP_Y: f64 = 52.0;
const BORDER: f64 = 28.0;
const BEND_WIDTH: f64 = 8.0;
const SWEEPS: usize = 12;

/// A block or a bend, by index: blocks come first.
struct Grid {
    layers: Vec<Vec<usize>>,
    layer_of: Vec<usize>,
    widths: Vec<f64>,
    above: Vec<Vec<usize>>,
    below: Vec<Vec<usize>>,
    chains: Vec<Vec<usize>>,
}

/// Places a drawing whose blocks have these widths; its edges must not form a circle.
pub fn place(drawing: &Drawing, widths: &[f64]) -> Layout {
    let mut grid = build(drawing, widths);
    order(&mut grid);
    let xs = positions(&grid);
    finish(drawing, &grid, &xs)
}

fn build(drawing: &Drawing, widths: &[f64]) -> Grid {
    let n = drawing.blocks.len();
    let layer_of = layers(drawing, n);
    let depth = layer_of.iter().max().map_or(0, |deepest| deepest + 1);
    let mut grid = Grid {
        layers: vec![Vec::new(); depth],
        layer_of: layer_of.clone(),
        widths: widths.to_vec(),
        above: vec![Vec::new(); n],
        below: vec![Vec::new(); n],
        chains: Vec::new(),
    };
    for (block, &layer) in layer_of.iter().enumerate() {
        grid.layers[layer].push(block);
    }
    for edge in &drawing.edges {
        let mut chain = vec![edge.from];
        for layer in layer_of[edge.from] + 1..layer_of[edge.to] {
            let bend = grid.widths.len();
            grid.widths.push(BEND_WIDTH);
            grid.layer_of.push(layer);
            grid.above.push(Vec::new());
            grid.below.push(Vec::new());
            grid.layers[layer].push(bend);
            chain.push(bend);
        }
        chain.push(edge.to);
        for pair in chain.windows(2) {
            grid.below[pair[0]].push(pair[1]);
            grid.above[pair[1]].push(pair[0]);
        }
        grid.chains.push(chain);
    }
    grid
}

/// Layers by the longest path from above; what nothing feeds moves down to its first reader.
fn layers(drawing: &Drawing, n: usize) -> Vec<usize> {
    let mut layer = vec![0usize; n];
    // At most n rounds: the edges form no circle. A circle would stop here too.
    for _ in 0..n {
        let before = layer.clone();
        for edge in &drawing.edges {
            layer[edge.to] = layer[edge.to].max(layer[edge.from] + 1);
        }
        if layer == before {
            break;
        }
    }
    for block in 0..n {
        let fed = drawing.edges.iter().any(|edge| edge.to == block);
        let first = drawing
            .edges
            .iter()
            .filter(|edge| edge.from == block)
            .map(|edge| layer[edge.to])
            .min();
        if let (false, Some(first)) = (fed, first) {
            layer[block] = first.saturating_sub(1);
        }
    }
    layer
}

fn order(grid: &mut Grid) {
    let mut best = grid.layers.clone();
    let mut fewest = crossings(grid);
    for sweep in 0..SWEEPS {
        let down = sweep % 2 == 0;
        let depth = grid.layers.len();
        for step in 1..depth {
            let layer = if down { step } else { depth - 1 - step };
            let rank = ranks(grid);
            let neighbours = if down { &grid.above } else { &grid.below };
            let mean = |node: usize| {
                let around = &neighbours[node];
                if around.is_empty() {
                    rank[node]
                } else {
                    around.iter().map(|&other| rank[other]).sum::<f64>() / around.len() as f64
                }
            };
            let mut nodes = grid.layers[layer].clone();
            nodes.sort_by(|&a, &b| mean(a).total_cmp(&mean(b)));
            grid.layers[layer] = nodes;
        }
        let now = crossings(grid);
        if now < fewest {
            fewest = now;
            best = grid.layers.clone();
        }
    }
    grid.layers = best;
}

/// Rank of each node within its layer, centred so that layers of different length compare.
fn ranks(grid: &Grid) -> Vec<f64> {
    let mut rank = vec![0.0; grid.widths.len()];
    for layer in &grid.layers {
        let middle = (layer.len() as f64 - 1.0) / 2.0;
        for (i, &node) in layer.iter().enumerate() {
            rank[node] = i as f64 - middle;
        }
    }
    rank
}

fn crossings(grid: &Grid) -> usize {
    let rank = ranks(grid);
    let mut count = 0;
    for layer in &grid.layers {
        let edges: Vec<(f64, f64)> = layer
            .iter()
            .flat_map(|&node| grid.below[node].iter().map(move |&other| (node, other)))
            .map(|(node, other)| (rank[node], rank[other]))
            .collect();
        for (i, a) in edges.iter().enumerate() {
            count += edges[i + 1..]
                .iter()
                .filter(|b| (a.0 - b.0) * (a.1 - b.1) < 0.0)
                .count();
        }
    }
    count
}

fn positions(grid: &Grid) -> Vec<f64> {
    let mut xs = vec![0.0; grid.widths.len()];
    for layer in &grid.layers {
        let wanted = vec![0.0; layer.len()];
        spread(grid, layer, &wanted, &mut xs);
    }
    for sweep in 0..SWEEPS * 2 {
        let both = sweep + 4 > SWEEPS * 2;
        for step in 0..grid.layers.len() {
            let layer = &grid.layers[if sweep % 2 == 0 {
                step
            } else {
                grid.layers.len() - 1 - step
            }];
            let wanted: Vec<f64> = layer
                .iter()
                .map(|&node| {
                    let mut around: Vec<usize> = Vec::new();
                    if both || sweep % 2 == 0 {
                        around.extend(&grid.above[node]);
                    }
                    if both || sweep % 2 == 1 {
                        around.extend(&grid.below[node]);
                    }
                    if around.is_empty() {
                        xs[node]
                    } else {
                        around.iter().map(|&other| xs[other]).sum::<f64>() / around.len() as f64
                    }
                })
                .collect();
            spread(grid, layer, &wanted, &mut xs);
        }
    }
    xs
}

/// Moves the nodes of a layer as near to where they want to be as their widths allow.
///
/// Pool adjacent violators: nodes that would overlap form a run, and a run stands
/// at the mean of what its nodes want.
fn spread(grid: &Grid, layer: &[usize], wanted: &[f64], xs: &mut [f64]) {
    let mut offset = 0.0;
    let mut offsets = Vec::with_capacity(layer.len());
    for (i, &node) in layer.iter().enumerate() {
        if i > 0 {
            offset += (grid.widths[layer[i - 1]] + grid.widths[node]) / 2.0 + GAP_X;
        }
        offsets.push(offset);
    }
    let mut runs: Vec<(f64, usize)> = Vec::new();
    for (i, want) in wanted.iter().enumerate() {
        let mut run = (want - offsets[i], 1);
        while let Some(&last) = runs.last() {
            if last.0 / last.1 as f64 <= run.0 / run.1 as f64 {
                break;
            }
            run = (run.0 + last.0, run.1 + last.1);
            runs.pop();
        }
        runs.push(run);
    }
    let mut i = 0;
    for (sum, length) in runs {
        for _ in 0..length {
            xs[layer[i]] = sum / length as f64 + offsets[i];
            i += 1;
        }
    }
}

fn finish(drawing: &Drawing, grid: &Grid, xs: &[f64]) -> Layout {
    let left = (0..xs.len())
        .map(|i| xs[i] - grid.widths[i] / 2.0)
        .fold(f64::INFINITY, f64::min);
    let right = (0..xs.len())
        .map(|i| xs[i] + grid.widths[i] / 2.0)
        .fold(f64::NEG_INFINITY, f64::max);
    let (left, right) = if xs.is_empty() {
        (0.0, 0.0)
    } else {
        (left, right)
    };
    let x = |node: usize| xs[node] - left + BORDER;
    let y = |node: usize| {
        BORDER + BLOCK_HEIGHT / 2.0 + grid.layer_of[node] as f64 * (BLOCK_HEIGHT + GAP_Y)
    };
    let depth = grid.layers.len() as f64;
    let blocks = drawing.blocks.len();
    let routes = grid
        .chains
        .iter()
        .map(|chain| {
            let mut points = Vec::new();
            for (i, &node) in chain.iter().enumerate() {
                let half = BLOCK_HEIGHT / 2.0;
                if i > 0 {
                    points.push((x(node), y(node) - half));
                }
                if i + 1 < chain.len() {
                    points.push((x(node), y(node) + half));
                }
            }
            points
        })
        .collect();
    Layout {
        size: (
            right - left + 2.0 * BORDER,
            depth * (BLOCK_HEIGHT + GAP_Y) - GAP_Y + 2.0 * BORDER,
        ),
        centres: (0..blocks).map(|block| (x(block), y(block))).collect(),
        routes,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Drawing, example};
    use super::*;

    #[test]
    fn readers_stand_below_what_they_read() {
        let drawing = example();
        let layout = place(&drawing, &vec![120.0; drawing.blocks.len()]);
        for edge in &drawing.edges {
            assert!(layout.centres[edge.from].1 < layout.centres[edge.to].1);
        }
    }

    #[test]
    fn blocks_do_not_overlap_and_stay_inside() {
        let drawing = example();
        let widths = vec![120.0; drawing.blocks.len()];
        let layout = place(&drawing, &widths);
        for (i, a) in layout.centres.iter().enumerate() {
            assert!(a.0 - 60.0 >= 0.0 && a.0 + 60.0 <= layout.size.0);
            assert!(a.1 - 22.0 >= 0.0 && a.1 + 22.0 <= layout.size.1);
            for b in &layout.centres[i + 1..] {
                assert!((a.0 - b.0).abs() >= 120.0 || (a.1 - b.1).abs() >= BLOCK_HEIGHT);
            }
        }
    }

    #[test]
    fn an_empty_drawing_is_placed_too() {
        assert!(place(&Drawing::default(), &[]).centres.is_empty());
    }

    #[test]
    fn a_circle_does_not_hang() {
        let mut drawing = example();
        drawing.edges.push(super::super::Edge {
            from: 5,
            to: 0,
            label: String::new(),
            gather: false,
            fields: false,
        });
        // Not asked to look good, only to end: the language never lets one through.
        let _ = layers(&drawing, drawing.blocks.len());
    }
}
