//! A drawing as SVG, readable on a light and on a dark page.

use std::fmt::Write;

use super::layout::{BLOCK_HEIGHT, Point, place};
use super::{Block, Drawing, Look};

/// Mean width of a letter, as a share of the type size (DejaVu Sans and Inter: 0.55 to 0.60).
const LETTER: f64 = 0.6;
const NAME_SIZE: f64 = 13.0;
const DETAIL_SIZE: f64 = 11.0;
/// How far the sides of a choice run to a point: a diamond with room for a name.
const POINT: f64 = 14.0;

/// One colour per family of operators, by a hash of its name; chosen to be told apart by everybody (Okabe and Ito 2008).
const COLOURS: [&str; 7] = [
    "#0072b2", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#e69f00", "#8c6bb1",
];

const STYLE: &str = "\
  .page{fill:#fff}.box{fill:#f8fafc;stroke:#94a3b8}.input .box{fill:#eef2f7;stroke-dasharray:4 3}
  .output .box{fill:#ecfdf5;stroke:#10b981}.name{fill:#0f172a;font-weight:600}.detail{fill:#64748b}
  .edge{fill:none;stroke:#94a3b8;stroke-width:1.4}.gather{stroke-width:3}.fields{stroke-dasharray:5 4}.tip{fill:#94a3b8}.port{fill:#64748b}
  @media (prefers-color-scheme:dark){.page{fill:#0f172a}.box{fill:#1e293b;stroke:#475569}.input .box{fill:#172033}
  .output .box{fill:#06281f;stroke:#10b981}.name{fill:#f1f5f9}.detail,.port{fill:#94a3b8}.edge{stroke:#64748b}.tip{fill:#64748b}}";

/// Returns the drawing as a stand-alone SVG document.
pub fn svg(drawing: &Drawing) -> String {
    let widths: Vec<f64> = drawing.blocks.iter().map(width).collect();
    let layout = place(drawing, &widths);
    let (w, h) = layout.size;
    let mut out = String::new();
    let _ = writeln!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{w:.0}" height="{h:.0}" viewBox="0 0 {w:.0} {h:.0}" font-family="Inter, system-ui, 'DejaVu Sans', sans-serif">"#
    );
    let _ = writeln!(out, "<title>{}</title>", escape(&drawing.title));
    let _ = writeln!(out, "<style>\n{STYLE}\n</style>");
    let _ = writeln!(
        out,
        r#"<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse" orient="auto"><path class="tip" d="M0 0.6 8 4 0 7.4z"/></marker></defs>"#
    );
    let _ = writeln!(
        out,
        r#"<rect class="page" width="100%" height="100%" rx="10"/>"#
    );
    for (edge, route) in drawing.edges.iter().zip(&layout.routes) {
        let class = match (edge.fields, edge.gather) {
            (true, _) => "edge fields",
            (false, true) => "edge gather",
            (false, false) => "edge",
        };
        let _ = writeln!(
            out,
            r#"<path class="{class}" marker-end="url(#tip)" d="{}"/>"#,
            curve(route)
        );
    }
    for (i, block) in drawing.blocks.iter().enumerate() {
        draw_block(&mut out, block, layout.centres[i], widths[i]);
    }
    out.push_str("</svg>\n");
    out
}

fn width(block: &Block) -> f64 {
    let name = block.name.chars().count() as f64 * NAME_SIZE * LETTER;
    let detail = second_line(block).chars().count() as f64 * DETAIL_SIZE * LETTER;
    (name.max(detail) + 34.0).max(96.0)
}

fn second_line(block: &Block) -> String {
    match (block.items, block.look) {
        (Some(items @ 2..), Look::Work | Look::Choice | Look::Output) => {
            format!("{} × {items}", block.detail)
        }
        _ => block.detail.clone(),
    }
}

fn draw_block(out: &mut String, block: &Block, (x, y): Point, width: f64) {
    let (left, top) = (x - width / 2.0, y - BLOCK_HEIGHT / 2.0);
    let class = match block.look {
        Look::Input => "input",
        Look::Work => "work",
        Look::Choice => "choice",
        Look::Output => "output",
    };
    let _ = writeln!(out, r#"<g class="{class}">"#);
    // What is done once per item looks like a small stack of cards.
    let cards = if block.items.is_some_and(|items| items > 1) {
        2
    } else {
        0
    };
    for card in (0..=cards).rev() {
        let shift = f64::from(card) * 4.0;
        let _ = if block.look == Look::Choice {
            let (left, top, right) = (left + shift, top + shift, left + width + shift);
            let (middle, bottom) = (top + BLOCK_HEIGHT / 2.0, top + BLOCK_HEIGHT);
            let (a, b) = (left + POINT, right - POINT);
            writeln!(
                out,
                r#"<polygon class="box" points="{left:.1},{middle:.1} {a:.1},{top:.1} {b:.1},{top:.1} {right:.1},{middle:.1} {b:.1},{bottom:.1} {a:.1},{bottom:.1}"/>"#
            )
        } else {
            writeln!(
                out,
                r#"<rect class="box" x="{:.1}" y="{:.1}" width="{width:.1}" height="{BLOCK_HEIGHT}" rx="8"/>"#,
                left + shift,
                top + shift
            )
        };
    }
    if block.look == Look::Work {
        let _ = writeln!(
            out,
            r#"<rect x="{:.1}" y="{:.1}" width="4" height="{:.1}" rx="2" fill="{}"/>"#,
            left + 7.0,
            top + 8.0,
            BLOCK_HEIGHT - 16.0,
            colour(block.family())
        );
    }
    let text = left + 18.0;
    let _ = writeln!(
        out,
        r#"<text class="name" x="{text:.1}" y="{:.1}" font-size="{NAME_SIZE}">{}</text>"#,
        top + 19.0,
        escape(&block.name)
    );
    let _ = writeln!(
        out,
        r#"<text class="detail" x="{text:.1}" y="{:.1}" font-size="{DETAIL_SIZE}">{}</text>"#,
        top + 34.0,
        escape(&second_line(block))
    );
    out.push_str("</g>\n");
}

/// A smooth line through the points, leaving and arriving vertically.
fn curve(points: &[Point]) -> String {
    let mut d = String::new();
    for (i, &(x, y)) in points.iter().enumerate() {
        match i.checked_sub(1).map(|before| points[before]) {
            None => {
                let _ = write!(d, "M{x:.1} {y:.1}");
            }
            Some((px, py)) if (px - x).abs() < 0.05 => {
                let _ = write!(d, "L{x:.1} {:.1}", y.max(py));
            }
            Some((px, py)) => {
                let middle = (py + y) / 2.0;
                let _ = write!(d, "C{px:.1} {middle:.1} {x:.1} {middle:.1} {x:.1} {y:.1}");
            }
        }
    }
    d
}

fn colour(family: &str) -> &'static str {
    // FNV-1a: stable from run to run, unlike the standard library's hasher.
    let hash = family.bytes().fold(0x811c_9dc5_u32, |h, b| {
        (h ^ u32::from(b)).wrapping_mul(0x0100_0193)
    });
    COLOURS[hash as usize % COLOURS.len()]
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn every_block_and_edge_is_drawn_once() {
        let drawing = example();
        let text = svg(&drawing);
        assert_eq!(text.matches("class=\"name\"").count(), drawing.blocks.len());
        assert_eq!(text.matches("marker-end").count(), drawing.edges.len());
        assert!(text.contains("instances.nuclei × 2"));
    }

    #[test]
    fn names_are_escaped_and_the_picture_is_the_same_every_time() {
        let mut drawing = example();
        drawing.blocks[0].name = "a<b>&\"".into();
        assert!(svg(&drawing).contains("a&lt;b&gt;&amp;&quot;"));
        assert_eq!(svg(&drawing), svg(&drawing));
    }
}
