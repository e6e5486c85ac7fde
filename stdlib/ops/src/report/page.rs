//! The page itself: HTML that needs no other file, plain CSS, pictures inside.

use std::fmt::Write;

/// What a page shows, in order.
#[derive(Default)]
pub(crate) struct Page {
    title: String,
    body: String,
}

impl Page {
    pub(crate) fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            body: String::new(),
        }
    }

    /// Adds a row of large numbers with what they count.
    pub(crate) fn numbers(&mut self, numbers: &[(String, String)]) {
        self.body.push_str("<dl class=\"numbers\">");
        for (number, what) in numbers {
            let _ = write!(
                self.body,
                "<div><dt>{}</dt><dd>{}</dd></div>",
                escaped(what),
                escaped(number)
            );
        }
        self.body.push_str("</dl>\n");
    }

    pub(crate) fn heading(&mut self, text: &str) {
        let _ = writeln!(self.body, "<h2>{}</h2>", escaped(text));
    }

    pub(crate) fn text(&mut self, text: &str) {
        let _ = writeln!(self.body, "<p>{}</p>", escaped(text));
    }

    /// Adds a picture (base64 of a JPEG) with a caption.
    pub(crate) fn picture(&mut self, jpeg: &str, caption: &str, class: &str) {
        let caption = escaped(caption);
        let _ = writeln!(
            self.body,
            "<figure class=\"{class}\"><img alt=\"{caption}\" src=\"data:image/jpeg;base64,{jpeg}\"><figcaption>{caption}</figcaption></figure>"
        );
    }

    /// Opens a row that pictures stand in side by side.
    pub(crate) fn side_by_side(&mut self, fill: impl FnOnce(&mut Self)) {
        self.body.push_str("<div class=\"row\">\n");
        fill(self);
        self.body.push_str("</div>\n");
    }

    /// Adds a table of names and values.
    pub(crate) fn table(&mut self, rows: &[(String, String)]) {
        self.body.push_str("<table>\n");
        for (name, value) in rows {
            let _ = writeln!(
                self.body,
                "<tr><th>{}</th><td>{}</td></tr>",
                escaped(name),
                escaped(value)
            );
        }
        self.body.push_str("</table>\n");
    }

    /// Adds a table of colours, names and values.
    pub(crate) fn legend(&mut self, rows: &[([u8; 3], String, String)]) {
        self.body.push_str("<table>\n");
        for ([r, g, b], name, value) in rows {
            let _ = writeln!(
                self.body,
                "<tr><th><i style=\"background:#{r:02x}{g:02x}{b:02x}\"></i>{}</th><td>{}</td></tr>",
                escaped(name),
                escaped(value)
            );
        }
        self.body.push_str("</table>\n");
    }

    /// Adds small pictures (base64 of a JPEG), each with a title and lines of text.
    pub(crate) fn cards(&mut self, cards: &[(&str, &str, Vec<String>)]) {
        self.body.push_str("<div class=\"cards\">\n");
        for (jpeg, title, lines) in cards {
            let title = escaped(title);
            let lines: Vec<String> = lines.iter().map(|line| escaped(line)).collect();
            let _ = writeln!(
                self.body,
                "<figure><img alt=\"{title}\" src=\"data:image/jpeg;base64,{jpeg}\"><figcaption><b>{title}</b><br>{}</figcaption></figure>",
                lines.join("<br>")
            );
        }
        self.body.push_str("</div>\n");
    }

    /// Adds a table whose columns have titles.
    pub(crate) fn columns(&mut self, titles: &[&str], rows: &[Vec<String>]) {
        self.body.push_str("<table class=\"columns\">\n<tr>");
        for title in titles {
            let _ = write!(self.body, "<th>{}</th>", escaped(title));
        }
        self.body.push_str("</tr>\n");
        for row in rows {
            self.body.push_str("<tr>");
            for cell in row {
                let _ = write!(self.body, "<td>{}</td>", escaped(cell));
            }
            self.body.push_str("</tr>\n");
        }
        self.body.push_str("</table>\n");
    }

    /// Adds a plot of a value over steps: each point, and the mean of `smooth` of them on the way.
    ///
    /// The axis of values begins at 0, and ends at `top` or, without it, at the largest value.
    pub(crate) fn curve(
        &mut self,
        title: &str,
        points: &[(f64, f64)],
        smooth: usize,
        top: Option<f64>,
    ) {
        let points: Vec<(f64, f64)> = points
            .iter()
            .copied()
            .filter(|(x, y)| x.is_finite() && y.is_finite())
            .collect();
        let end = points.iter().map(|point| point.0).fold(1.0, f64::max);
        let largest = points.iter().map(|point| point.1).fold(0.0, f64::max);
        let top = top.unwrap_or(if largest > 0.0 { largest } else { 1.0 });
        let place = |&(x, y): &(f64, f64)| {
            let (x, y) = (52.0 + 300.0 * x / end, 140.0 - 120.0 * y / top);
            format!("{x:.1},{y:.1}")
        };
        let path = |points: &[(f64, f64)]| points.iter().map(place).collect::<Vec<_>>().join(" ");
        let title = escaped(title);
        let _ = writeln!(
            self.body,
            "<figure><svg class=\"curve\" viewBox=\"0 0 368 172\" role=\"img\" aria-label=\"{title}\">"
        );
        for half in 0..=2 {
            let share = f64::from(half) / 2.0;
            let (x, y) = (52.0 + 300.0 * share, 140.0 - 120.0 * share);
            let _ = writeln!(
                self.body,
                "<line x1=\"52\" y1=\"{y}\" x2=\"352\" y2=\"{y}\"/><text class=\"value\" x=\"46\" y=\"{:.0}\">{}</text><text x=\"{x}\" y=\"158\">{}</text>",
                y + 4.0,
                short(top * share),
                grouped((end * share) as u64)
            );
        }
        if smooth > 1 {
            let _ = writeln!(
                self.body,
                "<polyline class=\"faint\" points=\"{}\"/>",
                path(&points)
            );
        }
        let _ = writeln!(
            self.body,
            "<polyline points=\"{}\"/></svg><figcaption>{title}</figcaption></figure>",
            path(&running(&points, smooth))
        );
    }

    /// Adds a histogram: counts in equal bins from 0 to `end`, with the unit of the axis.
    pub(crate) fn histogram(&mut self, counts: &[u64], end: f64, unit: &str) {
        let most = counts.iter().copied().max().unwrap_or(0).max(1) as f64;
        let step = 640.0 / counts.len().max(1) as f64;
        self.body.push_str("<svg class=\"histogram\" viewBox=\"0 0 680 190\" role=\"img\" aria-label=\"histogram\">\n");
        for (i, &count) in counts.iter().enumerate() {
            let height = 140.0 * count as f64 / most;
            let (x, y) = (20.0 + step * i as f64, 150.0 - height);
            let _ = writeln!(
                self.body,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\"><title>{count}</title></rect>",
                step - 1.0
            );
        }
        self.body
            .push_str("<line x1=\"20\" y1=\"150.5\" x2=\"660\" y2=\"150.5\"/>\n");
        for quarter in 0..=4 {
            let share = f64::from(quarter) / 4.0;
            let _ = writeln!(
                self.body,
                "<text x=\"{:.0}\" y=\"168\">{:.0}</text>",
                20.0 + 640.0 * share,
                end * share
            );
        }
        let _ = writeln!(
            self.body,
            "<text x=\"340\" y=\"186\">{}</text></svg>",
            escaped(unit)
        );
    }

    /// Returns the whole page.
    pub(crate) fn html(&self) -> String {
        let title = escaped(&self.title);
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n{}</main>\n</body>\n</html>\n",
            self.body
        )
    }
}

