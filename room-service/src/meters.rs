//! What the room service counts, under the names that dashboards know. `docs/metrics.md` has them all.
//!
//! It is counted where it happens. Each series whose labels are known begins here, at 0: a counter that appeared with
//! its first event would hide it from who looks at increases.

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge};

/// As in `refusal.rs`.
const CODES: [&str; 9] = [
    "FORBIDDEN",
    "INTERNAL",
    "INVALID",
    "NOT_FOUND",
    "NOT_JOINED",
    "RATE_LIMITED",
    "TOO_LARGE",
    "UNAUTHENTICATED",
    "UNAVAILABLE",
];
/// As in `changes.rs`.
const CHANGES: [&str; 3] = ["delete", "edit", "react"];
/// As in `limits.rs`.
const LIMITS: [&str; 8] = ["calls", "frames", "joins", "member sends", "rooms", "sends", "typing", "uploads"];
/// As in `operators.rs`.
const ACTS: [&str; 7] = ["ban", "close", "delete", "disconnect", "lift ban", "open", "readmit"];
/// As in `identity/provider.rs`.
const SIGN_INS: [&str; 6] = ["expired", "invalid", "not yet", "provider away", "unfit", "welcome"];

/// Says what each series is, and begins it.
pub(crate) fn begin() {
    describe();
    for name in ["parlor_room_service_links", "parlor_room_service_bots", "parlor_room_service_rooms"] {
        let _ = gauge!(name);
    }
    for name in [
        "parlor_room_service_joins_total",
        "parlor_room_service_holes_total",
        "parlor_room_service_heads_behind_total",
        "parlor_room_service_messages_healed_total",
        "parlor_room_service_rooms_afresh_total",
        "parlor_room_service_stray_sessions_total",
        "parlor_room_service_reaped_sessions_total",
        "parlor_room_service_unreadable_records_total",
        "parlor_room_service_unreadable_events_total",
        "parlor_room_service_operators_refused_total",
    ] {
        let _ = counter!(name);
    }
    for repeated in ["false", "true"] {
        let _ = counter!("parlor_room_service_sends_total", "repeated" => repeated);
        for kind in CHANGES {
            let _ = counter!("parlor_room_service_changes_total", "kind" => kind, "repeated" => repeated);
        }
    }
    for code in CODES {
        let _ = counter!("parlor_room_service_refusals_total", "code" => code);
    }
    for limit in LIMITS {
        let _ = counter!("parlor_room_service_rate_limited_total", "limit" => limit);
    }
    for act in ACTS {
        let _ = counter!("parlor_room_service_operator_acts_total", "act" => act);
    }
    for result in SIGN_INS {
        let _ = counter!("parlor_room_service_sign_ins_total", "result" => result);
    }
    for result in ["fetched", "failed"] {
        let _ = counter!("parlor_room_service_jwks_fetches_total", "result" => result);
    }
}

fn describe() {
    describe_gauge!("parlor_room_service_links", "Links of gateways that are open.");
    describe_gauge!("parlor_room_service_bots", "Streams of bots that are open.");
    describe_gauge!("parlor_room_service_rooms", "Rooms that are open here, as of the last beacon.");
    describe_counter!("parlor_room_service_joins_total", "Sessions that joined a room.");
    describe_counter!(
        "parlor_room_service_sends_total",
        "Messages that were kept, and those that were kept before: answered again."
    );
    describe_counter!(
        "parlor_room_service_changes_total",
        "Changes of messages that were kept, by kind, and those that were kept before: answered again."
    );
    describe_counter!("parlor_room_service_refusals_total", "Frames and calls that were refused, by code.");
    describe_counter!(
        "parlor_room_service_rate_limited_total",
        "What came faster than a limit allows, by limit; typing is answered, and not told."
    );
    describe_histogram!(
        "parlor_room_service_redis_seconds",
        "How long Redis took for a step: one script, with its way there and back and its wait for others."
    );
    describe_counter!(
        "parlor_room_service_holes_total",
        "Messages that did not follow the one before, so that the store was read."
    );
    describe_counter!(
        "parlor_room_service_heads_behind_total",
        "Rooms that a beacon found behind the store, though nothing had told so."
    );
    describe_counter!(
        "parlor_room_service_messages_healed_total",
        "Messages that rooms read from the store, since their topic had not told them."
    );
    describe_counter!(
        "parlor_room_service_rooms_afresh_total",
        "Rooms that began afresh, since what their sessions knew could not be proved."
    );
    describe_counter!(
        "parlor_room_service_stray_sessions_total",
        "Sessions taken out of the store that no room knew."
    );
    describe_counter!(
        "parlor_room_service_reaped_sessions_total",
        "Sessions taken out of the store whose gateway or room service died."
    );
    describe_counter!(
        "parlor_room_service_unreadable_records_total",
        "Kept messages and members that cannot be read."
    );
    describe_counter!("parlor_room_service_unreadable_events_total", "Published events that cannot be read.");
    describe_counter!("parlor_room_service_operators_refused_total", "Operators' tokens that were refused.");
    describe_counter!("parlor_room_service_operator_acts_total", "What operators did, by act.");
    describe_counter!(
        "parlor_room_service_sign_ins_total",
        "Tokens of a sign-in provider, by what came of them."
    );
    describe_counter!(
        "parlor_room_service_jwks_fetches_total",
        "Attempts to fetch the keys of a sign-in provider, by how they ended."
    );
}
