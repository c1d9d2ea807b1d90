//! The table of a run, and whether it was a good one.

use std::{fmt::Write as _, time::Duration};

use crate::{checker::Verdict, fault::Fault, round::HEAL};

const COLUMNS: usize = 16;
/// `again`: sends that were told to try again. `other`: all further counts of [`Verdict`] that are to be zero.
const HEAD: [&str; COLUMNS] = [
    "fault",
    "sends",
    "heard",
    "again",
    "heal p50",
    "p99",
    "gone",
    "lost",
    "unheard",
    "doubled",
    "disorder",
    "twice",
    "ghosts",
    "false leaves",
    "closed",
    "other",
];

/// One line of the table.
pub(crate) struct Row {
    pub(crate) fault: Fault,
    pub(crate) verdict: Verdict,
}

impl Row {
    /// Every promise that was not kept, in words.
    pub(crate) fn broken(&self) -> Vec<String> {
        let verdict = &self.verdict;
        // A replica that took over may lack the newest. That is counted and stated, and never hidden from a client.
        let afresh = if verdict.lost_to_lag > 0 { 0 } else { verdict.afresh };
        let mut broken: Vec<String> = [
            (verdict.lost - verdict.lost_to_lag, "acknowledged and lost"),
            (verdict.unheard, "kept and not heard"),
            (verdict.doubled, "heard twice"),
            (verdict.disordered, "out of order"),
            (verdict.stored_twice, "stored twice"),
            (verdict.misnumbered, "misnumbered"),
            (verdict.ghosts, "ghosts"),
            (verdict.missing, "missing from a roster"),
            (verdict.false_leaves, "false leaves"),
            (afresh, "rooms started afresh"),
            (verdict.deaf, "deaf after the fault"),
            (verdict.refused, "useless refusals"),
            (verdict.unacknowledged, "never acknowledged"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, words)| format!("{count} {words}"))
        .collect();
        match (self.fault.closes_browsers(), verdict.closed.first()) {
            (Some(true), None) => {
                broken.push("the fault closed no connection, so nothing was tried".to_owned());
            }
            (Some(false), Some(how)) => {
                broken.push(format!("{} connections closed ({how})", verdict.closed.len()));
            }
            _ => {}
        }
        if self.fault.begins_epoch() && verdict.epochs < 2 {
            broken.push("no new epoch began, so nothing was tried".to_owned());
        }
        let p99 = self.heal(0.99);
        if p99 > HEAL {
            broken.push(format!("healed only after {p99:.1?}"));
        }
        if verdict.deliveries == 0 {
            broken.push("nobody heard anything, so nothing was tried".to_owned());
        }
        broken
    }

    /// The time to heal that this part of the members stayed within.
    fn heal(&self, part: f64) -> Duration {
        let mut heal = self.verdict.heal.clone();
        heal.sort_unstable();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let at = (heal.len() as f64 * part).ceil() as usize;
        heal.get(at.saturating_sub(1)).copied().unwrap_or_default()
    }

    fn cells(&self) -> [String; COLUMNS] {
        let verdict = &self.verdict;
        let other = verdict.missing
            + verdict.misnumbered
            + verdict.afresh
            + verdict.deaf
            + verdict.refused
            + verdict.unacknowledged;
        let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
        let counts = [
            verdict.lost,
            verdict.unheard,
            verdict.doubled,
            verdict.disordered,
            verdict.stored_twice,
            verdict.ghosts,
            verdict.false_leaves,
            verdict.closed.len(),
            other,
        ];
        let times = [self.heal(0.5), self.heal(0.99), verdict.cleared].map(seconds);
        let work = [verdict.sends.to_string(), verdict.deliveries.to_string(), verdict.postponed.to_string()];
        let cells: Vec<String> = [self.fault.words().to_owned()]
            .into_iter()
            .chain(work)
            .chain(times)
            .chain(counts.map(|count| count.to_string()))
            .collect();
        cells.try_into().expect("as many as there are columns")
    }
}

/// The table in Markdown.
pub(crate) fn table(rows: &[Row]) -> String {
    let cells: Vec<[String; COLUMNS]> =
        std::iter::once(HEAD.map(str::to_owned)).chain(rows.iter().map(Row::cells)).collect();
    let mut widths = [0; COLUMNS];
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    let mut table = String::new();
    for (n, row) in cells.iter().enumerate() {
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            let line = if column == 0 { format!("| {cell:width$} ") } else { format!("| {cell:>width$} ") };
            table.push_str(&line);
        }
        table.push_str("|\n");
        if n == 0 {
            for (column, width) in widths.iter().enumerate() {
                let right = if column == 0 { '-' } else { ':' };
                let _ = write!(table, "|{}{right}", "-".repeat(width + 1));
            }
            table.push_str("|\n");
        }
    }
    table
}
