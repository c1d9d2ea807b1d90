//! What a run came to: a table for a person, and JSON for a program. Figures are medians of the rounds.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::{
    scenario::{Figure, Outcome, Scenario},
    subject::Subject,
    tally::{Faults, median},
};

/// A scenario, and what each of its subjects came to in each round.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) scenario: Scenario,
    pub(crate) rows: Vec<Row>,
}

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) subject: Subject,
    pub(crate) rounds: Vec<Outcome>,
}

impl Row {
    /// The middle of each figure.
    fn figures(&self) -> Vec<Figure> {
        let names = self.rounds.first().map(|round| round.figures.iter().map(|(name, _)| *name));
        let names = names.into_iter().flatten().enumerate();
        names.map(|(n, name)| (name, median(self.values(n)))).collect()
    }

    /// Figure `n` of every round.
    fn values(&self, n: usize) -> Vec<f64> {
        self.rounds.iter().filter_map(|round| Some(round.figures.get(n)?.1)).collect()
    }

    /// The figure that subjects are compared by.
    fn cost(&self) -> f64 {
        median(self.values(0))
    }

    /// How far the rounds differ, in percent of the middle one.
    fn spread(&self) -> f64 {
        let values = self.values(0);
        let most = values.iter().copied().fold(f64::MIN, f64::max);
        let least = values.iter().copied().fold(f64::MAX, f64::min);
        (most - least) / self.cost() * 100.0
    }

    /// In all rounds together.
    pub(crate) fn faults(&self) -> Faults {
        let mut faults = Faults::default();
        for round in &self.rounds {
            faults += round.faults;
        }
        faults
    }
}

impl Measured {
    /// How many times as much as the first subject each one costs.
    pub(crate) fn ratios(&self) -> impl Iterator<Item = (String, f64)> {
        let base = self.rows.first().map_or(1.0, Row::cost);
        self.rows.iter().map(move |row| (row.subject.words(), row.cost() / base))
    }

    /// For a person.
    pub(crate) fn table(&self) -> String {
        let mut lines: Vec<Vec<String>> = Vec::new();
        for (row, (words, ratio)) in self.rows.iter().zip(self.ratios()) {
            let figures = row.figures();
            let Faults { lost, doubled, reordered } = row.faults();
            if lines.is_empty() {
                let own = figures.iter().map(|(name, _)| (*name).to_owned());
                let mut head = vec![String::new(), format!("× {words}")];
                head.extend(own.chain(["spread %", "lost", "doubled", "reordered"].map(str::to_owned)));
                lines.push(head);
            }
            let mut line = vec![words, format!("{ratio:.2}")];
            line.extend(figures.iter().map(|(_, value)| short(*value)));
            line.push(short(row.spread()));
            line.extend([lost, doubled, reordered].map(|count| count.to_string()));
            lines.push(line);
        }
        format!("{}\n{}", self.scenario.words, aligned(&lines))
    }

    /// For a program.
    pub(crate) fn json(&self) -> Value {
        let rows = self.rows.iter().zip(self.ratios()).map(|(row, (words, ratio))| {
            let Faults { lost, doubled, reordered } = row.faults();
            let rounds = row.rounds.iter().map(|round| object(&round.figures));
            json!({
                "subject": words, "ratio": ratio, "medians": object(&row.figures()), "spread_percent": row.spread(),
                "rounds": rounds.collect::<Vec<_>>(), "lost": lost, "doubled": doubled, "reordered": reordered,
            })
        });
        json!({
            "scenario": self.scenario.key, "words": self.scenario.words, "subjects": rows.collect::<Vec<_>>(),
        })
    }
}

fn object(figures: &[Figure]) -> Value {
    figures
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// Three digits, or all before the point.
fn short(value: f64) -> String {
    let decimals = match value.abs() {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

/// Columns of the same width: words to the left, figures to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let n_columns = lines.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| lines.iter().filter_map(|line| Some(line.get(column)?.chars().count())).max();
    let widths: Vec<usize> = (0..n_columns).map(|column| width(column).unwrap_or_default()).collect();
    let mut text = String::new();
    for line in lines {
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let _ =
                if column == 0 { write!(text, "  {cell:width$}") } else { write!(text, "  {cell:>width$}") };
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        scenario::SCENARIOS,
        subject::{FLOOR, PARLOR},
    };

    fn row(subject: Subject, costs: &[f64], lost: u64) -> Row {
        let outcome = |cost| Outcome {
            figures: vec![("µs/delivery", cost), ("p50 ms", cost * 2.0)],
            faults: Faults { lost, ..Faults::default() },
        };
        Row { subject, rounds: costs.iter().copied().map(outcome).collect() }
    }

    fn measured() -> Measured {
        let rows = vec![row(FLOOR, &[4.0, 5.0, 100.0], 0), row(PARLOR, &[9.0, 10.0, 11.0], 1)];
        Measured { scenario: SCENARIOS[0], rows }
    }

    #[test]
    fn the_table_has_medians_ratios_and_all_faults() {
        let table = measured().table();
        let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[2], ["floor", "1.00", "5.00", "10.0", "1920", "0", "0", "0"]);
        assert_eq!(lines[3], ["parlor", "2.00", "10.0", "20.0", "20.0", "3", "0", "0"]);
        let widths: Vec<usize> = table.lines().skip(1).map(|line| line.chars().count()).collect();
        assert!(widths.windows(2).all(|pair| pair[0] == pair[1]), "{table}");
    }

    #[test]
    fn the_json_has_every_round() {
        let json = measured().json();
        assert_eq!(json["scenario"], SCENARIOS[0].key);
        assert_eq!(json["subjects"][1]["rounds"][2]["µs/delivery"], 11.0);
        assert_eq!(json["subjects"][1]["lost"], 3);
    }
}
