//! Line charts as SVG, one below the other, for the documents.

use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 190.0;
/// Room for the numbers at the left, and around the rest.
const LEFT: f64 = 60.0;
const EDGE: f64 = 28.0;
const COLOURS: [&str; 3] = ["#1f6f8b", "#e0a458", "#8fb8de"];

/// A chart with one or more named lines, from points of both axes.
pub struct Chart {
    title: &'static str,
    lines: Vec<(&'static str, Vec<(f64, f64)>)>,
}

impl Chart {
    pub fn new(title: &'static str, lines: Vec<(&'static str, Vec<(f64, f64)>)>) -> Self {
        Self { title, lines }
    }

    /// All of them in one picture, over the same axis from 0.
    pub fn column(charts: &[Self], axis: &str) -> String {
        let height = HEIGHT * charts.len() as f64 + EDGE;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
        );
        for (number, chart) in charts.iter().enumerate() {
            chart.draw(HEIGHT * number as f64, &mut svg);
        }
        let (x, y) = (WIDTH / 2.0, height - 8.0);
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{axis}</text>");
        svg.push_str("</svg>\n");
        svg
    }

    fn draw(&self, top: f64, svg: &mut String) {
        let points = || self.lines.iter().flat_map(|(_, points)| points);
        // An empty chart has axes all the same.
        let most = points().map(|point| point.1).fold(1e-9, f64::max) * 1.1;
        let last = points().map(|point| point.0).fold(1e-9, f64::max);
        let (bottom, right) = (top + HEIGHT - EDGE, WIDTH - EDGE);
        let x = |value: f64| LEFT + value / last * (right - LEFT);
        let y = |value: f64| bottom - value / most * (HEIGHT - 2.0 * EDGE);
        let _ = writeln!(
            svg,
            "<text x=\"{LEFT}\" y=\"{title}\" font-weight=\"bold\">{}</text>\n\
             <path d=\"M{LEFT} {ceiling} V{bottom} H{right}\" fill=\"none\" stroke=\"#808080\"/>",
            self.title,
            title = top + 18.0,
            ceiling = top + EDGE,
        );
        for part in [0.0, 0.5, 1.0] {
            let (value, time) = (most * part, last * part);
            let _ = writeln!(
                svg,
                "<text x=\"{edge}\" y=\"{height}\" text-anchor=\"end\">{value:.0}</text>\n\
                 <text x=\"{place}\" y=\"{below}\" text-anchor=\"middle\">{time:.0}</text>",
                edge = LEFT - 6.0,
                height = y(value) + 4.0,
                place = x(time),
                below = bottom + 15.0,
            );
        }
        for (number, (name, points)) in self.lines.iter().enumerate() {
            let colour = COLOURS[number % COLOURS.len()];
            let line: Vec<String> =
                points.iter().map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1))).collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>\n\
                 <text x=\"{right}\" y=\"{legend}\" text-anchor=\"end\" fill=\"{colour}\">{name}</text>",
                line.join(" "),
                legend = top + 18.0 + 14.0 * number as f64,
            );
        }
    }
}
