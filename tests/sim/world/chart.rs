//! `SIM_CHART=file`: who sent what to whom, as text, one lifeline for each node.

use core::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use floe::Instant;

use crate::world::network::Node;
use crate::world::trace::{Moment, clock};
use crate::world::wire;

/// Columns from one lifeline to the next.
const WIDTH: usize = 12;

/// A line of a chart.
#[derive(Debug)]
enum Line {
    /// A datagram arrived, or did not.
    Packet { from: Node, to: Option<Node>, moment: Moment, label: String },
    /// Something happened to a node.
    Note { node: Node, label: String },
}

/// A chart, written when it is dropped.
#[derive(Debug)]
pub(crate) struct Chart {
    path: PathBuf,
    lines: Vec<(Instant, Line)>,
}

impl Chart {
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self { path, lines: Vec::new() }
    }

    /// A datagram from the node `from` arrived at `to`, or got lost on its way there.
    pub(crate) fn packet(
        &mut self,
        now: Instant,
        moment: Moment,
        [from, to]: [Option<Node>; 2],
        [source, target]: [SocketAddr; 2],
        octets: &[u8],
    ) {
        let Some(from) = from else { return };
        let mut label = format!("{}  {source} > {target}", wire::describe(octets));
        match moment {
            Moment::Sent | Moment::Received => {}
            Moment::Lost | Moment::Filtered => {
                label.insert_str(0, &format!("{}: ", moment.name()));
            }
        }
        self.lines.push((now, Line::Packet { from, to, moment, label }));
    }

    pub(crate) fn note(&mut self, now: Instant, node: Node, label: String) {
        self.lines.push((now, Line::Note { node, label }));
    }

    /// The chart as text.
    fn draw(&self) -> String {
        let nodes = self.nodes();
        let column = |node: Node| nodes.iter().position(|known| *known == node).unwrap_or(0);
        let mut text = " ".repeat(14);
        for node in &nodes {
            let name = node.to_string();
            let _ = write!(text, "{name:WIDTH$}");
        }
        text.push('\n');
        let bare: Vec<char> =
            nodes.iter().flat_map(|_| core::iter::once('│').chain([' '; WIDTH - 1])).collect();
        for (at, line) in &self.lines {
            let mut lifelines = bare.clone();
            let label = match line {
                Line::Note { node, label } => {
                    lifelines[column(*node) * WIDTH] = '■';
                    label
                }
                Line::Packet { from, to, moment, label } => {
                    let arrives = *moment == Moment::Received;
                    let ends = [column(*from), to.map_or(column(*from) + 1, column)];
                    draw_arrow(&mut lifelines, ends.map(|end| end * WIDTH), arrives);
                    label
                }
            };
            let lifelines: String = lifelines.into_iter().collect();
            let _ = writeln!(text, "{}  {lifelines}{label}", clock(*at));
        }
        text
    }

    /// The nodes that anything happened to: the callers at both ends, what is on the Internet between.
    fn nodes(&self) -> Vec<Node> {
        let mut nodes: Vec<Node> = Vec::new();
        for (_, line) in &self.lines {
            match line {
                Line::Note { node, .. } => nodes.push(*node),
                Line::Packet { from, to, .. } => {
                    nodes.extend([Some(*from), *to].into_iter().flatten())
                }
            }
        }
        nodes.sort_by_key(|node| {
            let place = match node {
                Node::Host(0) => 0,
                Node::Server(_) | Node::Turn(_) => 1,
                Node::Gateway(_) | Node::Nowhere => 2,
                Node::Host(_) => 3,
            };
            (place, *node)
        });
        nodes.dedup();
        nodes
    }
}

/// An arrow between two columns, with a head if it arrives.
fn draw_arrow(lifelines: &mut [char], [from, to]: [usize; 2], arrives: bool) {
    let (low, high) = (from.min(to), from.max(to).min(lifelines.len() - 1));
    for place in &mut lifelines[low + 1..high.max(low + 1)] {
        *place = if *place == '│' { '┼' } else { '─' };
    }
    if let Some(place) = lifelines.get_mut(from) {
        *place = '●';
    }
    let (head, before) = if to > from { ('▶', to.saturating_sub(1)) } else { ('◀', to + 1) };
    if from != to
        && let Some(place) = lifelines.get_mut(before)
    {
        *place = if arrives { head } else { '✗' };
    }
}

impl Drop for Chart {
    fn drop(&mut self) {
        if let Err(error) = std::fs::write(&self.path, self.draw()) {
            eprintln!("{}: {error}", self.path.display());
        }
    }
}

#[test]
fn a_chart_has_an_arrow_from_who_sends_to_who_receives() {
    let mut chart = Chart::new(PathBuf::new());
    let ends = ["10.1.0.2:4000", "192.0.2.1:3478"].map(|text| text.parse().unwrap());
    let begin = crate::world::BEGINNING;
    let [left, turn, right] = [Node::Host(0), Node::Turn(0), Node::Host(1)].map(Some);
    chart.packet(begin, Moment::Received, [left, right], ends, b"there");
    chart.packet(begin, Moment::Lost, [right, turn], ends, b"lost");
    let text = chart.draw();
    core::mem::forget(chart);
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>(),
        ["host", "0", "turn", "0", "host", "1"]
    );
    assert!(lines[1].contains("●───────────┼──────────▶│"), "{text}");
    assert!(lines[2].contains("│           │✗──────────●"), "{text}");
}
