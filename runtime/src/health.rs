//! Whether the process can do its work, and if not, why, in words for an operator.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use http::StatusCode;

/// What keeps a process from being ready, by part. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Health {
    reasons: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

impl Health {
    /// `part` cannot work, for this reason.
    pub fn unready(&self, part: &'static str, reason: impl Into<String>) {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner).insert(part, reason.into());
    }

    /// `part` works.
    pub fn ready(&self, part: &'static str) {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner).remove(part);
    }

    /// Nothing if every part works, else each part that does not, with its reason.
    pub fn check(&self) -> Result<(), String> {
        let reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        if reasons.is_empty() {
            return Ok(());
        }
        let lines: Vec<String> = reasons.iter().map(|(part, reason)| format!("{part}: {reason}")).collect();
        Err(lines.join("; "))
    }

    /// The answer to a GET of `/livez` or `/readyz`; nothing for another path.
    pub fn answer(&self, path: &str) -> Option<(StatusCode, String)> {
        match path {
            "/livez" => Some((StatusCode::OK, "alive\n".to_owned())),
            "/readyz" => Some(match self.check() {
                Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
                Err(reasons) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reasons}\n")),
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ready_when_no_part_says_otherwise_and_says_why_it_is_not() {
        let health = Health::default();
        assert_eq!(health.answer("/readyz"), Some((StatusCode::OK, "ready\n".into())));
        health.unready("redis", "connection refused");
        health.clone().unready("link", "no room service answers");
        let (status, words) = health.answer("/readyz").unwrap();
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(words, "not ready: link: no room service answers; redis: connection refused\n");
        assert_eq!(health.answer("/livez").unwrap().0, StatusCode::OK);
        health.ready("redis");
        health.ready("link");
        assert_eq!(health.check(), Ok(()));
        assert_eq!(health.answer("/"), None);
    }
}
