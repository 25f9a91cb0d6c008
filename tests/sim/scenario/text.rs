//! A scenario as a text that a person can read, and write a story from.

use core::fmt;

use crate::scenario::{Scenario, SideConfig, Signalling, Step, Verb};
use crate::world::link::Link;

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "scenario {:#x}", self.seed)?;
        for (index, network) in self.topology.networks.iter().enumerate() {
            write!(f, "  network {index}, leads to {:?}", network.outer)?;
            if let Some(nat) = network.nat {
                write!(f, ", mapping {:?}, filtering {:?}", nat.mapping, nat.filtering)?;
                write!(f, " per {:?}, ports {:?}", nat.scope, nat.ports)?;
                write!(f, ", {:?}, hairpin {:?}", nat.timeout, nat.hairpin)?;
                if nat.addresses > 1 {
                    write!(f, ", {} addresses {:?}", nat.addresses, nat.pooling)?;
                }
                if let Some(unreplied) = nat.unreplied {
                    write!(f, ", {unreplied:?} unanswered")?;
                }
                if nat.icmp_kills {
                    write!(f, ", ICMP ends mappings")?;
                }
                if nat.inbound_refreshes {
                    write!(f, ", inbound refreshes")?;
                }
            }
            if let Some(firewall) = network.firewall {
                write!(f, ", firewall {firewall:?}")?;
            }
            writeln!(f, "{}", if network.blocks_udp { ", no UDP" } else { "" })?;
        }
        for (index, party) in self.topology.parties.iter().enumerate() {
            write!(f, "  side {index}:")?;
            for interface in &party.interfaces {
                write!(f, " {:?} in {:?},", interface.kind, interface.place)?;
            }
            write!(f, "{}", if party.stun { " STUN," } else { "" })?;
            write!(f, " TURN {:?}", party.turns)?;
            write!(f, "{}", if party.relay_only { ", relays only" } else { "" })?;
            if self.sides[index] != SideConfig::default() {
                write!(f, ", {:?}", self.sides[index])?;
            }
            writeln!(f)?;
        }
        let Link { delay, jitter, loss, duplicate, reorder, corrupt, .. } = self.links;
        write!(f, "  links: {delay:?}")?;
        if !jitter.is_zero() {
            write!(f, " + {jitter:?}")?;
        }
        for (what, share) in
            [("lost", loss), ("double", duplicate), ("late", reorder), ("corrupt", corrupt)]
        {
            if share > 0.0 {
                write!(f, ", {:.1} % {what}", share * 100.0)?;
            }
        }
        if let Some(bursts) = self.links.bursts {
            write!(f, ", {bursts:?}")?;
        }
        if let Some(bandwidth) = self.links.bandwidth {
            write!(f, ", {bandwidth:?}")?;
        }
        if let Some(mtu) = self.links.mtu {
            write!(f, ", no larger than {mtu}")?;
        }
        writeln!(f)?;
        if self.signalling != Signalling::default() {
            writeln!(f, "  {:?}", self.signalling)?;
        }
        for (what, is) in [("vanilla", self.vanilla), ("nagging", self.nagging)] {
            if is {
                writeln!(f, "  {what}")?;
            }
        }
        if self.components > 1 {
            writeln!(f, "  {} components", self.components)?;
        }
        if !self.lateness.is_zero() {
            writeln!(f, "  woken up to {:?} late", self.lateness)?;
        }
        for Step { at, verb } in &self.script {
            writeln!(f, "  {:>7.3} s  {verb}", at.as_secs_f64())?;
        }
        Ok(())
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restart(side) => write!(f, "side {side} restarts"),
            Self::RestartBoth => write!(f, "both sides restart at once"),
            Self::RebootNat(network, kind) => {
                write!(f, "the NAT of network {network} reboots: {kind:?}")
            }
            Self::StunDies => write!(f, "the STUN server dies"),
            Self::StunRecovers => write!(f, "the STUN server recovers"),
            Self::TurnDies(turn) => write!(f, "TURN server {turn} dies"),
            Self::TurnDiesForEver(turn) => write!(f, "TURN server {turn} dies for ever"),
            Self::TurnRecovers(turn) => write!(f, "TURN server {turn} recovers"),
            Self::TurnRestarts(turn) => write!(f, "TURN server {turn} restarts"),
            Self::TurnForgetsPermissions(turn) => {
                write!(f, "TURN server {turn} forgets its permissions")
            }
            Self::TurnForgetsChannels(turn) => write!(f, "TURN server {turn} forgets its channels"),
            Self::Cut(side, far) => write!(f, "the path between side {side} and {far:?} is cut"),
            Self::CutOutwards(side, far) => write!(f, "the path of side {side} to {far:?} is cut"),
            Self::Heal(side, far) => write!(f, "the path between side {side} and {far:?} heals"),
            Self::Unreachable(side, time) => {
                write!(f, "side {side} hears for {time:?} that the other is unreachable")
            }
            Self::Clog(side, far, time) => {
                write!(f, "the path between side {side} and {far:?} is clogged for {time:?}")
            }
            Self::Join(side, place) => write!(f, "side {side} joins {place:?}"),
            Self::Leave(side, index) => write!(f, "side {side} leaves interface {index}"),
            Self::Renumber(side, index) => {
                write!(f, "interface {index} of side {side} has another address")
            }
            Self::NetworkChanged(side) => write!(f, "side {side} hears that its network changed"),
            Self::Sleep(side, time, clock) => {
                write!(f, "side {side} sleeps for {time:?}, its clock {clock:?}")
            }
            Self::StandStill(side, time) => write!(f, "side {side} stands still for {time:?}"),
            Self::SetClockBack(side, time) => write!(f, "side {side} sets its clock back {time:?}"),
            Self::Refuse(side, share, time) => {
                write!(
                    f,
                    "{:.1} % of what side {side} sends is refused for {time:?}",
                    share * 100.0
                )
            }
            Self::Unplug(side, index) => write!(f, "side {side} loses interface {index} silently"),
            Self::LossBurst(share, time) => {
                write!(f, "{:.1} % of all packets are lost for {time:?}", share * 100.0)
            }
            Self::Talk(side, interval) => write!(f, "side {side} talks every {interval:?}"),
            Self::Hush(side) => write!(f, "side {side} falls silent"),
            Self::SignallingWaits(time) => write!(f, "the signalling waits for {time:?}"),
            Self::SignallingDies(time) => write!(f, "the signalling is dead for {time:?}"),
            Self::Close(side) => write!(f, "side {side} closes"),
        }
    }
}
