//! The name of the web client that this gateway serves, so that a page can tell that it is out of date.

use std::{fs, io::ErrorKind, path::Path, sync::Arc};

/// Where a build writes its name, in the web client's directory.
const FILE: &str = "build.txt";
/// The longest name that is told: each session hears it.
const MAX_BYTES: usize = 64;

/// What the build in `web_root` calls itself, in visible ASCII; empty if it does not, or there is none. Read once: the
/// files are deployed with the gateway.
pub(crate) fn read(web_root: &Path) -> Arc<str> {
    match fs::read_to_string(web_root.join(FILE)).map(|text| text.trim().to_owned()) {
        Ok(name) if is_a_name(&name) => name.into(),
        Err(error) if error.kind() == ErrorKind::NotFound => Arc::default(),
        _ => {
            tracing::warn!(
                "{FILE} of the web client holds no name of 1 to {MAX_BYTES} visible ASCII characters"
            );
            Arc::default()
        }
    }
}

fn is_a_name(text: &str) -> bool {
    (1..=MAX_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}
