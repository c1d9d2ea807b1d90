//! The bench leaves nothing behind, however it ends.
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use testkit::{Program, eventually};

#[tokio::test]
async fn a_bench_that_is_asked_to_stop_ends_its_servers() {
    let folder = std::env::temp_dir().join(format!("bench-end-{}", std::process::id()));
    let folder_flag = folder.to_string_lossy();
    // One core is enough: nothing is measured.
    let flags =
        ["--only=one-room", "--subject=floor", "--seconds=600", "--load-core=0", "--folder", &folder_flag];
    let mut bench = Program::start(env!("CARGO_BIN_EXE_bench"), &flags);
    let server = eventually("it has a server", async || child_of(bench.id())).await;
    bench.terminate().await;
    assert_eq!(bench.exit_code().await, Some(1));
    let place = format!("/proc/{server}");
    eventually("its server has ended too", async || (!Path::new(&place).exists()).then_some(())).await;
    fs::remove_dir_all(folder).unwrap();
}

/// A process that it has started: the fourth field of its `/proc/PID/stat`, after a name in brackets.
fn child_of(id: u32) -> Option<u32> {
    fs::read_dir("/proc").unwrap().find_map(|entry| {
        let process = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        let parent: u32 = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
        (parent == id).then_some(process)
    })
}
