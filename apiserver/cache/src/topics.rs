//! Who is told of which changes: one wake-up and one list of sequence numbers per topic that somebody follows.
//!
//! A kubelet follows the pods of its node. Were it woken by every pod's change to look whether it is one of its
//! own, each change would cost as much as there are nodes; so a change is written down for the topics it touches,
//! and those who follow others never learn of it.

use std::collections::{HashMap, VecDeque};

use tokio::sync::watch;

use crate::{CacheEvent, Interest};

/// A part of a resource's changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    All,
    Namespace(Box<str>),
    /// `NAMESPACE/NAME`
    Key(Box<str>),
    /// Objects that are, or were until the change, on a node.
    Node(Box<str>),
}

impl Topic {
    /// The smallest that holds all of an interest.
    pub(crate) fn of(interest: &Interest) -> Self {
        match (&interest.node, &interest.namespace, &interest.name) {
            (Some(node), _, _) => Self::Node((**node).into()),
            (None, Some(namespace), Some(name)) => Self::Key(format!("{namespace}/{name}").into()),
            (None, Some(namespace), None) => Self::Namespace((**namespace).into()),
            (None, None, _) => Self::All,
        }
    }

    pub(crate) fn holds(&self, event: &CacheEvent) -> bool {
        let key = &event.object.key;
        match self {
            Self::All => true,
            Self::Namespace(namespace) => *key.namespace == **namespace,
            Self::Key(own) => own.split_once('/') == Some((&key.namespace, &key.name)),
            Self::Node(node) => nodes(event).any(|own| *own == **node),
        }
    }
}

/// The node an object is on, and the one it was on.
fn nodes(event: &CacheEvent) -> impl Iterator<Item = &str> {
    let now = event.object.node();
    let before = event.previous.as_ref().and_then(|previous| previous.node());
    now.into_iter().chain(before.filter(|before| Some(*before) != now))
}

/// A topic that somebody follows.
struct Channel {
    changed: watch::Sender<()>,
    followers: usize,
    /// Events before this one are not in `events`: who begins there looks through the window.
    since: u64,
    /// Sequence numbers of the topic's events in the window.
    events: VecDeque<u64>,
    /// The last of the topic's events that is forgotten.
    lost: Option<u64>,
    touched: bool,
}

impl Channel {
    fn new(since: u64) -> Self {
        let changed = watch::Sender::new(());
        Self { changed, followers: 0, since, events: VecDeque::new(), lost: None, touched: false }
    }
}

type Channels = HashMap<Box<str>, Channel>;

/// The topics of one resource.
pub(crate) struct Topics {
    all: Channel,
    namespaces: Channels,
    keys: Channels,
    nodes: Channels,
    /// Touched since they were last woken.
    touched: Vec<watch::Sender<()>>,
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            all: Channel::new(0),
            namespaces: Channels::new(),
            keys: Channels::new(),
            nodes: Channels::new(),
            touched: Vec::new(),
        }
    }
}

/// How far a cursor of a topic is.
pub(crate) enum Standing {
    /// Events of the topic are forgotten that it has not seen.
    Lost,
    /// Look through the window up to here (exclusive), then at these.
    At { scan_to: u64, then: usize },
}

impl Topics {
    fn channel(&self, topic: &Topic) -> Option<&Channel> {
        match topic {
            Topic::All => None,
            Topic::Namespace(name) => self.namespaces.get(name),
            Topic::Key(name) => self.keys.get(name),
            Topic::Node(name) => self.nodes.get(name),
        }
    }

    fn channels(&mut self, topic: &Topic) -> Option<(&mut Channels, Box<str>)> {
        match topic {
            Topic::All => None,
            Topic::Namespace(name) => Some((&mut self.namespaces, name.clone())),
            Topic::Key(name) => Some((&mut self.keys, name.clone())),
            Topic::Node(name) => Some((&mut self.nodes, name.clone())),
        }
    }

