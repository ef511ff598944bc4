//! What a child process used, as the kernel counted it.

#![allow(
    unsafe_code,
    reason = "the standard library's wait does not tell what the child used"
)]

use std::{io, process::Child, time::Duration};

/// Of a process and all its threads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// Time on a processor, in user space and in the kernel.
    pub(crate) processor: Duration,
    /// Most memory that it held at a time, in bytes.
    pub(crate) memory: u64,
}

/// Waits for a child to end, and tells what it used.
pub(crate) fn of(child: Child) -> io::Result<Usage> {
    let process = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
    let mut status = 0;
    // SAFETY: the structure is plain numbers, for which zeros are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both places are valid for a write as long as the call takes; the process is a child of this one
        // that nobody else waits for, since `child` is given away to here.
        let ended = unsafe { libc::wait4(process, &raw mut status, 0, &raw mut usage) };
        if ended == process {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    let kib = u64::try_from(usage.ru_maxrss).unwrap_or(0);
    Ok(Usage {
        processor: span(usage.ru_utime) + span(usage.ru_stime),
        memory: kib.saturating_mul(1_024),
    })
}

fn span(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(micros)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_child_that_works_has_used_the_processor_and_memory() {
        let child = Command::new("sh")
            .args(["-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"])
            .spawn()
            .unwrap();
        let usage = of(child).unwrap();
        assert!(usage.processor > Duration::ZERO, "{usage:?}");
        assert!(usage.memory > 100 << 10, "{usage:?}");
    }
}