/// Returns the mean of each value and of the `count - 1` before it.
fn running(points: &[(f64, f64)], count: usize) -> Vec<(f64, f64)> {
    let mean = |at: usize| {
        let of = &points[(at + 1).saturating_sub(count.max(1))..=at];
        (
            points[at].0,
            of.iter().map(|point| point.1).sum::<f64>() / of.len() as f64,
        )
    };
    (0..points.len()).map(mean).collect()
}

/// Writes a value of an axis in three digits or so.
fn short(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        value if value < 0.01 => format!("{value:.1e}"),
        value if value < 10.0 => format!("{value:.2}"),
        value => format!("{value:.0}"),
    }
}

/// Writes a whole number with thin spaces between thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1d2330; --soft: #667085; --line: #e3e6ec; --paper: #fff; --bar: #4c6fd6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaf0; --soft: #98a1b3; --line: #2d3340; --paper: #14171e; --bar: #7f9cf0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.5rem; margin: 0 0 1rem; } h2 { font-size: 1.1rem; margin: 2.25rem 0 .75rem; }
.numbers { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; margin: 0 0 1.5rem; }
.numbers dt { color: var(--soft); font-size: .85rem; } .numbers dd { margin: 0; font-size: 1.6rem; font-variant-numeric: tabular-nums; }
figure { margin: 0; } figcaption { color: var(--soft); font-size: .85rem; margin-top: .35rem; }
img { display: block; max-width: 100%; height: auto; border: 1px solid var(--line); border-radius: 4px; background: #fff; }
.tall img { max-height: 46rem; width: auto; }
.row { display: grid; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); gap: 1rem; align-items: start; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: 1.25rem; }
.cards img { height: 10rem; object-fit: contain; } .cards b { color: var(--ink); font-weight: 500; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; max-width: 44rem; }
th, td { text-align: left; padding: .3rem .75rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 500; color: var(--soft); width: 14rem; } td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
th i { display: inline-block; width: .9em; height: .9em; margin-right: .5em; border: 1px solid var(--line); border-radius: 2px; vertical-align: -.1em; }
.histogram { width: 100%; max-width: 44rem; } .histogram rect { fill: var(--bar); } .histogram line { stroke: var(--soft); }
.curve { width: 100%; } .curve line { stroke: var(--line); } .curve polyline { fill: none; stroke: var(--bar); stroke-width: 1.5; }
.curve .faint { opacity: .3; stroke-width: 1; } .curve text { fill: var(--soft); font-size: 11px; text-anchor: middle; } .curve .value { text-anchor: end; }
.columns th { width: auto; }
.histogram text { fill: var(--soft); font-size: 12px; text-anchor: middle; }
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        let mut page = Page::new("a <b> & c");
        page.table(&[("<script>".into(), "\"x\"".into())]);
        let html = page.html();
        assert!(html.contains("<h1>a &lt;b&gt; &amp; c</h1>") && !html.contains("<script>"));
    }

    #[test]
    fn a_curve_stays_within_its_axes_and_leaves_out_what_is_no_number() {
        let mut page = Page::new("plot");
        page.curve("loss", &[(1.0, 4.0), (2.0, f64::NAN), (3.0, 2.0)], 2, None);
        let html = page.html();
        assert!(html.contains("<polyline class=\"faint\" points=\"152.0,20.0 352.0,80.0\"/>"));
        // The second point is the mean of both.
        assert!(html.contains("<polyline points=\"152.0,20.0 352.0,50.0\"/>"));
        page.curve("nothing", &[], 5, Some(1.0));
        assert!(page.html().contains("<polyline points=\"\"/>"));
    }

    #[test]
    fn an_axis_says_its_values_shortly() {
        let said = [0.0, 1e-7, 0.5, 12.34].map(short);
        assert_eq!(said, ["0", "1.0e-7", "0.50", "12"]);
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(grouped),
            ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"]
        );
    }
}
