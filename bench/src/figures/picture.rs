//! A picture of the servers: three panels of bars, as an SVG that follows the reader's light or dark colours.

use std::fmt::Write as _;

use super::servers::Bars;

const WIDTH: u32 = 960;
const TOP: u32 = 64;
const ROW: u32 = 26;
const BAR: u32 = 16;
const LABELS: u32 = 190;
const PANEL: u32 = 250;
/// Of the longest bar; its number stands behind it.
const LONGEST: f64 = 190.0;
const SHORTEST: f64 = 2.0;

const STYLE: &str = "\
text { font: 13px system-ui, sans-serif; fill: #1f2328 } .head { font-weight: 600 } .scale { fill: #59636e; font-size: 11px } \
.ours { fill: #0a7f5a } .other { fill: #8b949e } .back { fill: #ffffff } \
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .scale { fill: #9198a1 } .ours { fill: #3fb984 } \
.other { fill: #6e7681 } .back { fill: #0d1117 } }";

/// What a panel shows, on a scale of powers of ten, from where on.
struct Panel {
    title: &'static str,
    scale: &'static str,
    of: fn(&Bars) -> f64,
    from: f64,
    shown: fn(f64) -> String,
}

const PANELS: [Panel; 3] = [
    Panel {
        title: "One message",
        scale: "CPU per delivery, × floor; log scale",
        of: |bars| bars.single,
        from: 0.5,
        shown: times,
    },
    Panel {
        title: "Bursts of 100",
        scale: "CPU per delivery, × floor; log scale",
        of: |bars| bars.burst,
        from: 0.5,
        shown: times,
    },
    Panel {
        title: "Idle connection",
        scale: "resident memory; log scale",
        of: |bars| bars.idle_bytes,
        from: 100.0,
        shown: bytes,
    },
];

fn times(ratio: f64) -> String {
    if ratio < 10.0 { format!("{ratio:.2}") } else { format!("{ratio:.0}") }
}

fn bytes(bytes: f64) -> String {
    if bytes < 1024.0 { format!("{bytes:.0} B") } else { format!("{:.1} KiB", bytes / 1024.0) }
}

/// `ours` is the title of the server that is set off.
pub(super) fn svg(servers: &[Bars], ours: &str) -> String {
    let height = TOP + ROW * u32::try_from(servers.len()).unwrap_or(u32::MAX / ROW / 2) + 16;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"What servers cost, beside a bare epoll loop\">\n<style>{STYLE}</style>\n\
         <rect class=\"back\" width=\"{WIDTH}\" height=\"{height}\" rx=\"6\"/>\n"
    );
    for (panel, x) in PANELS.iter().zip((LABELS + 10..).step_by(PANEL as usize)) {
        // Writing to a String does not fail.
        let _ =
            writeln!(text, "<text class=\"head\" x=\"{x}\" y=\"26\" font-size=\"12\">{}</text>", panel.title);
        let _ = writeln!(text, "<text class=\"scale\" x=\"{x}\" y=\"44\">{}</text>", panel.scale);
        let most = servers.iter().map(panel.of).fold(panel.from, f64::max);
        for (server, y) in servers.iter().zip((TOP..).step_by(ROW as usize)) {
            let value = (panel.of)(server);
            let class = if server.title == ours { "ours" } else { "other" };
            let length = length(value, (panel.from, most));
            let _ = writeln!(
                text,
                "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{length:.1}\" height=\"{BAR}\" rx=\"2\"/>\
                 <text x=\"{:.1}\" y=\"{}\">{}</text>",
                f64::from(x) + length + 6.0,
                y + 13,
                (panel.shown)(value)
            );
        }
    }
    for (server, y) in servers.iter().zip((TOP..).step_by(ROW as usize)) {
        let _ = writeln!(
            text,
            "<text x=\"{LABELS}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            y + 13,
            escaped(&server.title)
        );
    }
    text + "</svg>\n"
}

/// Of a bar, on a logarithmic scale.
fn length(value: f64, (from, most): (f64, f64)) -> f64 {
    let share = (value / from).ln() / (most / from).ln();
    if share.is_finite() { (share * LONGEST).clamp(SHORTEST, LONGEST) } else { SHORTEST }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars(title: &str, figure: f64) -> Bars {
        Bars { title: title.to_owned(), single: figure, burst: figure * 10.0, idle_bytes: figure * 1000.0 }
    }

    #[test]
    fn bars_are_as_long_as_their_logarithm() {
        let range = (1.0, 100.0);
        assert!((length(100.0, range) - LONGEST).abs() < 1e-9);
        assert!((length(10.0, range) - LONGEST / 2.0).abs() < 1e-9);
        assert!((length(0.1, range) - SHORTEST).abs() < 1e-9);
        assert!((length(f64::NAN, range) - SHORTEST).abs() < 1e-9);
        assert!((length(1.0, (1.0, 1.0)) - SHORTEST).abs() < 1e-9);
    }

    #[test]
    fn the_picture_names_every_server_once_and_sets_ours_off() {
        let svg = svg(&[bars("Moorline", 1.05), bars("a < b & c", 4.0)], "Moorline");
        assert_eq!(svg.matches(">Moorline<").count(), 1);
        assert!(svg.contains(">a &lt; b &amp; c<") && !svg.contains("a < b"));
        assert_eq!(svg.matches("class=\"ours\"").count(), PANELS.len());
        assert_eq!(svg.matches("class=\"other\"").count(), PANELS.len());
        assert!(svg.contains(">1.05<") && svg.contains(">40<") && svg.contains(">3.9 KiB<"));
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    }
}
