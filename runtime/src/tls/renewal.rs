//! Configuration that follows its files: whoever shakes hands next is shown the newest certificate that does.
//!
//! Files are compared by what is in them, so it does not matter how they are replaced.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use metrics::{counter, describe_counter, describe_gauge, gauge};
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};

use super::files::Unusable;
use crate::Tasks;

/// Files that make a configuration together.
pub trait Files: Clone + Send + Sync + 'static {
    /// What they make.
    type Config: Send + Sync + 'static;

    /// All of them.
    fn paths(&self) -> Vec<&Path>;

    /// What they are called in the log and in metrics.
    fn name(&self) -> &'static str;

    /// Reads them.
    fn build(&self) -> Result<Built<Self::Config>, Unusable>;

    /// Reads them once, for whoever does not run for long.
    fn load(&self) -> Result<Self::Config, Unusable> {
        self.build().map(|built| built.config)
    }
}

/// What files made.
#[derive(Debug)]
pub struct Built<Config> {
    pub(super) config: Config,
    /// When our own certificate expires, if there is one.
    pub(super) expires: Option<SystemTime>,
}

/// The newest configuration. Cheap to clone; all clones are one.
#[derive(Debug)]
pub struct Renewed<Config>(watch::Receiver<Arc<Config>>);

impl<Config: Send + Sync + 'static> Renewed<Config> {
    /// Reads `files`, and looks at them again every so often until `tasks` are asked to stop. Files that do not do, or a
    /// certificate that has expired, leave what was before, with one line in the log for each such state of the files.
    pub fn follow<F>(files: F, every: Duration, tasks: &Tasks) -> Result<Self, Unusable>
    where
        F: Files<Config = Config>,
    {
        describe_gauge!(
            "parlor_tls_certificate_expires_timestamp_seconds",
            "When the certificate in use expires, in seconds since 1970, by the setting that names it."
        );
        describe_counter!(
            "parlor_tls_reloads_total",
            "Certificates that were replaced: taken, or kept as they were."
        );
        // Before they are read: a file that is replaced in between is read twice.
        let mut seen = fingerprint(&files);
        let built = files.build()?;
        if is_past(built.expires) {
            tracing::warn!(
                setting = files.name(),
                "the certificate has expired; whoever checks it will refuse us"
            );
        }
        note(&files, built.expires);
        let (newest, config) = watch::channel(Arc::new(built.config));
        let stopping = tasks.stopping().clone();
        tasks.spawn("certificates", async move {
            let mut beat = interval(every);
            beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = stopping.cancelled() => return,
                    // Nobody needs it any more.
                    () = newest.closed() => return,
                    _ = beat.tick() => {}
                }
                let looking = files.clone();
                // A file may be on a slow disk.
                let looked = spawn_blocking(move || {
                    let now = fingerprint(&looking);
                    (now, (now != seen).then(|| looking.build()))
                });
                let Ok((now, changed)) = looked.await else { continue };
                seen = now;
                match changed {
                    None => {}
                    Some(Ok(built)) if !is_past(built.expires) => {
                        note(&files, built.expires);
                        newest.send_replace(Arc::new(built.config));
                        counter!("parlor_tls_reloads_total", "result" => "taken").increment(1);
                        tracing::info!(setting = files.name(), "a new certificate is in use");
                    }
                    Some(refused) => {
                        let why = match refused {
                            Ok(_) => format!("{}: the certificate has expired", files.name()),
                            Err(unusable) => unusable.to_string(),
                        };
                        counter!("parlor_tls_reloads_total", "result" => "kept").increment(1);
                        tracing::error!(why, "new files do not do; the certificate stays as it was");
                    }
                }
            }
        });
        Ok(Self(config))
    }

    /// For the next handshake.
    pub fn newest(&self) -> Arc<Config> {
        self.0.borrow().clone()
    }
}

impl<Config> Clone for Renewed<Config> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

fn is_past(expires: Option<SystemTime>) -> bool {
    expires.is_some_and(|expires| expires <= SystemTime::now())
}

fn note(files: &impl Files, expires: Option<SystemTime>) {
    if let Some(since_epoch) = expires.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok()) {
        gauge!("parlor_tls_certificate_expires_timestamp_seconds", "setting" => files.name())
            .set(since_epoch.as_secs_f64());
    }
}

/// Differs when what is in the files does.
fn fingerprint(files: &impl Files) -> u64 {
    let mut hasher = DefaultHasher::new();
    for path in files.paths() {
        std::fs::read(path).ok().hash(&mut hasher);
    }
    hasher.finish()
}
