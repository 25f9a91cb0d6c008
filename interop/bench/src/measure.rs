//! How things are measured: counted allocations, interleaved rounds, exact instruction counts.
//!
//! Instructions are counted by single-stepping a forked child, because virtual machines often have
//! no performance counters and emulators hide the SHA instructions from the guest.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ops::Sub;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static ALLOCATED_OCTETS: AtomicU64 = AtomicU64::new(0);
static LIVE_OCTETS: AtomicI64 = AtomicI64::new(0);

/// The system's allocator, counted.
pub struct CountingAllocator;

fn count(size: usize, live: i64) {
    ALLOCATIONS.fetch_add(1, Relaxed);
    ALLOCATED_OCTETS.fetch_add(size as u64, Relaxed);
    LIVE_OCTETS.fetch_add(live, Relaxed);
}

// SAFETY: every call goes to `System` unchanged; the counters do not allocate.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), layout.size() as i64);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_OCTETS.fetch_sub(layout.size() as i64, Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, size as i64 - layout.size() as i64);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// The heap counters at one moment, or the difference of two.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heap {
    /// Allocations and reallocations.
    pub allocations: u64,
    /// Octets asked for in all.
    pub octets: u64,
    /// Octets in use.
    pub live: i64,
}

impl Heap {
    /// Reads the counters.
    pub fn now() -> Self {
        Self {
            allocations: ALLOCATIONS.load(Relaxed),
            octets: ALLOCATED_OCTETS.load(Relaxed),
            live: LIVE_OCTETS.load(Relaxed),
        }
    }
}

impl Sub for Heap {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            allocations: self.allocations - earlier.allocations,
            octets: self.octets - earlier.octets,
            live: self.live - earlier.live,
        }
    }
}

/// CPU time of this process, user and system, in microseconds.
pub fn cpu_micros() -> f64 {
    clock_nanos(libc::CLOCK_PROCESS_CPUTIME_ID) / 1e3
}

