//! The symbols through which libraries read entropy and clocks, answered from the seed.
//!
//! Hash tables, `rand`'s thread generator and tokio's `select!` draw from `getrandom` (some by way of
//! `syscall`); TLS tickets and certificates look at `clock_gettime`. No argument reaches them, and with any of the
//! three left alone two runs of a seed diverge at once. So this program, and no other of the workspace,
//! defines these symbols itself; the linker prefers them to the C library's. A thread opts in; for every other
//! thread each call goes to the kernel as before.
//!
//! In: [`Ambient`]'s calls on the simulation's thread. Out: entropy from the seed, clocks at the
//! simulated time, and how long an idle runtime would have slept: `syscall` is also how the standard library waits.

#![allow(
    unsafe_code,
    reason = "defining C symbols and calling the kernel cannot be written without it"
)]

use std::{
    cell::Cell,
    ffi::{c_int, c_long, c_void},
    time::Duration,
};

use meridian_simulation::world::{Ambient, Naps, Seed};

use super::entropy;

#[cfg(not(target_os = "linux"))]
compile_error!("the simulator answers glibc's symbols on Linux; build it there");

/// Steers the calling thread's entropy and clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interposed;

impl Ambient for Interposed {
    fn begin(&self, seed: Seed, unix: Duration) {
        entropy::follow(seed);
        STEERED.set(Some(Steered {
            generator: seed.0 ^ SALT,
            unix,
            elapsed: Duration::ZERO,
        }));
    }

    fn stand_at(&self, unix: Duration, elapsed: Duration) {
        let steered = STEERED.get();
        STEERED.set(steered.map(|steered| Steered {
            unix,
            elapsed,
            ..steered
        }));
    }

    fn naps(&self) -> Option<Naps> {
        Some(Naps {
            begin: || NAP.set(Nap::Expected),
            end: || match NAP.replace(Nap::None) {
                Nap::Taken(length) => Some(length),
                Nap::None | Nap::Expected => None,
            },
        })
    }
}

/// What the thread's next timed wait is.
#[derive(Clone, Copy)]
enum Nap {
    /// Somebody's whom nobody expects: the kernel's to do.
    None,
    /// An idle runtime's: not to be waited out.
    Expected,
    /// It was asked for, and would have taken this long.
    Taken(Duration),
}

/// What an opted-in thread reads.
#[derive(Clone, Copy)]
struct Steered {
    /// State of SplitMix64 (Steele, Lea, Flood 2014): small enough to be copied in and out of the cell,
    /// and nothing secret depends on it.
    generator: u64,
    unix: Duration,
    /// Since the run began: a wall clock that jumps takes no monotonic one along.
    elapsed: Duration,
}

thread_local! {
    // `const` and without a destructor: reading it neither allocates nor registers anything, so that it is
    // safe from within any caller of the C library.
    static STEERED: Cell<Option<Steered>> = const { Cell::new(None) };
    static NAP: Cell<Nap> = const { Cell::new(Nap::None) };
}

/// Fills `length` bytes at `buffer` if this thread opted in.
///
/// # Safety
/// `buffer` must be valid for writes of `length` bytes.
unsafe fn fill(buffer: *mut c_void, length: usize) -> bool {
    let Some(mut steered) = STEERED.get() else {
        return false;
    };
    let mut bytes = buffer.cast::<u8>();
    let mut left = length;
    while left > 0 {
        steered.generator = steered.generator.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = steered.generator;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let word = (word ^ (word >> 31)).to_le_bytes();
        let count = left.min(word.len());
        // SAFETY: `count` bytes are left of the caller's buffer, and a local array does not overlap it.
        unsafe {
            std::ptr::copy_nonoverlapping(word.as_ptr(), bytes, count);
            bytes = bytes.add(count);
        }
        left -= count;
    }
    STEERED.set(Some(steered));
    true
}

/// The simulated time of a clock, if this thread opted in and the clock tells time (not processor use).
fn clock(id: c_long) -> Option<Duration> {
    let steered = STEERED.get()?;
    match c_int::try_from(id).ok()? {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE | libc::CLOCK_TAI => Some(steered.unix),
        libc::CLOCK_MONOTONIC
        | libc::CLOCK_MONOTONIC_RAW
        | libc::CLOCK_MONOTONIC_COARSE
        | libc::CLOCK_BOOTTIME => Some(steered.elapsed + UPTIME),
        _ => None,
    }
}

