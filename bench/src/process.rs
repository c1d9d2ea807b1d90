//! What a process has used, as the kernel counts it: `/proc`.

use std::{fs, io, time::Duration};

use rustix::param::clock_ticks_per_second;

/// The CPU time of a process, in user space and in the kernel, of all its threads.
pub(crate) fn cpu(pid: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks = cpu_ticks(&stat).ok_or_else(|| io::Error::other("/proc/PID/stat is not as it was"))?;
    Ok(duration(ticks))
}

/// The memory of a process that is in RAM, in bytes.
pub(crate) fn rss(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    rss_bytes(&status).ok_or_else(|| io::Error::other("/proc/PID/status has no VmRSS"))
}

/// The CPU time of everything that runs on this machine.
pub(crate) fn cpu_of_all() -> io::Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let ticks = busy_ticks(&stat).ok_or_else(|| io::Error::other("/proc/stat is not as it was"))?;
    Ok(duration(ticks))
}

#[expect(clippy::cast_precision_loss, reason = "exact for thousands of years")]
fn duration(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / clock_ticks_per_second() as f64)
}

/// utime + stime of `/proc/PID/stat`: the 14th and 15th field, of which the second is a name that may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11).map(str::parse::<u64>);
    Some(fields.next()?.ok()? + fields.next()?.ok()?)
}

/// Everything in the first line of `/proc/stat` but idling (4th) and waiting for disks (5th), and the time of guests,
/// which is counted as ours already.
fn busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let [user, nice, system, _idle, _disks, interrupts, soft_interrupts, stolen, ..] = ticks[..] else {
        return None;
    };
    Some(user + nice + system + interrupts + soft_interrupts + stolen)
}

fn rss_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_process_may_look_like_fields() {
        let stat = "7 (a) b) 1 2) S 1 7 7 0 -1 4194560 100 0 0 0 250 31 9 9 20 0 1 0 100 1 1 1";
        assert_eq!(cpu_ticks(stat), Some(281));
        assert_eq!(cpu_ticks("7 (a) S 1"), None);
    }

    #[test]
    fn idling_is_not_work() {
        assert_eq!(busy_ticks("cpu  1 2 4 1000 1000 8 16 32 64 128\ncpu0 5"), Some(63));
        assert_eq!(busy_ticks("cpu  1 2 4"), None);
    }

    #[test]
    fn memory_is_told_in_kilobytes() {
        assert_eq!(rss_bytes("Name:\tx\nVmRSS:\t    1536 kB\nThreads:\t2"), Some(1536 * 1024));
        assert_eq!(rss_bytes("Name:\tx"), None);
    }

    #[test]
    fn this_process_has_used_something_and_no_more_than_all() {
        let id = std::process::id();
        assert!(cpu(id).unwrap() <= cpu_of_all().unwrap());
        assert!(rss(id).unwrap() > 0);
    }
}
