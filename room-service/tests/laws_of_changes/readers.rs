//! Whoever reads by the rule of `chat.proto` ends where the store does, whichever pages they read, and whenever these and
//! the changes reach them.

use proto::chat::v1::Message;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use room_service::store::{Appended, ChangeKind, Published, StoreError};
use testkit::Reading;

use super::{change, edit, kept, react};
use crate::{World, lobby};

/// Fewer than are said, so that the oldest are forgotten meanwhile.
const KEPT: u32 = 40;
const STEPS: usize = 250;

/// Someone who joined, reads pages, and hears what is told, each when it comes.
#[derive(Default)]
struct Reader {
    reading: Reading,
    /// How much of what was told they have heard.
    heard: usize,
    /// Pages that are on their way.
    pages: Vec<Vec<Message>>,
}

/// A room in which anything happens, and all that it told.
struct Play {
    world: World,
    rng: StdRng,
    said: Vec<Appended>,
    told: Vec<Message>,
    acts: usize,
}

impl Play {
    async fn act(&mut self) {
        self.acts += 1;
        let client_id = format!("c{}", self.acts);
        let who = ["ada", "bob", "cat"][self.rng.random_range(0..3)];
        if self.said.is_empty() || self.rng.random_range(0..3) == 0 {
            self.said.push(self.world.say(&client_id, "said").await);
        } else {
            // Of late mostly, so that much happens to the same.
            let at = self.said.len() - 1 - self.rng.random_range(0..self.said.len().min(12));
            let removed = self.rng.random();
            let kind = match self.rng.random_range(0..10) {
                0 => ChangeKind::Delete,
                1..=3 => edit(&client_id),
                _ => react(["+", "-", "\u{1f44d}"][self.rng.random_range(0..3)], removed),
            };
            match change(&self.world, who, &client_id, &self.said[at].clone(), kind).await {
                Ok(_) | Err(StoreError::WrongMessage(_)) => {}
                Err(error) => panic!("{error}"),
            }
            if self.rng.random_range(0..40) == 0 {
                self.world.store.delete(&lobby(), self.said[at].seq, "").await.unwrap();
            }
        }
        let head = self.world.store.standing(&lobby()).await.unwrap().head;
        while self.told.last().map_or(0, |last| last.seq) < head {
            let Published::Message(message) = self.world.published().await else { panic!("a message") };
            self.told.push(message);
        }
    }

    async fn page(&mut self, before: u32) -> Vec<Message> {
        let limit = self.rng.random_range(1..20);
        self.world.store.history(&lobby(), before, limit).await.unwrap().messages
    }

    /// Something comes to a reader, or they ask for a page.
    async fn serve(&mut self, reader: &mut Reader) {
        match self.rng.random_range(0..4) {
            0 if !reader.pages.is_empty() => {
                let page = reader.pages.swap_remove(self.rng.random_range(0..reader.pages.len()));
                reader.reading.take_page(page);
            }
            1 => {
                let oldest = reader.reading.oldest().map_or(0, |oldest| oldest.seq);
                let page = self.page(oldest).await;
                reader.pages.push(page);
            }
            _ if reader.heard < self.told.len() => {
                reader.reading.take(self.told[reader.heard].clone());
                reader.heard += 1;
            }
            _ => {}
        }
    }

    async fn someone_comes(&mut self) -> Reader {
        let mut reader = Reader { heard: self.told.len(), ..Reader::default() };
        let page = self.page(0).await;
        reader.reading.take_page(page);
        reader
    }
}

async fn play(world: World, seed: u64) {
    let rng = StdRng::seed_from_u64(seed);
    let mut play = Play { world, rng, said: Vec::new(), told: Vec::new(), acts: 0 };
    play.world.store.subscribe(&lobby()).await.unwrap();
    let mut readers = Vec::new();
    for step in 0..STEPS {
        play.act().await;
        if step % 40 == 0 {
            readers.push(play.someone_comes().await);
        }
        for reader in &mut readers {
            for _ in 0..play.rng.random_range(0..4) {
                play.serve(reader).await;
            }
        }
    }
    let kept = kept(&play.world).await;
    assert!(kept.iter().any(|message| message.changed > 0 && !message.deleted), "something happened");
    for (n, mut reader) in readers.into_iter().enumerate() {
        while reader.heard < play.told.len() || !reader.pages.is_empty() {
            play.serve(&mut reader).await;
        }
        let head = play.told.last().map(|last| last.seq);
        assert_eq!(reader.reading.newest().map(|newest| newest.seq), head, "they know the newest");
        for message in &kept {
            // Of the older ones they know what they asked for.
            if let Some(known) = reader.reading.get(message.seq) {
                assert_eq!(known, message, "seed {seed}, reader {n}");
            }
        }
    }
    play.world.end().await;
}

#[tokio::test]
async fn whoever_reads_any_mix_of_pages_and_changes_ends_as_the_store_in_memory() {
    for seed in 0..40 {
        play(World::in_memory_of(KEPT), seed).await;
    }
}

#[tokio::test]
async fn whoever_reads_any_mix_of_pages_and_changes_ends_as_the_store_in_redis() {
    for seed in 100..104 {
        play(World::in_redis_of(KEPT).await, seed).await;
    }
}
