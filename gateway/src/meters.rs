//! What the gateway counts, under the names that dashboards know.

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

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
        describe_gauge!("parlor_gateway_sessions", "Sessions that are open.");
        describe_counter!("parlor_gateway_frames_in_total", "Frames that browsers sent.");
        describe_counter!("parlor_gateway_frames_out_total", "Frames that browsers were sent.");
        describe_counter!("parlor_gateway_bytes_in_total", "Bytes in frames that browsers sent.");
        describe_counter!("parlor_gateway_bytes_out_total", "Bytes in frames that browsers were sent.");
        describe_counter!("parlor_gateway_deliveries_total", "Room events queued for a session.");
        describe_counter!(
            "parlor_gateway_outbox_drops_total",
            "Queues dropped because a session read too slowly."
        );
        describe_counter!(
            "parlor_gateway_catch_ups_total",
            "Rooms asked for again on behalf of a slow session."
        );
        describe_counter!(
            "parlor_gateway_late_replies_total",
            "Frames given up because no reply came in time."
        );
        describe_counter!(
            "parlor_gateway_unwritable_frames_total",
            "Frames that have no form in an encoding."
        );
        describe_counter!(
            "parlor_gateway_rooms_behind_total",
            "Rooms asked for again because something was missing."
        );
        describe_gauge!("parlor_gateway_link_up", "1 while there is a Link to a room service.");
        describe_counter!("parlor_gateway_link_dials_total", "Attempts to open a Link, by how they ended.");
        describe_counter!("parlor_gateway_closes_total", "Sessions that ended, by close code.");
        describe_counter!(
            "parlor_gateway_refused_upgrades_total",
            "Sessions that were refused before they began, by reason."
        );
        describe_counter!(
            "parlor_gateway_calls_total",
            "Requests to the HTTP door, by operation and status."
        );
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
