//! What a verification found, for a person and for a program.

use std::fmt::Write as _;

use serde_json::{Value, json};
use tokio::time::Duration;

use super::history::{Figures, Finding, History};

/// One line a room, and one for each kind of fault.
pub(super) fn table(history: &History, findings: &[Finding], took: Duration) -> String {
    const HEAD: [&str; 9] = ["room", "sent", "acked", "repeated", "delivered", "p50", "p99", "max", "faults"];
    let mut rows = vec![HEAD.map(str::to_owned)];
    for figures in history.figures() {
        let [p50, p99, max] = match figures.latency {
            Some(latency) => latency.map(|latency| format!("{:.1} ms", millis(latency))),
            None => ["-"; 3].map(str::to_owned),
        };
        rows.push([
            figures.room.clone(),
            figures.sent.to_string(),
            figures.acknowledged.to_string(),
            figures.repeated.to_string(),
            format!("{}/{}", figures.delivered, figures.to_deliver),
            p50,
            p99,
            max,
            faults_in(&figures, findings).to_string(),
        ]);
    }
    let widths: [usize; 9] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or_default());
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    for Finding { room, fault, count, example } in findings {
        let place = if room.is_empty() { String::new() } else { format!("{room}: ") };
        writeln!(text, "FAULT {place}{count} {fault} (such as: {example})").expect("a String takes all");
    }
    let verdict =
        if findings.is_empty() { "nothing lost, doubled or out of order" } else { "not as promised" };
    writeln!(text, "{verdict}; it took {:.1} s", took.as_secs_f32()).expect("a String takes all");
    text
}

/// The same as one JSON object.
pub(super) fn json(history: &History, findings: &[Finding], took: Duration) -> Value {
    let rooms: Vec<Value> = history
        .figures()
        .into_iter()
        .map(|figures| {
            let [p50, p99, max] = match figures.latency {
                Some(latency) => latency.map(|latency| json!(millis(latency))),
                None => [const { Value::Null }; 3],
            };
            json!({
                "room": figures.room, "sent": figures.sent, "acked": figures.acknowledged,
                "repeated": figures.repeated, "delivered": figures.delivered, "to_deliver": figures.to_deliver,
                "latency_ms": { "p50": p50, "p99": p99, "max": max },
                "faults": faults_in(&figures, findings),
            })
        })
        .collect();
    let faults: Vec<Value> = findings
        .iter()
        .map(|Finding { room, fault, count, example }| {
            json!({ "room": room, "fault": fault.to_string(), "count": count, "example": example })
        })
        .collect();
    json!({ "ok": findings.is_empty(), "seconds": took.as_secs_f64(), "rooms": rooms, "faults": faults })
}

fn faults_in(figures: &Figures, findings: &[Finding]) -> usize {
    findings.iter().filter(|finding| finding.room == figures.room).map(|finding| finding.count).sum()
}

fn millis(latency: Duration) -> f64 {
    latency.as_secs_f64() * 1000.0
}
