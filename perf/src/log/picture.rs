//! The log's latencies as a picture: by size of the record, beside what people do today.

use crate::log::rows::{Level, Row, SIZES, Taken, write_and_read};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::error::Error;
use std::path::Path;

/// The lowest time drawn, ns.
const FLOOR: f64 = 20.0;

/// One line of the picture.
struct Series {
    name: &'static str,
    colour: RGBColor,
    /// Size of the record, bytes, against nanoseconds.
    points: Vec<(f64, f64)>,
}

/// The lines, as far as their rows were measured, the one that ends highest first.
fn series(all: &[Taken]) -> Vec<Series> {
    let of = |row: Row| all.iter().find(|taken| taken.row == row).map(|taken| taken.quoted().p50);
    let line = |name, colour, at: &dyn Fn(usize) -> Option<f64>| {
        let points = SIZES.iter().filter_map(|bytes| Some((*bytes as f64, at(*bytes)?))).collect();
        Series { name, colour, points }
    };
    let append = |level, second| move |bytes| of(Row::Append(level, bytes, second));
    let lines = [
        line("fdatasync on a file", RGBColor(120, 120, 120), &|bytes| of(Row::File(bytes))),
        line("TCP over loopback", RGBColor(214, 120, 40), &|bytes| of(Row::Tcp(bytes))),
        line("placed, two producers", RGBColor(110, 150, 210), &append(Level::Placed, true)),
        line("placed", RGBColor(20, 70, 160), &append(Level::Placed, false)),
        line("received", RGBColor(40, 140, 70), &append(Level::Received, false)),
        line("WRITE and READ alone", BLACK, &|bytes| write_and_read(all, bytes)),
    ];
    let mut lines: Vec<_> = lines.into_iter().filter(|series| series.points.len() > 1).collect();
    let end = |series: &Series| series.points.last().map_or(0.0, |(_, ns)| *ns);
    lines.sort_by(|one, other| end(other).total_cmp(&end(one)));
    lines
}

/// Nanoseconds for people.
fn time(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.0} us", ns / 1e3),
        ns => format!("{:.0} ms", ns / 1e6),
    }
}

/// Draws it; nothing where too few rows were measured for a line.
pub(crate) fn draw(all: &[Taken], path: &Path) -> Result<(), Box<dyn Error>> {
    let lines = series(all);
    if lines.is_empty() {
        return Ok(());
    }
    let area = SVGBackend::new(path, (760, 440)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("One record appended until acknowledged, p50 (shared memory, two processes)", ("sans-serif", 15))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(58)
        .margin_right(150)
        .build_cartesian_2d((64f64..65536f64).log_scale(), (FLOOR..1e6).log_scale())?;
    chart.configure_mesh().x_labels(0).y_label_formatter(&|ns| time(*ns)).light_line_style(WHITE).draw()?;
    for bytes in SIZES {
        let text = ("sans-serif", 12).into_font().color(&BLACK).pos(Pos::new(HPos::Center, VPos::Top));
        chart
            .plotting_area()
            .draw(&(EmptyElement::at((bytes as f64, FLOOR)) + Text::new(size(bytes), (0, 8), text)))?;
    }
    let mut last_label = f64::MAX;
    for Series { name, colour, points } in &lines {
        let style = colour.stroke_width(2);
        chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, colour.filled())))?;
        if let Some((bytes, ns)) = points.last() {
            // Names of lines that end close to each other stand below one another.
            let at = ns.min(last_label / 1.45);
            last_label = at;
            let anchor = Pos::new(HPos::Left, VPos::Center);
            let text = ("sans-serif", 12).into_font().color(colour).pos(anchor);
            chart
                .plotting_area()
                .draw(&(EmptyElement::at((*bytes, at)) + Text::new((*name).to_owned(), (8, 0), text)))?;
        }
    }
    area.present()?;
    Ok(())
}

fn size(bytes: usize) -> String {
    if bytes < 1024 { format!("{bytes} B") } else { format!("{} KiB", bytes / 1024) }
}
