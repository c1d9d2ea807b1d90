//! What operators forbid in a room: whoever may not be in it is removed, whichever way the room learned so.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::{StreamExt as _, stream};

use super::{Listener, REJOIN_AT_ONCE, Room};
use crate::{ids::SessionName, store::Seat};

/// Sessions that were removed from a room and that may not know it yet.
#[derive(Debug, Default)]
pub(crate) struct Unseated {
    /// Whether there is any: mostly there is none, and this is asked at every frame.
    any: AtomicBool,
    sessions: Mutex<HashSet<SessionName>>,
}

impl Unseated {
    /// Whether this session was removed and has not come back.
    pub(crate) fn contains(&self, session: &SessionName) -> bool {
        self.any.load(Ordering::Acquire) && self.lock().contains(session)
    }

    fn add(&self, session: SessionName) {
        self.lock().insert(session);
        self.any.store(true, Ordering::Release);
    }

    pub(super) fn remove(&self, session: &SessionName) {
        if self.any.load(Ordering::Acquire) {
            let mut sessions = self.lock();
            sessions.remove(session);
            self.any.store(!sessions.is_empty(), Ordering::Release);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<SessionName>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// Reads what is forbidden if it is another version than the one that is known here.
    pub(super) async fn check_rules(&mut self, version: u64) {
        if version == self.rules.version {
            return;
        }
        match self.store.rules(&self.id).await {
            Ok(rules) => {
                self.rules = rules;
                self.remove_forbidden().await;
            }
            // The next beacon tells of the version again.
            Err(error) => tracing::debug!(room = %self.id, %error, "cannot read what is forbidden"),
        }
    }

    async fn remove_forbidden(&mut self) {
        let mut removed = Vec::new();
        for present in self.present.values_mut() {
            let forbidden = present.sessions.extract_if(|_, member| self.rules.forbid(&member.id).is_some());
            let edge = &present.edge;
            let forbidden = forbidden.map(|(session, member)| Seat { session, member, edge: edge.clone() });
            removed.push((present.listener.clone(), forbidden.collect::<Vec<_>>()));
        }
        self.present.retain(|_, present| !present.sessions.is_empty());
        for (listener, seats) in &removed {
            self.tell_removed(&**listener, seats);
        }
        self.take_out(removed.into_iter().flat_map(|(_, seats)| seats).collect()).await;
    }

    /// Those of the seats that may be in the room. The others are told that they may not.
    pub(super) async fn let_in(&mut self, listener: &dyn Listener, mut seats: Vec<Seat>) -> Vec<Seat> {
        let forbidden: Vec<Seat> =
            seats.extract_if(.., |seat| self.rules.forbid(&seat.member.id).is_some()).collect();
        if !forbidden.is_empty() {
            self.tell_removed(listener, &forbidden);
            self.take_out(forbidden).await;
        }
        seats
    }

    fn tell_removed(&self, listener: &dyn Listener, seats: &[Seat]) {
        let mut members = BTreeMap::new();
        for seat in seats {
            self.unseated.add(seat.session.clone());
            let member = seat.member.id.as_str();
            if let Some(forbidden) = self.rules.forbid(member) {
                members.insert(if self.rules.closed.is_some() { "" } else { member }, forbidden.to_string());
            }
        }
        for (member, reason) in members {
            listener.removed(&self.id, member, &reason);
        }
    }

    /// Takes sessions out of the store. One that the store does not take now is found when it is compared with the rooms,
    /// none of which knows it.
    pub(super) async fn take_out(&self, seats: Vec<Seat>) {
        let leaves = stream::iter(seats).for_each_concurrent(REJOIN_AT_ONCE, async |seat| {
            if let Err(error) = self.store.leave(&self.id, &seat.session, &seat.edge).await {
                tracing::debug!(room = %self.id, %error, "a leave has to wait");
            }
        });
        leaves.await;
    }
}
