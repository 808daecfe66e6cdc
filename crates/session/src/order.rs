//! Puts what arrives into its order, and sends again what nobody acknowledged. Does no IO.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::message::Message;

/// How much may wait for a message that is missing; the plugin's own bound.
const EARLY: usize = 10_000;
/// How much may wait for its acknowledgement before nothing more is taken from the user.
const UNACKNOWLEDGED: usize = 1_000;
/// The plugin's first guess of a round trip, and the bounds of what it waits before it sends again.
const FIRST: Duration = Duration::from_millis(200);
const LEAST: Duration = Duration::from_millis(10);
const MOST: Duration = Duration::from_secs(1);
/// How long is sent again: the plugin's 3,000 times at 100 ms.
const GIVEN_UP: Duration = Duration::from_secs(5 * 60);

/// What becomes of a message that arrived.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It is acknowledged; what is in order now, with what waited for it.
    Taken(Vec<Message>),
    /// It was there before. It is acknowledged once more, as the agent does with ours: the first
    /// word of it may not have come through.
    Before,
    /// There is no room for what comes so early. It is not acknowledged, so it comes again.
    NoRoom,
}

/// What arrives.
#[derive(Debug, Default)]
pub(crate) struct Arriving {
    next: i64,
    early: BTreeMap<i64, Message>,
}

impl Arriving {
    /// Takes one message of the stream. The first has number 0.
    pub(crate) fn take(&mut self, message: Message) -> Arrival {
        let number = message.sequence;
        if number < self.next || self.early.contains_key(&number) {
            return Arrival::Before;
        }
        if number > self.next {
            if self.early.len() >= EARLY {
                return Arrival::NoRoom;
            }
            self.early.insert(number, message);
            return Arrival::Taken(Vec::new());
        }
        let mut ready = vec![message];
        self.next += 1;
        while let Some(message) = self.early.remove(&self.next) {
            ready.push(message);
            self.next += 1;
        }
        Arrival::Taken(ready)
    }
}

#[derive(Debug)]
struct Sent {
    sequence: i64,
    bytes: Bytes,
    first: Instant,
    last: Instant,
    again: bool,
}

/// What is sent.
#[derive(Debug)]
pub(crate) struct Sending {
    next: i64,
    sent: VecDeque<Sent>,
    trip: Duration,
    variation: Duration,
    wait: Duration,
}

impl Default for Sending {
    fn default() -> Self {
        Self {
            next: 0,
            sent: VecDeque::new(),
            trip: FIRST / 2,
            variation: Duration::ZERO,
            wait: FIRST,
        }
    }
}

/// What is to be done for want of an acknowledgement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Overdue {
    Nothing,
    /// This goes out again.
    Again(Bytes),
    /// The other side has acknowledged nothing for so long that it is gone.
    GivenUp,
}

impl Sending {
    /// Whether there is room for more.
    pub(crate) fn has_room(&self) -> bool {
        self.sent.len() < UNACKNOWLEDGED
    }

    /// The number of the next message.
    pub(crate) fn number(&self) -> i64 {
        self.next
    }

    /// Notes that the next one goes out.
    pub(crate) fn note(&mut self, bytes: Bytes, now: Instant) {
        self.sent.push_back(Sent {
            sequence: self.next,
            bytes,
            first: now,
            last: now,
            again: false,
        });
        self.next += 1;
    }

    /// Notes that one arrived. Of one that went out twice nobody knows which one is meant: it says
    /// nothing of the time it took.
    pub(crate) fn acknowledged(&mut self, sequence: i64, now: Instant) {
        let Some(at) = self.sent.iter().position(|it| it.sequence == sequence) else {
            return;
        };
        let Some(sent) = self.sent.remove(at) else {
            return;
        };
        if !sent.again {
            let took = now.duration_since(sent.last);
            let apart = self.trip.abs_diff(took);
            self.variation = self.variation * 3 / 4 + apart / 4;
            self.trip = self.trip * 7 / 8 + took / 8;
            self.wait = (self.trip + (self.variation * 4).max(LEAST)).min(MOST);
        }
    }

