//! The picture for the README: how many times the floor each costs, where there is a floor. Readable by day and night.

use std::fmt::Write as _;

use crate::{
    report::Measured,
    subject::{FLOOR, Subject},
};

const WIDTH: f64 = 720.0;
/// Where bars begin: names stand before.
const LEFT: f64 = 190.0;
/// Bars end here at the latest: figures stand behind.
const RIGHT: f64 = 660.0;
const LINE: f64 = 22.0;

const HEAD: &str = "<style>
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 }
.bar { fill: #8c959f }
.parlor { fill: #1f6feb }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .bar { fill: #6e7681 } .parlor { fill: #4493f8 } }
</style>
";

/// An SVG. What writes several frames at once is left out: it is another floor.
pub(crate) fn svg(all: &[Measured]) -> String {
    let mut groups = Vec::new();
    for measured in
        all.iter().filter(|measured| measured.rows.first().is_some_and(|row| row.subject == FLOOR))
    {
        let bars = measured.rows.iter().map(|row| row.subject).zip(measured.ratios());
        let other_floor = |subject| subject != FLOOR && matches!(subject, Subject::Floor { .. });
        let bars: Vec<_> = bars.filter(|(subject, _)| !other_floor(*subject)).collect();
        groups.push((measured.scenario.words, bars));
    }
    let most = groups.iter().flat_map(|(_, bars)| bars).map(|(_, (_, ratio))| *ratio).fold(1.0, f64::max);
    let (mut body, mut y) = (String::new(), LINE);
    let title = "CPU time for each delivery, Redis apart, × the floor (one write to each socket)";
    let _ = writeln!(body, r#"<text class="title" x="8" y="{y}">{title}</text>"#);
    for (words, bars) in groups {
        y += 1.5 * LINE;
        let _ = writeln!(body, r#"<text x="8" y="{y}">{words}</text>"#);
        for (subject, (name, ratio)) in bars {
            y += LINE;
            let class = if matches!(subject, Subject::Parlor { .. }) { "parlor" } else { "bar" };
            let width = (RIGHT - LEFT) * ratio / most;
            let (top, behind) = (y - 13.0, LEFT + width + 6.0);
            let _ = writeln!(body, r#"<text x="24" y="{y}">{name}</text>"#);
            let _ = writeln!(
                body,
                r#"<rect class="{class}" x="{LEFT}" y="{top}" width="{width:.0}" height="16" rx="2"/>"#
            );
            let _ = writeln!(body, r#"<text x="{behind:.0}" y="{y}">{ratio:.2}</text>"#);
        }
    }
    let height = y + LINE;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">\n\
         {HEAD}{body}</svg>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        report::Row,
        scenario::{Outcome, SCENARIOS},
        subject::PARLOR,
        tally::Faults,
    };

    #[test]
    fn bars_are_as_long_as_what_they_say() {
        let row = |subject, cost| Row {
            subject,
            rounds: vec![Outcome { figures: vec![("µs/delivery", cost)], faults: Faults::default() }],
        };
        let rows = vec![row(FLOOR, 5.0), row(Subject::Floor { frames_a_write: 4 }, 2.0), row(PARLOR, 10.0)];
        let svg = svg(&[Measured { scenario: SCENARIOS[1], rows }]);
        assert_eq!(svg.matches("<rect").count(), 2, "{svg}");
        assert!(svg.contains(r#"class="bar" x="190" y="64" width="235""#), "{svg}");
        assert!(svg.contains(r#"class="parlor" x="190" y="86" width="470""#), "{svg}");
        assert!(svg.contains(">2.00</text>"));
    }
}