/// The C library's `getrandom(2)`.
///
/// # Safety
/// As for the original: `buffer` must be valid for writes of `length` bytes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn getrandom(
    buffer: *mut c_void,
    length: usize,
    flags: libc::c_uint,
) -> isize {
    // SAFETY: the caller's promise about the buffer is the one `fill` asks for.
    if unsafe { fill(buffer, length) } {
        return length.cast_signed();
    }
    let arguments = [
        buffer as c_long,
        length as c_long,
        c_long::from(flags),
        0,
        0,
        0,
    ];
    // SAFETY: these are the call's own arguments, passed on unchanged.
    let result = unsafe { kernel(libc::SYS_getrandom, arguments) };
    isize::try_from(conclude(result)).unwrap_or(-1)
}

/// The C library's `clock_gettime(2)`.
///
/// # Safety
/// As for the original: `time` must be null or valid for a write.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn clock_gettime(
    id: libc::clockid_t,
    time: *mut libc::timespec,
) -> c_int {
    // SAFETY: the caller's promise about `time` is the one `read_clock` asks for.
    let result = unsafe { read_clock(c_long::from(id), time) };
    c_int::try_from(result).unwrap_or(-1)
}

/// # Safety
/// `time` must be null or valid for a write.
unsafe fn read_clock(id: c_long, time: *mut libc::timespec) -> c_long {
    match clock(id) {
        Some(now) if !time.is_null() => {
            let now = libc::timespec {
                tv_sec: now.as_secs().cast_signed(),
                tv_nsec: c_long::from(now.subsec_nanos()),
            };
            // SAFETY: it is not null, so the caller promises that it can be written.
            unsafe { time.write(now) };
            0
        }
        _ => {
            let arguments = [id, time as c_long, 0, 0, 0, 0];
            // SAFETY: these are the call's own arguments, passed on unchanged.
            conclude(unsafe { kernel(libc::SYS_clock_gettime, arguments) })
        }
    }
}

/// The C library's `syscall(2)`: getrandom 0.2 and some C code go this way.
///
/// It is variadic in C. On both architectures below, integers of a variadic call travel where those of a fixed one
/// do (System V x86-64 psABI section 3.2.3, AAPCS64 section 6.8.2), so six fixed ones read them all.
///
/// # Safety
/// As for the original: whatever the call in question asks for.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn syscall(
    number: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    match number {
        libc::SYS_getrandom => {
            let flags = libc::c_uint::try_from(c).unwrap_or(0);
            let length = usize::try_from(b).unwrap_or(0);
            // SAFETY: the caller's promise for this call is `getrandom`'s own.
            let filled = unsafe { getrandom(a as *mut c_void, length, flags) };
            c_long::try_from(filled).unwrap_or(-1)
        }
        // SAFETY: the caller's promise for this call is `clock_gettime`'s own.
        libc::SYS_clock_gettime => unsafe { read_clock(a, b as *mut libc::timespec) },
        // SAFETY: the caller promises that the timeout of a futex(2) wait is null or can be read.
        libc::SYS_futex if unsafe { nap(b, d as *const libc::timespec) } => {
            conclude(-c_long::from(libc::ETIMEDOUT))
        }
        // SAFETY: passed on unchanged.
        _ => conclude(unsafe { kernel(number, [a, b, c, d, e, f]) }),
    }
}

