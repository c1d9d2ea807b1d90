//! What the gateway counts, under the names that dashboards know. `docs/metrics.md` has them all.
//!
//! What is counted seldom is counted where it happens. Each series whose labels are known begins here, at 0: a counter
//! that appeared with its first event would hide it from who looks at increases.

use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

/// Why a session may be refused before it begins.
const REFUSALS: [&str; 7] = ["draining", "full", "handshake", "not ready", "origin", "too fast", "too many"];
/// The close codes of `close.rs`, and those of RFC 6455 for who goes by itself.
const CLOSES: [&str; 15] = [
    "1000", "1001", "1002", "1005", "1006", "1007", "1009", "1011", "4001", "4002", "4003", "4004", "4500",
    "4501", "4502",
];

/// Handles of what is counted often: a look-up by name for each frame would cost more than the count.
#[derive(Clone)]
pub(crate) struct Meters {
    pub(crate) sessions: Gauge,
    pub(crate) frames_in: Counter,
    pub(crate) frames_out: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
    pub(crate) catch_ups: Counter,
    pub(crate) late_replies: Counter,
}

impl Meters {
    /// Bound to the recorder of this process.
    pub(crate) fn new() -> Self {
        describe();
        begin();
        Self {
            sessions: gauge!("parlor_gateway_sessions"),
            frames_in: counter!("parlor_gateway_frames_in_total"),
            frames_out: counter!("parlor_gateway_frames_out_total"),
            bytes_in: counter!("parlor_gateway_bytes_in_total"),
            bytes_out: counter!("parlor_gateway_bytes_out_total"),
            catch_ups: counter!("parlor_gateway_catch_ups_total"),
            late_replies: counter!("parlor_gateway_late_replies_total"),
        }
    }
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meters")
    }
}

/// What the hub counts, once for each event and never for each of its receivers.
pub(crate) struct HubMeters {
    pub(crate) deliveries: Counter,
    pub(crate) lag: Histogram,
    pub(crate) rooms_behind: Counter,
    pub(crate) rooms_healed: Counter,
}

impl HubMeters {
    /// Bound to the recorder of this process.
    pub(crate) fn new() -> Self {
        Self {
            deliveries: counter!("parlor_gateway_deliveries_total"),
            lag: histogram!("parlor_gateway_message_lag_seconds"),
            rooms_behind: counter!("parlor_gateway_rooms_behind_total"),
            rooms_healed: counter!("parlor_gateway_rooms_healed_total"),
        }
    }
}

impl std::fmt::Debug for HubMeters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HubMeters")
    }
}

fn describe() {
    describe_gauge!("parlor_gateway_sessions", "Sessions that are open.");
    describe_counter!("parlor_gateway_frames_in_total", "Frames that browsers sent.");
    describe_counter!("parlor_gateway_frames_out_total", "Frames that browsers were sent.");
    describe_counter!("parlor_gateway_bytes_in_total", "Bytes in frames that browsers sent.");
    describe_counter!("parlor_gateway_bytes_out_total", "Bytes in frames that browsers were sent.");
    describe_counter!("parlor_gateway_deliveries_total", "Room events queued for a session.");
    describe_histogram!(
        "parlor_gateway_message_lag_seconds",
        "From when the store kept a message to when it was queued for its sessions here, by both clocks."
    );
    describe_counter!(
        "parlor_gateway_outbox_drops_total",
        "Queues dropped because a session read too slowly."
    );
    describe_counter!("parlor_gateway_catch_ups_total", "Rooms asked for again on behalf of a slow session.");
    describe_counter!("parlor_gateway_late_replies_total", "Frames given up because no reply came in time.");
    describe_counter!("parlor_gateway_unwritable_frames_total", "Frames that have no form in an encoding.");
    describe_counter!(
        "parlor_gateway_rooms_behind_total",
        "Rooms asked for again because something was missing."
    );
    describe_counter!("parlor_gateway_rooms_healed_total", "Of those, rooms that then got what was missing.");
    describe_gauge!("parlor_gateway_link_up", "1 while there is a Link to a room service.");
    describe_counter!("parlor_gateway_link_dials_total", "Attempts to open a Link, by how they ended.");
    describe_counter!("parlor_gateway_closes_total", "Sessions that ended, by close code.");
    describe_counter!(
        "parlor_gateway_refused_upgrades_total",
        "Sessions that were refused before they began, by reason."
    );
    describe_counter!("parlor_gateway_calls_total", "Requests to the HTTP door, by status.");
    describe_counter!(
        "parlor_gateway_failed_hellos_total",
        "Tokens that were refused, of sessions and of calls."
    );
}

fn begin() {
    let _ = HubMeters::new();
    let _ = gauge!("parlor_gateway_link_up");
    let _ = counter!("parlor_gateway_outbox_drops_total");
    let _ = counter!("parlor_gateway_unwritable_frames_total");
    let _ = counter!("parlor_gateway_failed_hellos_total");
    for result in ["opened", "failed"] {
        let _ = counter!("parlor_gateway_link_dials_total", "result" => result);
    }
    for code in CLOSES {
        let _ = counter!("parlor_gateway_closes_total", "code" => code);
    }
    for reason in REFUSALS {
        let _ = counter!("parlor_gateway_refused_upgrades_total", "reason" => reason);
    }
    for status in ["200", "400", "401", "403", "404", "413", "429", "500", "503"] {
        let _ = counter!("parlor_gateway_calls_total", "status" => status);
    }
}
