//! What was built: said by `--version` and by the metric `parlor_build_info`.

/// The version of the workspace.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The git revision, which whoever builds for others gives in `PARLOR_REVISION`. Not asked of git here: every commit
/// would then build everything anew, and a build from an archive has no git.
pub const REVISION: &str = match option_env!("PARLOR_REVISION") {
    Some(revision) if !revision.is_empty() => revision,
    _ => "unknown",
};

/// Both in one line, as `--version` prints them after the program's name.
pub fn version() -> String {
    format!("{VERSION} ({REVISION})")
}