    /// When [`Sending::overdue`] is to be asked.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.sent.front().map(|oldest| oldest.last + self.wait)
    }

    /// What is to be done now: only the oldest goes out again, those after it wait for it.
    pub(crate) fn overdue(&mut self, now: Instant) -> Overdue {
        let wait = self.wait;
        let Some(oldest) = self.sent.front_mut() else {
            return Overdue::Nothing;
        };
        if now < oldest.last + wait {
            return Overdue::Nothing;
        }
        if now.duration_since(oldest.first) > GIVEN_UP {
            return Overdue::GivenUp;
        }
        oldest.last = now;
        oldest.again = true;
        Overdue::Again(oldest.bytes.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Kind, payload};

    fn numbered(sequence: i64) -> Message {
        Message::new(Kind::Output, sequence, payload::OUTPUT, Bytes::new())
    }

    fn numbers(arrival: &Arrival) -> Vec<i64> {
        match arrival {
            Arrival::Taken(ready) => ready.iter().map(|it| it.sequence).collect(),
            Arrival::Before | Arrival::NoRoom => panic!("{arrival:?}"),
        }
    }

    #[test]
    fn what_arrives_is_given_once_and_in_order() {
        let mut arriving = Arriving::default();
        assert_eq!(numbers(&arriving.take(numbered(0))), [0]);
        assert_eq!(numbers(&arriving.take(numbered(3))), [0; 0]);
        assert_eq!(numbers(&arriving.take(numbered(2))), [0; 0]);
        assert_eq!(arriving.take(numbered(2)), Arrival::Before);
        assert_eq!(arriving.take(numbered(0)), Arrival::Before);
        assert_eq!(numbers(&arriving.take(numbered(1))), [1, 2, 3]);
        assert_eq!(arriving.take(numbered(3)), Arrival::Before);
    }

    #[test]
    fn what_comes_too_early_comes_again() {
        let mut arriving = Arriving::default();
        for number in 1..=10_000 {
            assert_eq!(arriving.take(numbered(number)), Arrival::Taken(Vec::new()));
        }
        assert_eq!(arriving.take(numbered(10_001)), Arrival::NoRoom);
        assert_eq!(numbers(&arriving.take(numbered(0))).len(), 10_001);
    }

    #[tokio::test]
    async fn only_the_oldest_goes_out_again_until_it_is_acknowledged() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut sending = Sending::default();
        sending.note(Bytes::from_static(b"0"), at(0));
        sending.note(Bytes::from_static(b"1"), at(0));
        assert_eq!(sending.due(), Some(at(200)));
        assert_eq!(sending.overdue(at(199)), Overdue::Nothing);
        assert_eq!(sending.overdue(at(200)), Overdue::Again("0".into()));
        assert_eq!(sending.overdue(at(300)), Overdue::Nothing);
        assert_eq!(sending.overdue(at(400)), Overdue::Again("0".into()));
        sending.acknowledged(0, at(401));
        assert_eq!(sending.overdue(at(402)), Overdue::Again("1".into()));
        sending.acknowledged(1, at(403));
        sending.acknowledged(9, at(403));
        assert_eq!(sending.due(), None);
        assert_eq!(sending.number(), 2);
    }

    #[tokio::test]
    async fn a_slow_line_is_waited_for_but_no_longer_than_a_second() {
        let start = Instant::now();
        let mut sending = Sending::default();
        for number in 0..20 {
            let sent = start + Duration::from_secs(5 * number);
            sending.note(Bytes::new(), sent);
            let late = sent + Duration::from_secs(4);
            sending.acknowledged(i64::try_from(number).unwrap(), late);
        }
        assert_eq!(sending.wait, Duration::from_secs(1));
    }

    #[tokio::test]
    async fn who_acknowledges_nothing_for_five_minutes_is_gone() {
        let start = Instant::now();
        let mut sending = Sending::default();
        sending.note(Bytes::new(), start);
        let late = start + GIVEN_UP;
        assert!(matches!(sending.overdue(late), Overdue::Again(_)));
        let later = late + Duration::from_secs(2);
        assert_eq!(sending.overdue(later), Overdue::GivenUp);
    }

    #[tokio::test]
    async fn there_is_no_room_for_what_is_never_acknowledged() {
        let mut sending = Sending::default();
        for _ in 0..1_000 {
            assert!(sending.has_room());
            sending.note(Bytes::new(), Instant::now());
        }
        assert!(!sending.has_room());
        sending.acknowledged(5, Instant::now());
        assert!(sending.has_room());
    }
}
