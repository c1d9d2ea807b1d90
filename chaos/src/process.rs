//! A real process that is started, frozen, ended and killed, by its own id alone.

use std::{
    fs::OpenOptions,
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

/// How long a process may take to end by itself.
const GRACE: Duration = Duration::from_secs(30);

/// A program with its arguments, and the process that runs it now, if one does.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    program: PathBuf,
    args: Vec<String>,
    environment: Vec<(String, String)>,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// Not started yet. What it says goes to `<name>.log` in `folder`.
    pub(crate) fn new(name: &str, program: impl AsRef<Path>, args: Vec<String>, folder: &Path) -> Self {
        Self {
            name: name.to_owned(),
            program: program.as_ref().to_owned(),
            args,
            environment: Vec::new(),
            log: folder.join(format!("{name}.log")),
            child: None,
        }
    }

    /// What it is to have in its environment at the next start.
    pub(crate) fn environment(&mut self, environment: Vec<(String, String)>) {
        self.environment = environment;
    }

    pub(crate) fn start(&mut self) -> io::Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let child = Command::new(&self.program)
            .args(&self.args)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| io::Error::other(format!("{}: {error}", self.program.display())))?;
        self.child = Some(child);
        Ok(())
    }

    /// SIGKILL, and its end.
    pub(crate) async fn kill(&mut self) -> io::Result<()> {
        match &mut self.child {
            Some(child) => child.kill().await,
            None => Err(self.not_running()),
        }
    }

    /// SIGSTOP.
    pub(crate) fn freeze(&self) -> io::Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self) -> io::Result<()> {
        self.signal(Signal::CONT)
    }

    /// SIGTERM, and its end. That is to be a clean one.
    pub(crate) async fn end(&mut self) -> io::Result<()> {
        self.signal(Signal::TERM)?;
        let child = self.child.as_mut().ok_or_else(|| io::Error::other("not running"))?;
        match timeout(GRACE, child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(self.ended_badly(status)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::Error::other(format!("{} did not end within {GRACE:?}", self.name))),
        }
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let id = self.child.as_ref().and_then(Child::id).ok_or_else(|| self.not_running())?;
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw).ok_or_else(|| self.not_running())?;
        kill_process(pid, signal)?;
        Ok(())
    }

    fn ended_badly(&self, status: ExitStatus) -> io::Error {
        io::Error::other(format!("{} ended with {status}; see {}", self.name, self.log.display()))
    }

    fn not_running(&self) -> io::Error {
        io::Error::other(format!("{} is not running", self.name))
    }
}