    /// `end`: the sequence number of the next event.
    pub(crate) fn follow(&mut self, topic: &Topic, end: u64) -> watch::Receiver<()> {
        match self.channels(topic) {
            None => self.all.changed.subscribe(),
            Some((channels, name)) => {
                let channel = channels.entry(name).or_insert_with(|| Channel::new(end));
                channel.followers += 1;
                channel.changed.subscribe()
            }
        }
    }

    pub(crate) fn unfollow(&mut self, topic: &Topic) {
        let Some((channels, name)) = self.channels(topic) else { return };
        if let Some(channel) = channels.get_mut(&name) {
            channel.followers -= 1;
            if channel.followers == 0 {
                channels.remove(&name);
            }
        }
    }

    /// Every channel but `all` that an event belongs to. `key`: `NAMESPACE/NAME`.
    fn each(&mut self, event: &CacheEvent, key: &str, mut act: impl FnMut(&mut Channel)) {
        let Self { namespaces, keys, nodes: by_node, .. } = self;
        namespaces.get_mut(&*event.object.key.namespace).into_iter().for_each(&mut act);
        keys.get_mut(key).into_iter().for_each(&mut act);
        for node in nodes(event) {
            by_node.get_mut(node).into_iter().for_each(&mut act);
        }
    }

    /// Writes an event down where it belongs.
    pub(crate) fn note(&mut self, event: &CacheEvent, key: &str, seq: u64) {
        let mut touched = std::mem::take(&mut self.touched);
        let mut touch = |channel: &mut Channel| {
            if !std::mem::replace(&mut channel.touched, true) {
                touched.push(channel.changed.clone());
            }
        };
        touch(&mut self.all);
        self.each(event, key, |channel| {
            channel.events.push_back(seq);
            touch(channel);
        });
        self.touched = touched;
    }

    /// The window's oldest event is gone.
    pub(crate) fn forget(&mut self, event: &CacheEvent, key: &str, seq: u64) {
        self.each(event, key, |channel| {
            channel.lost = Some(seq);
            if channel.events.front() == Some(&seq) {
                channel.events.pop_front();
            }
        });
    }

    /// Every event is gone; the next one is `first`.
    pub(crate) fn reset(&mut self, first: u64) {
        self.every(|channel| {
            channel.events.clear();
            (channel.since, channel.lost) = (first, None);
        });
    }

    fn every(&mut self, act: impl FnMut(&mut Channel)) {
        let named = self.namespaces.values_mut().chain(self.keys.values_mut()).chain(self.nodes.values_mut());
        std::iter::once(&mut self.all).chain(named).for_each(act);
    }

    /// Whom to wake once what was noted is shown.
    pub(crate) fn take_touched(&mut self) -> Vec<watch::Sender<()>> {
        if self.touched.is_empty() {
            return Vec::new();
        }
        self.every(|channel| channel.touched = false);
        std::mem::take(&mut self.touched)
    }

    /// Everybody.
    pub(crate) fn senders(&mut self) -> Vec<watch::Sender<()>> {
        let mut all = Vec::new();
        self.every(|channel| all.push(channel.changed.clone()));
        all
    }

    /// Where a cursor at `seq` goes on, in a window of the events `first..end`.
    pub(crate) fn standing(&self, topic: &Topic, seq: u64, first: u64, end: u64) -> Standing {
        let Some(channel) = self.channel(topic) else {
            return if seq < first { Standing::Lost } else { Standing::At { scan_to: end, then: 0 } };
        };
        let unlisted = seq < channel.since;
        if unlisted && seq < first || !unlisted && channel.lost.is_some_and(|lost| seq <= lost) {
            return Standing::Lost;
        }
        let then = channel.events.partition_point(|event| *event < seq);
        Standing::At { scan_to: channel.since.min(end), then }
    }

    /// The topic's events in the window, as far as they are written down.
    pub(crate) fn events(&self, topic: &Topic, from: usize) -> impl Iterator<Item = u64> {
        let events = self.channel(topic).map(|channel| channel.events.range(from..));
        events.into_iter().flatten().copied()
    }
}
