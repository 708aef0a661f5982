//! The growth curves: what a job costs as the work grows.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use plotters::prelude::*;

use super::Outcome;
use super::run::Result;
use super::servers::OURS;
use super::table::median;

/// A picture: its file, its title, what grows, of which scenario, and which figures.
const CURVES: [(&str, &str, &str, &str, &[&str]); 4] = [
    ("growth-depth.svg", "Processor time a job", "jobs queued", "depth", &["submit cpu", "drain cpu"]),
    (
        "growth-depth-uniq.svg",
        "Processor time a job, unique ids",
        "jobs queued",
        "depth-uniq",
        &["submit cpu", "drain cpu"],
    ),
    ("growth-sleepers.svg", "Processor time a job", "workers asleep", "growth-sleepers", &["cpu"]),
    (
        "growth-functions.svg",
        "Processor time a job",
        "functions",
        "growth-functions",
        &["submit cpu", "drain cpu"],
    ),
];

const SIZE: (u32, u32) = (800, 460);

/// Ours first; the others are told apart by their shades.
const COLOURS: [RGBColor; 5] = [
    RGBColor(0, 120, 60),
    RGBColor(200, 60, 40),
    RGBColor(230, 150, 40),
    RGBColor(120, 80, 160),
    RGBColor(90, 90, 90),
];

/// Writes those pictures that there are figures for.
pub fn draw(outcomes: &[Outcome], folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    for (file, title, grows, scenario, figures) in CURVES {
        let curves = curves(outcomes, scenario, figures);
        if curves.is_empty() {
            eprintln!("{file}: {scenario} was not run");
            continue;
        }
        picture(&folder.join(file), title, grows, &curves)?;
        println!("{}", folder.join(file).display());
    }
    Ok(())
}

/// Server, figure, and the medians along the way.
type Curve = (String, &'static str, Vec<(f64, f64)>);

fn curves(outcomes: &[Outcome], scenario: &str, figures: &[&'static str]) -> Vec<Curve> {
    let mut found: Vec<Curve> = Vec::new();
    for figure in figures {
        let mut servers: BTreeMap<(bool, &str), BTreeMap<u64, Vec<f64>>> = BTreeMap::new();
        for outcome in outcomes.iter().filter(|outcome| outcome.scenario == scenario) {
            for (name, value) in &outcome.figures {
                let place = name.strip_prefix(figure).and_then(|rest| rest.strip_prefix('@'));
                let Some(place) = place.and_then(|place| place.parse().ok()) else { continue };
                let server = servers.entry((outcome.server != OURS, &outcome.server)).or_default();
                server.entry(place).or_default().push(*value);
            }
        }
        for ((_, server), places) in servers {
            let points =
                places.into_iter().filter_map(|(place, values)| Some((place as f64, median(values)?)));
            found.push((server.to_owned(), figure, points.collect()));
        }
    }
    found
}

fn picture(file: &Path, title: &str, grows: &str, curves: &[Curve]) -> Result<()> {
    let points = || curves.iter().flat_map(|(_, _, points)| points);
    let range = |of: fn(&(f64, f64)) -> f64| {
        points()
            .map(of)
            .fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(value), most.max(value)))
    };
    let ((left, right), (low, high)) = (range(|point| point.0), range(|point| point.1));
    // The legend needs a decade above the curves.
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d((left..right * 1.2).log_scale(), (low / 1.5..high * 10.0).log_scale())?;
    let plain = |value: &f64| if *value < 1.0 { value.to_string() } else { thousands(*value as u64) };
    chart
        .configure_mesh()
        .x_desc(grows)
        .y_desc("µs")
        .x_label_formatter(&plain)
        .y_label_formatter(&plain)
        .draw()?;
    let mut names: Vec<&String> = curves.iter().map(|(server, _, _)| server).collect();
    names.dedup();
    for (server, figure, points) in curves {
        let place = names.iter().position(|name| *name == server).unwrap_or_default();
        let colour = COLOURS[place % COLOURS.len()];
        let line = if server == OURS { 3 } else { 1 };
        let style = colour.stroke_width(line);
        // What is submitted is hollow, what is done is full.
        let fill = if figure.starts_with("submit") { WHITE.filled() } else { colour.filled() };
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style))?
            .label(format!("{server}: {}", figure.trim_end_matches(" cpu").replace("cpu", "round trip")))
            .legend(move |(x, y)| {
                EmptyElement::at((x, y))
                    + PathElement::new([(0, 0), (18, 0)], style)
                    + Circle::new((9, 0), 4, fill)
                    + Circle::new((9, 0), 4, colour)
            });
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 4, fill)))?;
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 4, colour)))?;
    }
    let mut legend = chart.configure_series_labels();
    legend.position(SeriesLabelPosition::UpperLeft).background_style(WHITE.mix(0.8));
    legend.border_style(BLACK.mix(0.3)).draw()?;
    area.present()?;
    Ok(())
}

/// 3,000,000 for 3000000.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&[u8]> = digits.as_bytes().rchunks(3).rev().collect();
    groups.iter().map(|group| String::from_utf8_lossy(group)).collect::<Vec<_>>().join(",")
}
