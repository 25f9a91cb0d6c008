//! Multicast DNS: the names of remote candidates are resolved, and ours are answered for.
//!
//! A node has a task for it from the first name on. Its sockets are open while there are names,
//! and a little longer. That they cannot be opened, or that nobody answers, is counted or logged
//! and fails nothing. [mdns-ice-candidates-3.1.1-3] [mdns-ice-candidates-3.1.2.1-1]

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{Notify, watch};
use tracing::debug;

use super::shared::{Core, Shared};
use crate::candidate::{Candidate, CandidateAddress};
use crate::net::AgentId;

mod sockets;
mod task;

/// Questions that wait to be asked; more are not asked.
const MAX_QUESTIONS: usize = 256;

/// A candidate whose name is to be resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Question {
    agent: AgentId,
    stream: u16,
    /// The generation that it belongs to, though a restart comes before the answer.
    ufrag: Option<String>,
    candidate: Candidate,
    /// The name, in small letters.
    name: String,
}

/// What the task is to do.
#[derive(Debug)]
enum Command {
    Ask(Question),
    /// An agent is closed: it wants to know nothing any more.
    Leave(AgentId),
    Register {
        name: String,
        ip: IpAddr,
    },
    Unregister {
        name: String,
    },
    /// The node has other sockets.
    NetworkChanged,
    /// Nobody drives the node any more.
    End,
}

/// What the core tells the task.
#[derive(Debug, Default)]
struct Mailbox {
    commands: Mutex<VecDeque<Command>>,
    news: Notify,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Command>> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, command: Command) {
        self.lock().push_back(command);
        self.news.notify_one();
    }

    /// Whether there was room for another question. Other commands always have room: a connection
    /// makes few of them.
    fn ask(&self, question: Question) -> bool {
        let mut commands = self.lock();
        let known = |known: &Command| matches!(known, Command::Ask(known) if *known == question);
        if commands.iter().any(known) {
            return true;
        }
        if commands.len() >= MAX_QUESTIONS {
            return false;
        }
        commands.push_back(Command::Ask(question));
        drop(commands);
        self.news.notify_one();
        true
    }

    fn take(&self) -> VecDeque<Command> {
        core::mem::take(&mut *self.lock())
    }
}

/// What the core keeps of it.
#[derive(Debug, Default)]
pub(in crate::driver) struct Mdns {
    mailbox: Option<Arc<Mailbox>>,
    /// Open as long as the driver or the task runs, so that a node is closed when both are.
    running: Weak<watch::Sender<()>>,
}

impl Mdns {
    pub(in crate::driver) fn new(running: &Arc<watch::Sender<()>>) -> Self {
        Self { mailbox: None, running: Arc::downgrade(running) }
    }

    /// The mailbox of the task, which is started if need be.
    fn mailbox(&mut self, shared: &Arc<Shared>) -> Option<&Mailbox> {
        if self.mailbox.is_none() {
            let running = self.running.upgrade()?;
            let mailbox = Arc::new(Mailbox::default());
            let task = task::run(Arc::downgrade(shared), Arc::clone(&mailbox), running);
            drop(shared.runtime.spawn(task));
            self.mailbox = Some(mailbox);
        }
        self.mailbox.as_deref()
    }

    fn tell(&self, command: Command) {
        if let Some(mailbox) = &self.mailbox {
            mailbox.put(command);
        }
    }
}

impl Core {
    /// Has the name of a remote candidate resolved; false if it is none that is resolved, or not
    /// for this agent. One that uses relays alone has no use for it, nor has one that checks
    /// nothing. [mdns-ice-candidates-3.2.1-p2] [mdns-ice-candidates-3.2.1-p1]
    /// [mdns-ice-candidates-3.2.2-2] [mdns-ice-candidates-3.2.2-3]
    pub(in crate::driver) fn resolve(
        &mut self,
        shared: &Arc<Shared>,
        agent: AgentId,
        stream: u16,
        ufrag: Option<&str>,
        candidate: &Candidate,
    ) -> bool {
        let Some(name) = candidate.address.mdns_name().map(str::to_ascii_lowercase) else {
            return false;
        };
        if !self.members.get(&agent).is_some_and(|member| member.resolves) {
            return false;
        }
        let now = || self.endpoint.agent(agent)?.remote_ufrag(stream);
        let ufrag = candidate.ufrag().or(ufrag).or_else(now).map(str::to_owned);
        let question = Question { agent, stream, ufrag, candidate: candidate.clone(), name };
        let asked = self.mdns.mailbox(shared).is_some_and(|mailbox| mailbox.ask(question));
        if !asked {
            debug!(%agent, "a name is not asked for: too many are");
        }
        true
    }

    /// Answers for the names of an agent from now on, and no more for those that it has no more.
    pub(in crate::driver) fn publish(&mut self, shared: &Arc<Shared>, agent: AgentId) {
        let Some(handle) = self.endpoint.agent(agent) else { return };
        let names: Vec<(String, IpAddr)> =
            handle.host_names().map(|(name, ip)| (name.to_owned(), ip)).collect();
        let Some(member) = self.members.get_mut(&agent) else { return };
        if names == member.names {
            return;
        }
        let before = core::mem::replace(&mut member.names, names.clone());
        let Some(mailbox) = self.mdns.mailbox(shared) else { return };
        for (name, _) in before.iter().filter(|known| !names.contains(known)) {
            mailbox.put(Command::Unregister { name: name.clone() });
        }
        for (name, ip) in names.into_iter().filter(|known| !before.contains(known)) {
            mailbox.put(Command::Register { name, ip });
        }
    }

    /// An agent is closed: its names are taken back, and nothing is asked for it any more.
    pub(in crate::driver) fn unpublish(&self, agent: AgentId, names: Vec<(String, IpAddr)>) {
        self.mdns.tell(Command::Leave(agent));
        for (name, _) in names {
            self.mdns.tell(Command::Unregister { name });
        }
    }

    /// The sockets are others now.
    pub(in crate::driver) fn mdns_follow(&self) {
        self.mdns.tell(Command::NetworkChanged);
    }

    /// Nobody drives the node any more: names are taken back, and the task ends.
    pub(in crate::driver) fn mdns_end(&self) {
        self.mdns.tell(Command::End);
    }

    /// A name was resolved.
    fn resolved(&mut self, shared: &Arc<Shared>, question: &Question, ip: IpAddr) {
        let Question { agent, stream, ufrag, candidate, name: _ } = question;
        debug_assert!(matches!(candidate.address, CandidateAddress::Name { .. }));
        let now = self.clock.now();
        let Some(mut handle) = self.endpoint.agent_mut(now, *agent) else { return };
        match handle.add_resolved_candidate(*stream, ufrag.as_deref(), candidate, ip) {
            Ok(()) => debug!(%agent, "name resolved"),
            Err(reason) => debug!(%agent, %reason, "resolved candidate not used"),
        }
        self.dispatch(shared);
        self.wake_driver();
    }
}
