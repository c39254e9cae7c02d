//! SVG by hand: curves over two axes, and bars. Readable on a white ground, wherever it is shown.

use std::fmt::{Arguments, Write as _};

use super::axis::{Axis, Fitted};
use crate::measure::number;

/// The whole picture, and the part of it with the axes.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 520.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 680.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 430.0;

/// What is shown has one colour in all pictures: by the beginning of its name. Told apart by people who see red and green alike, too.
const COLOURS: [(&str, &str); 8] = [
    ("bare echo", "#f0b48c"),
    ("MQTT echo", "#d55e00"),
    ("D-Bus call", "#0072b2"),
    ("pty echo", "#e69f00"),
    ("D-Bus method", "#cc79a7"),
    ("serial method", "#009e73"),
    ("simulated method", "#56b4e9"),
    ("through nowd", "#888888"),
];
/// Of anything else.
const OTHER: &str = "#333333";

/// So many bars are compared with each other.
const COMPARED: usize = 3;

/// Curves of no more points show each of them.
const FEW: usize = 12;

/// A curve.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
    pub(super) dashed: bool,
}

/// Curves over two axes.
#[derive(Debug)]
pub(super) struct Chart<'a> {
    pub(super) title: &'static str,
    pub(super) below: &'a str,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) lines: Vec<Line>,
}

/// A bar of several parts: names and microseconds.
#[derive(Debug)]
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) parts: Vec<(String, f64)>,
}

/// Nothing where there are no points.
pub(super) fn curves(chart: &Chart<'_>) -> Option<String> {
    let points = || chart.lines.iter().flat_map(|line| &line.points);
    let x = chart.x.fit(points().map(|(x, _)| *x))?;
    let y = chart.y.fit(points().map(|(_, y)| *y))?;
    let mut svg = Svg::new(chart.title, chart.below);
    svg.axes(&x, &y, chart.x.label, chart.y.label);
    for (at, line) in chart.lines.iter().enumerate() {
        let colour = colour(&line.name);
        svg.curve(line, &x, &y, colour);
        svg.legend(at, &line.name, colour, line.dashed);
    }
    Some(svg.end())
}

/// Nothing where there are no bars.
pub(super) fn bars(title: &str, below: &str, bars: &[Bar]) -> Option<String> {
    let whole = |bar: &Bar| bar.parts.iter().map(|(_, time)| time).sum::<f64>();
    let most = bars.iter().map(whole).max_by(f64::total_cmp)?;
    let mut svg = Svg::new(title, below);
    let scale = (RIGHT - LEFT - 140.0) / most;
    let step = (BOTTOM - TOP) / number(bars.len());
    let mut names: Vec<&str> = Vec::new();
    for (row, bar) in bars.iter().enumerate() {
        // Those that are compared stand close together.
        let after = COMPARED - 1 - row % COMPARED;
        let (top, height) = (TOP + step * (number(row) + 0.14 * number(after)), step * 0.82);
        svg.text(LEFT + 70.0, top + height * 0.65, "end", &bar.name);
        let mut left = LEFT + 80.0;
        for (name, time) in &bar.parts {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
            let (width, colour) = (time * scale, colour(name));
            svg.add(format_args!(
                "<rect x='{left:.1}' y='{top:.1}' width='{width:.1}' height='{height:.1}' fill='{colour}'/>"
            ));
            left += width;
        }
        svg.text(left + 6.0, top + height * 0.65, "start", &format!("{:.0} us", whole(bar)));
    }
    for (at, name) in names.iter().enumerate() {
        svg.legend(at, name, colour(name), false);
    }
    Some(svg.end())
}

fn colour(name: &str) -> &'static str {
    COLOURS.iter().find(|(kind, _)| name.starts_with(kind)).map_or(OTHER, |(_, colour)| *colour)
}

struct Svg(String);

impl Svg {
    fn new(title: &str, below: &str) -> Self {
        let mut svg = Self(String::new());
        svg.add(format_args!(
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' font-family='sans-serif' \
             font-size='13' fill='#222222'>"
        ));
        svg.add(format_args!("<rect width='{WIDTH}' height='{HEIGHT}' fill='#ffffff'/>"));
        svg.add(format_args!("<text x='{LEFT}' y='28' font-size='16'>{}</text>", escaped(title)));
        let bottom = HEIGHT - 14.0;
        svg.add(format_args!(
            "<text x='{LEFT}' y='{bottom}' font-size='11' fill='#666666'>{}</text>",
            escaped(below)
        ));
        svg
    }

    fn axes(&mut self, x: &Fitted, y: &Fitted, x_label: &str, y_label: &str) {
        for tick in x.ticks() {
            let at = LEFT + tick.at * (RIGHT - LEFT);
            self.rule(at, TOP, at, BOTTOM);
            self.text(at, BOTTOM + 20.0, "middle", &tick.label);
        }
        for tick in y.ticks() {
            let at = BOTTOM - tick.at * (BOTTOM - TOP);
            self.rule(LEFT, at, RIGHT, at);
            self.text(LEFT - 8.0, at + 4.0, "end", &tick.label);
        }
        self.text(LEFT.midpoint(RIGHT), BOTTOM + 44.0, "middle", x_label);
        let middle = TOP.midpoint(BOTTOM);
        self.add(format_args!(
            "<text x='20' y='{middle}' text-anchor='middle' transform='rotate(-90 20 {middle})'>{}</text>",
            escaped(y_label)
        ));
    }

    fn curve(&mut self, line: &Line, x: &Fitted, y: &Fitted, colour: &str) {
        let places: Vec<_> = line
            .points
            .iter()
            .map(|(at, value)| {
                let across = LEFT + x.place(*at) * (RIGHT - LEFT);
                let up = BOTTOM - y.place(*value) * (BOTTOM - TOP);
                format!("{across:.1},{up:.1}")
            })
            .collect();
        self.add(format_args!(
            "<polyline points='{}' fill='none' stroke='{colour}' stroke-width='2'{}/>",
            places.join(" "),
            dashes(line.dashed)
        ));
        // What was measured, where the line between leads past much.
        if places.len() <= FEW {
            for place in &places {
                let (x, y) = place.split_once(',').unwrap_or_default();
                self.add(format_args!("<circle cx='{x}' cy='{y}' r='3.5' fill='{colour}'/>"));
            }
        }
    }

    fn legend(&mut self, at: usize, name: &str, colour: &str, dashed: bool) {
        let (left, middle) = (RIGHT + 20.0, TOP + 12.0 + 24.0 * number(at));
        self.add(format_args!(
            "<line x1='{left}' y1='{middle}' x2='{}' y2='{middle}' stroke='{colour}' stroke-width='4'{}/>",
            left + 28.0,
            dashes(dashed)
        ));
        self.text(left + 36.0, middle + 4.0, "start", name);
    }

    fn rule(&mut self, x1: f64, y1: f64, x2: f64, y2: f64) {
        self.add(format_args!(
            "<line x1='{x1:.1}' y1='{y1:.1}' x2='{x2:.1}' y2='{y2:.1}' stroke='#dddddd'/>"
        ));
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        self.add(format_args!("<text x='{x:.1}' y='{y:.1}' text-anchor='{anchor}'>{}</text>", escaped(text)));
    }

    fn end(mut self) -> String {
        self.add(format_args!("</svg>"));
        self.0
    }

    fn add(&mut self, what: Arguments<'_>) {
        writeln!(self.0, "{what}").unwrap_or_default();
    }
}

const fn dashes(dashed: bool) -> &'static str {
    if dashed { " stroke-dasharray='6 4'" } else { "" }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
