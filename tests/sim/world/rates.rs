//! What is wrong with the signalling of a call.

use core::time::Duration;

use crate::world::call::Call;
use crate::world::rng::Rng;
use crate::world::signalling::Signal;

/// How messages travel between the two sides; at once and for certain by default.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rates {
    /// How much longer than the call's delay messages take, by who sends them.
    pub(crate) delay: [Duration; 2],
    /// Up to this much more, for each message apart: so that they overtake one another. The end of
    /// candidates takes the most: what comes after it would be none.
    pub(crate) jitter: Duration,
    /// The share of messages that get lost; a description comes again after a second.
    pub(crate) loss: f64,
    /// The share of messages that come twice.
    pub(crate) duplicate: f64,
    /// How much later candidates come than descriptions.
    pub(crate) late: Duration,
    /// The share of candidates that are said again, and how much later: of an old generation, if
    /// there was a restart.
    pub(crate) stale: (f64, Duration),
    /// Nobody hears of the end of candidates.
    pub(crate) endless: bool,
}

/// How much later a lost description is sent again.
const AGAIN: Duration = Duration::from_secs(1);

impl Rates {
    /// When the copies of a message of `side` arrive.
    pub(crate) fn draw(&self, rng: &mut Rng, side: usize, signal: &Signal) -> Vec<Duration> {
        let mut after = self.delay[side] + self.jitter.mul_f64(rng.unit());
        let lost = rng.chance(self.loss);
        let twice = rng.chance(self.duplicate);
        let stale = rng.chance(self.stale.0);
        let mut times = Vec::new();
        match signal {
            Signal::End { .. } if self.endless || lost => return times,
            Signal::Candidate { .. } if lost => return times,
            Signal::Candidate { .. } => after += self.late,
            Signal::End { .. } => after = self.delay[side] + self.jitter + self.late,
            Signal::Offer(_) | Signal::Answer(_) | Signal::PleaseRestart(_) => {
                after += AGAIN * u32::from(lost);
            }
        }
        times.push(after);
        if twice {
            times.push(after + self.jitter.mul_f64(rng.unit()));
        }
        if stale && matches!(signal, Signal::Candidate { .. }) {
            times.push(after + self.stale.1);
        }
        times
    }
}

impl Call<'_> {
    /// From now on messages travel like this.
    pub(crate) fn signals(self, rates: Rates) -> Self {
        self.change_call(|call| call.rates = rates);
        self
    }

    /// The signalling server is away for a time; what is sent meanwhile waits for it.
    pub(crate) fn signalling_is_away(self, time: Duration) {
        let now = self.now();
        self.change_call(|call| call.away_until = now + time);
    }
}
