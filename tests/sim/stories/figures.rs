//! What the stories measure, over many seeds: how long something took, and how to say so.

use core::fmt;
use core::time::Duration;

use crate::world::call::Call;
use crate::world::host::Host;
use crate::world::{BEGINNING, Seed, World};

/// How many times as much is measured: `SIM_FIGURES` times.
pub(crate) fn factor() -> u64 {
    match std::env::var("SIM_FIGURES") {
        Ok(text) => text.parse().expect("SIM_FIGURES is a number"),
        Err(_) => 1,
    }
}

/// Durations of the same thing, in order, each with its seed.
pub(crate) struct Figures(Vec<(Duration, u64)>);

impl Figures {
    /// Runs one story for every seed; to replay, for the one that is asked for.
    pub(crate) fn of(first: Seed, seeds: u64, story: impl Fn(&World, u64) -> Duration) -> Self {
        let Seed(first) = first;
        let seeds = if std::env::var_os("SIM_SEED").is_some() { 1 } else { seeds };
        let all = (0..seeds).map(|n| {
            let seed = first.wrapping_add(n);
            (story(&World::new(Seed(seed)), seed), seed)
        });
        Self::from(all.collect::<Vec<_>>())
    }

    pub(crate) fn percentile(&self, percent: f64) -> Duration {
        let Self(sorted) = self;
        let place = (sorted.len() as f64 * percent / 100.0) as usize;
        sorted[place.min(sorted.len() - 1)].0
    }

    pub(crate) fn worst(&self) -> Duration {
        self.percentile(100.0)
    }

    /// Says what was measured, and holds it to its bounds.
    pub(crate) fn hold(&self, what: &str, p50: Duration, p99: Duration) {
        eprintln!("{what}: {self}");
        assert!(self.percentile(50.0) <= p50, "{what}: {self}, not {p50:?} at p50");
        assert!(self.percentile(99.0) <= p99, "{what}: {self}, not {p99:?} at p99");
    }
}

impl From<Vec<(Duration, u64)>> for Figures {
    fn from(mut all: Vec<(Duration, u64)>) -> Self {
        assert!(!all.is_empty());
        all.sort();
        Self(all)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |percent| self.percentile(percent).as_millis();
        let Self(all) = self;
        let (_, seed) = all[all.len() - 1];
        write!(f, "p50 {} ms, p99 {} ms, worst {} ms", at(50.0), at(99.0), at(100.0))?;
        write!(f, " of {}: SIM_SEED={seed:#x}", all.len())
    }
}

/// The longest time without a datagram at `side`, from the last one before `since` on.
pub(crate) fn interruption(
    world: &World,
    call: Call<'_>,
    side: Host<'_>,
    since: Duration,
) -> Duration {
    let arrivals = call.delivered(side);
    let since = BEGINNING + since;
    let first = arrivals.partition_point(|delivery| delivery.at <= since).saturating_sub(1);
    let mut times: Vec<_> = arrivals[first..].iter().map(|delivery| delivery.at).collect();
    times.push(BEGINNING + world.elapsed());
    times.windows(2).map(|two| two[1].since(two[0])).max().unwrap_or_default()
}
