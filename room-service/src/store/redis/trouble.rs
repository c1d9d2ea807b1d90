//! What is wrong with Redis, in words for an operator: what it is and what to do. Never a URL, an address or a name.

use fred::error::{Error, ErrorKind};

use crate::store::{Forbidden, NoSuchUpload, StoreError, WrongMessage};

/// How Redis' refusals begin, and what they mean. All of them pass, by themselves or by an operator's hand.
const REFUSALS: [(&str, &str); 17] = [
    ("LOADING ", "it is loading its data, and will be back when that is done"),
    ("BUSY ", "a script does not end; SCRIPT KILL ends it"),
    (
        "READONLY ",
        "it is a read-only replica; PARLOR_ROOM_SERVICE_REDIS_URL should name the primary, or Sentinel",
    ),
    ("NOREPLICAS ", "it has fewer replicas than min-replicas-to-write wants, and takes no writes"),
    ("MISCONF ", "it cannot write to its disk, and takes no writes; its log says why"),
    (
        "OOM ",
        "it is full (maxmemory), and takes no writes; give it memory, or lower PARLOR_ROOM_SERVICE_HISTORY_MAX",
    ),
    ("MASTERDOWN ", "it is a replica that has lost its primary"),
    ("CLUSTERDOWN ", "some slots of the cluster have no node; bring it back, or its replica up"),
    ("TRYAGAIN ", "slots of the cluster are being moved"),
    (
        "MOVED ",
        "it is a node of a cluster, whose URL begins with redis-cluster://; or its slots are being moved",
    ),
    ("ASK ", "slots of the cluster are being moved"),
    ("NOAUTH ", "it wants a password; put it into PARLOR_ROOM_SERVICE_REDIS_URL"),
    ("WRONGPASS ", "it does not take the user and password of PARLOR_ROOM_SERVICE_REDIS_URL"),
    ("NOPERM ", "its ACL does not let the user of PARLOR_ROOM_SERVICE_REDIS_URL do what the README lists"),
    ("ERR max number of clients", "it has as many connections as maxclients allows"),
    ("ERR AUTH", "it does not take the user and password of PARLOR_ROOM_SERVICE_REDIS_URL"),
    (
        "ERR This instance has cluster support disabled",
        "it is not a node of a cluster; PARLOR_ROOM_SERVICE_REDIS_URL should begin with redis:// or redis-sentinel://",
    ),
];

/// What rustls finds wrong, and what it means.
const DISTRUST: [(&str, &str); 4] = [
    ("NotValidForName", "its certificate is for another host than PARLOR_ROOM_SERVICE_REDIS_URL names"),
    ("Expired", "its certificate has expired"),
    (
        "InvalidCertificate",
        "its certificate comes from nobody who is trusted here; PARLOR_ROOM_SERVICE_REDIS_CA names a file with its \
         authority",
    ),
    (
        "InvalidContentType",
        "it does not speak TLS there; PARLOR_ROOM_SERVICE_REDIS_URL should begin with redis, not rediss",
    ),
];

/// Whether it was Redis being away, busy or full, which passes, or something that will not.
pub(super) fn translate(error: &Error) -> StoreError {
    let details = error.details();
    if let Some(forbidden) = forbidden(details) {
        return forbidden.into();
    }
    if let Some(wrong) = details.strip_prefix("WRONGMESSAGE ").and_then(wrong_message) {
        return wrong.into();
    }
    if details.starts_with("NOSUCHUPLOAD") {
        return NoSuchUpload.into();
    }
    // What Redis says when its data is not ours, or when a script of ours is wrong.
    let broken = ["WRONGTYPE", "ERR ", "CROSSSLOT"].iter().any(|start| details.starts_with(start))
        || matches!(error.kind(), ErrorKind::Parse | ErrorKind::NotFound);
    if broken && refusal(details).is_none() {
        StoreError::Broken(details.to_owned())
    } else {
        StoreError::Unavailable(words(error))
    }
}

/// What operators forbid: the words of `room.lua`.
fn forbidden(details: &str) -> Option<Forbidden> {
    let words = details.strip_prefix("FORBIDDEN ")?;
    let (what, reason) = words.split_once(' ').unwrap_or((words, ""));
    let reason = reason.to_owned();
    Some(if what == "closed" { Forbidden::Closed { reason } } else { Forbidden::Banned { reason } })
}

/// What is wrong with the message that was named: the words of `change.lua` and `append.lua`.
fn wrong_message(word: &str) -> Option<WrongMessage> {
    Some(match word {
        "gone" => WrongMessage::Gone,
        "deleted" => WrongMessage::Deleted,
        "anothers" => WrongMessage::Anothers,
        "full" => WrongMessage::Full,
        "unanswerable" => WrongMessage::Unanswerable,
        _ => return None,
    })
}

/// What the error means.
pub(super) fn words(error: &Error) -> String {
    let details = error.details();
    if let Some(meaning) = refusal(details) {
        return meaning.to_owned();
    }
    if let Some((_, meaning)) = DISTRUST.iter().find(|(word, _)| details.contains(word)) {
        return (*meaning).to_owned();
    }
    match error.kind() {
        ErrorKind::IO => format!("there is no connection ({})", os_message(details)),
        ErrorKind::Sentinel => format!("Sentinel does not lead to a primary ({details})"),
        ErrorKind::Tls => "TLS fails".to_owned(),
        ErrorKind::Timeout => "it does not answer in time".to_owned(),
        ErrorKind::Backpressure => "too many commands wait for it".to_owned(),
        ErrorKind::Cluster | ErrorKind::Routing => {
            "some slots of the cluster cannot be reached; bring their node back, or its replica up".to_owned()
        }
        ErrorKind::Canceled => "the connection was ended".to_owned(),
        // Whatever a server says may hold names; its first word is the kind of refusal.
        _ => format!("it answers {}", details.split_whitespace().next().unwrap_or("nothing")),
    }
}

/// The part for people of what the system says of a connection.
fn os_message(details: &str) -> &str {
    let quoted = details.split_once("message: \"").and_then(|(_, rest)| rest.split_once('"'));
    quoted.map_or(details, |(message, _)| message)
}

fn refusal(details: &str) -> Option<&'static str> {
    REFUSALS.iter().find(|(start, _)| details.starts_with(start)).map(|(_, meaning)| *meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redis_that_refuses_is_unavailable_and_data_that_is_not_ours_is_broken() {
        for (details, expected) in [
            ("OOM command not allowed when used memory > 'maxmemory'.", "full"),
            ("READONLY You can't write against a read only replica. script: 1a2b", "replica"),
            ("MOVED 866 10.0.0.7:7000", "cluster"),
            ("ERR max number of clients reached", "maxclients"),
            ("FANCYNEW refused 10.0.0.7", "FANCYNEW"),
        ] {
            match translate(&Error::new(ErrorKind::Unknown, details)) {
                StoreError::Unavailable(words) => {
                    assert!(words.contains(expected) && !words.contains("10.0.0.7"), "{words}");
                }
                broken => panic!("{details}: {broken}"),
            }
        }
        for details in
            ["WRONGTYPE Operation against a key", "ERR user_script:7: attempt to", "CROSSSLOT Keys"]
        {
            let error = translate(&Error::new(ErrorKind::Unknown, details));
            assert!(matches!(error, StoreError::Broken(_)), "{details}: {error}");
        }
    }
}
