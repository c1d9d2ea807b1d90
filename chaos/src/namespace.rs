//! A network namespace of our own, where packets may be dropped without harm to anybody.

use std::{env, io, os::unix::process::CommandExt as _, process::Command};

/// Set inside.
const INSIDE: &str = "PARLOR_CHAOS_INSIDE";

/// Goes on inside such a namespace, where nothing but loopback is. This program begins anew there.
pub(crate) fn enter() -> io::Result<()> {
    if env::var_os(INSIDE).is_some() {
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
        return if up.success() { Ok(()) } else { Err(io::Error::other("cannot bring up loopback")) };
    }
    // Returns only if it could not begin.
    let error = Command::new("unshare")
        .args(["--net", "--map-root-user"])
        .arg(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(INSIDE, "yes")
        .exec();
    Err(io::Error::other(format!("unshare: {error} (without a namespace of its own, try --short)")))
}
