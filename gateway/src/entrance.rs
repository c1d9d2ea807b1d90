//! Who may open a session, by whatever door: the page, the gateway's state, and the places there are.

use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{HOST, ORIGIN},
};

use crate::{
    House,
    admission::{Address, Admitted, Refusal},
    http::Caller,
    origin,
};

/// Why a request may not open a session.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The page that asks is another site's.
    Origin,
    /// This gateway is going away.
    Draining,
    /// This gateway could not deliver what is said, for these reasons.
    NotReady(String),
    /// There is no place, or not for this address.
    NoPlace(Refusal),
}

/// A place for a session that a request of `caller` with `headers` wants to open.
pub(crate) fn enter(house: &House, caller: &Caller, headers: &HeaderMap) -> Result<Admitted, Refused> {
    let entered = check_origin(house, headers).and_then(|()| {
        if house.tasks.stopping().is_cancelled() {
            return Err(Refused::Draining);
        }
        house.health.check().map_err(Refused::NotReady)?;
        house.admission.enter(address(house, caller, headers)).map_err(Refused::NoPlace)
    });
    entered.inspect_err(|refused| count(refused.label()))
}

/// Whom a request counts against.
pub(crate) fn address(house: &House, caller: &Caller, headers: &HeaderMap) -> Address {
    Address::of(caller.peer, headers, house.settings.trusted_hops)
}

/// Counts a session that was refused, for the reason with this `label`.
pub(crate) fn count(label: &'static str) {
    metrics::counter!("parlor_gateway_refused_upgrades_total", "reason" => label).increment(1);
}

/// Whether the page that made a request may speak for its visitor here.
pub(crate) fn check_origin(house: &House, headers: &HeaderMap) -> Result<(), Refused> {
    let header =
        |name: HeaderName| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or_default());
    let allowed = origin::allowed(house.settings.allowed_origins.as_ref(), header(ORIGIN), header(HOST));
    if allowed { Ok(()) } else { Err(Refused::Origin) }
}

impl Refused {
    fn label(&self) -> &'static str {
        match self {
            Self::Origin => "origin",
            Self::Draining => "draining",
            Self::NotReady(_) => "not ready",
            Self::NoPlace(Refusal::Full) => "full",
            Self::NoPlace(Refusal::TooMany) => "too many",
            Self::NoPlace(Refusal::TooFast) => "too fast",
        }
    }

    /// What its asker gets.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Origin => StatusCode::FORBIDDEN,
            Self::Draining | Self::NotReady(_) | Self::NoPlace(Refusal::Full) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::NoPlace(Refusal::TooMany | Refusal::TooFast) => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// Words for a person.
    pub(crate) fn words(&self) -> String {
        let words = match self {
            Self::Origin => "This page may not open a session here.",
            Self::Draining => "This gateway is going away.",
            Self::NotReady(reasons) => return format!("Not ready: {reasons}."),
            Self::NoPlace(Refusal::Full) => "This gateway is full.",
            Self::NoPlace(Refusal::TooMany) => "Too many sessions from your address.",
            Self::NoPlace(Refusal::TooFast) => {
                "Too much at once or too many bad tokens from your address. Try again in a moment."
            }
        };
        words.to_owned()
    }
}