/// CPU time of this thread in nanoseconds: what other processes take does not count.
pub fn thread_nanos() -> f64 {
    clock_nanos(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn clock_nanos(clock: libc::clockid_t) -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` outlives the call.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Median, least and greatest of some samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The greatest.
    pub greatest: f64,
}

impl Spread {
    /// Summarises `samples`; `None` without any.
    pub fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            median: *sorted.get(sorted.len() / 2)?,
            least: *sorted.first()?,
            greatest: *sorted.last()?,
        })
    }

    /// Writes "median (least–greatest)" with so many decimals.
    pub fn show(samples: &[f64], decimals: usize) -> String {
        match Self::of(samples) {
            Some(Self { median, least, greatest }) => {
                format!("{median:.decimals$} ({least:.decimals$}–{greatest:.decimals$})")
            }
            None => "—".into(),
        }
    }
}

/// The value below which `share` of the samples lie.
pub fn quantile(samples: &[f64], share: f64) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last as f64 * share) as usize).copied()
}

/// One thing to be measured, again and again.
pub struct Case<'a> {
    /// The table that it belongs to.
    pub group: String,
    /// Its row.
    pub name: String,
    /// Does the work once.
    pub work: Box<dyn FnMut() + 'a>,
}

impl<'a> Case<'a> {
    /// Makes a case of `group`.
    pub fn new(group: &str, name: &str, work: impl FnMut() + 'a) -> Self {
        Self { group: group.into(), name: name.into(), work: Box::new(work) }
    }
}

/// What one case cost.
#[derive(Clone, Debug)]
pub struct Cost {
    /// The table that it belongs to.
    pub group: String,
    /// Its row.
    pub name: String,
    /// CPU nanoseconds per operation.
    pub nanos: Spread,
    /// User-space instructions of one operation; `None` where tracing is not allowed.
    pub instructions: Option<u64>,
    /// Allocations per operation.
    pub allocations: f64,
    /// Allocated octets per operation.
    pub octets: f64,
}

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds; each runs a batch of every case.
    pub rounds: usize,
    /// How long a batch takes, about.
    pub batch: Duration,
}

/// Measures all cases, their rounds interleaved so that a slow moment hits each alike.
pub fn measure(mut cases: Vec<Case<'_>>, effort: Effort) -> Vec<Cost> {
    let batches: Vec<u64> = cases.iter_mut().map(|case| calibrate(case, effort.batch)).collect();
    let mut samples = vec![Vec::with_capacity(effort.rounds); cases.len()];
    for _ in 0..effort.rounds {
        for ((case, &batch), samples) in cases.iter_mut().zip(&batches).zip(&mut samples) {
            let start = thread_nanos();
            for _ in 0..batch {
                (case.work)();
            }
            samples.push((thread_nanos() - start) / batch as f64);
        }
    }
    cases.into_iter().zip(&samples).map(|(case, samples)| cost(case, samples)).collect()
}

/// How many operations fill a batch.
fn calibrate(case: &mut Case<'_>, batch: Duration) -> u64 {
    let mut operations = 1;
    loop {
        let start = thread_nanos();
        for _ in 0..operations {
            (case.work)();
        }
        let taken = thread_nanos() - start;
        let batch = batch.as_nanos() as f64;
        if taken >= batch / 4.0 {
            return ((operations as f64 * batch / taken) as u64).max(1);
        }
        operations *= 2;
    }
}

fn cost(mut case: Case<'_>, samples: &[f64]) -> Cost {
    const OPERATIONS: u64 = 1000;
    let before = Heap::now();
    for _ in 0..OPERATIONS {
        (case.work)();
    }
    let heap = Heap::now() - before;
    Cost {
        nanos: Spread::of(samples).expect("at least one round"),
        instructions: instructions(&mut case.work),
        allocations: heap.allocations as f64 / OPERATIONS as f64,
        octets: heap.octets as f64 / OPERATIONS as f64,
        group: case.group,
        name: case.name,
    }
}

/// Counts the user-space instructions of one call of `work`, exactly; 1–3 µs an instruction.
///
/// Returns `None` where a process may not trace its child.
pub fn instructions(mut work: impl FnMut()) -> Option<u64> {
    let overhead = steps(|| {})?;
    Some(steps(&mut work)?.saturating_sub(overhead))
}

/// Forks, and single-steps the child through `work`.
#[inline(never)]
fn steps(mut work: impl FnMut()) -> Option<u64> {
    let _pinned = Pinned::to_this_cpu();
    // SAFETY: the child runs `work` and leaves by `_exit`; no other thread is needed by it.
    match unsafe { libc::fork() } {
        0 => traced(&mut work),
        child if child > 0 => follow(child),
        _ => None,
    }
}

/// The child: warms up, stops for the parent, works once, stops again.
fn traced(work: &mut impl FnMut()) -> ! {
    work();
    // SAFETY: plain system calls of a single-threaded process.
    unsafe {
        libc::ptrace(libc::PTRACE_TRACEME, 0, 0usize, 0usize);
        let child = libc::getpid();
        libc::kill(child, libc::SIGSTOP);
        work();
        libc::kill(child, libc::SIGUSR1);
        libc::_exit(0)
    }
}

/// The parent: steps until the child says that it is done.
fn follow(child: libc::pid_t) -> Option<u64> {
    let mut count = 0;
    let mut stopped_by = wait(child)?;
    while stopped_by != libc::SIGUSR1 {
        // SAFETY: the child is stopped and is ours.
        if unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, child, 0usize, 0usize) } != 0 {
            break;
        }
        stopped_by = wait(child)?;
        count += 1;
    }
    let mut status = 0;
    // SAFETY: ends and reaps our own child.
    unsafe {
        libc::kill(child, libc::SIGKILL);
        libc::waitpid(child, &mut status, 0);
    }
    (stopped_by == libc::SIGUSR1).then_some(count)
}

/// Waits until the child stops and returns the signal; `None` if it ended.
fn wait(child: libc::pid_t) -> Option<libc::c_int> {
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    unsafe { libc::waitpid(child, &mut status, 0) };
    libc::WIFSTOPPED(status).then(|| libc::WSTOPSIG(status))
}

/// Keeps parent and child on one CPU: a step is then two switches and no wake-up across CPUs.
struct Pinned(libc::cpu_set_t);

impl Pinned {
    fn to_this_cpu() -> Self {
        // SAFETY: `cpu_set_t` is a plain bit set, and both outlive the calls.
        unsafe {
            let mut allowed: libc::cpu_set_t = std::mem::zeroed();
            libc::sched_getaffinity(0, size_of_val(&allowed), &mut allowed);
            let mut one: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(libc::sched_getcpu() as usize, &mut one);
            libc::sched_setaffinity(0, size_of_val(&one), &one);
            Self(allowed)
        }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: restores what was read before.
        unsafe { libc::sched_setaffinity(0, size_of_val(&self.0), &self.0) };
    }
}