/// Whether this is the wait of an idle runtime, which says by its deadline when its next timer is due. The standard
/// library waits with `FUTEX_WAIT_BITSET`, whose deadline is a time of the monotonic clock (futex(2)).
///
/// # Safety
/// `deadline` must be null or valid for a read.
unsafe fn nap(operation: c_long, deadline: *const libc::timespec) -> bool {
    let Nap::Expected = NAP.get() else {
        return false;
    };
    let waits = c_int::try_from(operation)
        .is_ok_and(|operation| operation & !libc::FUTEX_PRIVATE_FLAG == libc::FUTEX_WAIT_BITSET);
    let Some(now) = clock(c_long::from(libc::CLOCK_MONOTONIC)) else {
        return false;
    };
    if !waits || deadline.is_null() {
        return false;
    }
    // SAFETY: it is not null, so the caller promises that it can be read.
    let deadline = unsafe { deadline.read() };
    let seconds = u64::try_from(deadline.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(deadline.tv_nsec).unwrap_or(0);
    NAP.set(Nap::Taken(
        Duration::new(seconds, nanos).saturating_sub(now),
    ));
    true
}

/// The C library's convention: −1 and `errno` for the kernel's −errno.
fn conclude(result: c_long) -> c_long {
    if (-4095..0).contains(&result) {
        // SAFETY: the C library's address of this thread's errno is always valid.
        unsafe {
            *libc::__errno_location() = c_int::try_from(-result).unwrap_or(libc::EINVAL);
        }
        return -1;
    }
    result
}

/// Asks the kernel itself.
///
/// # Safety
/// Whatever the call in question asks for.
#[cfg(target_arch = "x86_64")]
unsafe fn kernel(number: c_long, arguments: [c_long; 6]) -> c_long {
    let [a, b, c, d, e, f] = arguments;
    let result;
    // SAFETY: the kernel's convention (System V x86-64 psABI, appendix A.2.1): it reads these registers and
    // clobbers rax, rcx and r11; memory is the caller's promise.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            in("r9") f,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// Asks the kernel itself.
///
/// # Safety
/// Whatever the call in question asks for.
#[cfg(target_arch = "aarch64")]
unsafe fn kernel(number: c_long, arguments: [c_long; 6]) -> c_long {
    let [a, b, c, d, e, f] = arguments;
    let result;
    // SAFETY: the kernel's convention on AArch64 (syscall(2), "Architecture calling conventions"): it reads these
    // registers and writes x0; memory is the caller's promise.
    unsafe {
        std::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a => result,
            in("x1") b,
            in("x2") c,
            in("x3") d,
            in("x4") e,
            in("x5") f,
            options(nostack),
        );
    }
    result
}

/// Keeps seed 0 from being the generator's weak all-zero start.
const SALT: u64 = 0x6d65_7269_6469_616e;

/// How long the simulated machines have been up when a run begins: monotonic clocks must have room below.
const UPTIME: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use std::{
        hash::{BuildHasher, RandomState},
        sync::{Condvar, Mutex},
        time::SystemTime,
    };

    use meridian_simulation::world::EPOCH;

    use super::*;

    /// What libraries would read on a thread of its own.
    fn readings(seed: Option<u64>) -> (u64, [u8; 13], [u8; 16], SystemTime) {
        #[allow(
            clippy::disallowed_methods,
            reason = "the test is about what a fresh thread reads"
        )]
        std::thread::spawn(move || {
            if let Some(seed) = seed {
                Interposed.begin(Seed(seed), EPOCH);
                let elapsed = Duration::from_secs(5);
                Interposed.stand_at(EPOCH + elapsed, elapsed);
            }
            let (mut direct, mut by_number) = ([0; 13], [0; 16]);
            // SAFETY: both buffers are as long as they say.
            unsafe {
                libc::getrandom(direct.as_mut_ptr().cast(), direct.len(), 0);
                libc::syscall(
                    libc::SYS_getrandom,
                    by_number.as_mut_ptr(),
                    by_number.len(),
                    0,
                );
            }
            let hash = RandomState::new().hash_one("gateway");
            (hash, direct, by_number, SystemTime::now())
        })
        .join()
        .unwrap()
    }

    #[test]
    fn a_thread_that_opted_in_reads_what_the_seed_says() {
        let once = readings(Some(1));
        assert_eq!(once, readings(Some(1)));
        assert_eq!(
            once.3,
            SystemTime::UNIX_EPOCH + EPOCH + Duration::from_secs(5)
        );
        let other = readings(Some(2));
        assert_ne!((once.0, once.1, once.2), (other.0, other.1, other.2));
    }

    #[test]
    fn an_expected_wait_ends_at_once_and_tells_its_length() {
        let steered = || {
            Interposed.begin(Seed(1), EPOCH);
            let naps = Interposed.naps().expect("clocks are steered");
            let (lock, never) = (Mutex::new(()), Condvar::new());
            let length = Duration::from_secs(3600);
            let guard = lock.lock().unwrap();
            (naps.begin)();
            let (_guard, waited) = never.wait_timeout(guard, length).unwrap();
            assert!(waited.timed_out());
            ((naps.end)(), (naps.end)())
        };
        #[allow(
            clippy::disallowed_methods,
            reason = "the test is about what a fresh thread reads"
        )]
        let lengths = std::thread::spawn(steered).join().unwrap();
        assert_eq!(lengths, (Some(Duration::from_secs(3600)), None));
    }

    #[test]
    fn every_other_thread_reaches_the_kernel() {
        let (one, two) = (readings(None), readings(None));
        assert_ne!((one.1, one.2), (two.1, two.2));
        assert!(two.3 >= one.3);
        // SAFETY: −1 is no file.
        let result = unsafe { libc::syscall(libc::SYS_close, -1) };
        let error = std::io::Error::last_os_error();
        assert_eq!((result, error.raw_os_error()), (-1, Some(libc::EBADF)));
    }
}
