//! Owns what the steps of a script do to the world.

use std::net::SocketAddr;
use std::time::Duration;

use flushcast_core::ack::Reason;
use flushcast_core::node::Input;
use flushcast_core::peers::Listed;
use flushcast_core::wire::{self, Frame, Position, Seq};

use crate::judge::{self, Judge};
use crate::script::{Answer, Said, Script, Step};
use crate::stranger::Stranger;
use crate::words::{self, HONEST, LARGEST, address, life};
use crate::world::{Side, World};

/// How long strangers are gone when everything has to be well again: longer than anything of theirs is
/// waited for.
const HEALS_WITHIN: Duration = Duration::from_secs(20);

/// Does to a new world what these bytes stand for.
///
/// # Panics
/// If something is there that must not be.
pub(crate) fn play(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let Some(plan) = script.plan() else { return };
    let mut world = World::new(plan);
    assert!(world.are_linked());
    let mut judge = Judge::default();
    let is_told = std::env::var_os("FLUSHCAST_FUZZ_STEPS").is_some();
    for step in script.steps() {
        if is_told {
            eprintln!("{:?} {step:?}", world.now);
        }
        if matches!(step, Step::Leave) {
            world.leave(&mut judge);
            return;
        }
        let were_linked = world.are_linked();
        world.play(&mut judge, step);
        world.carry();
        let is_kept = world.are_linked() || matches!(step, Step::Break);
        assert!(!were_linked || is_kept, "the honest node's link has ended");
        judge.look(&mut world);
        if matches!(step, Step::Wait(_)) {
            judge.check_deadlines(&world);
        }
    }
    world.holds = false;
    world.apply_all();
    world.carry();
    judge.look(&mut world);
    if world.are_linked() {
        judge.check_all_applied(&world);
    }
    if plan.heals {
        world.heal();
        judge.look(&mut world);
        judge.check_all_applied(&world);
        judge::check_healed(&world);
    }
}

impl World {
    fn play(&mut self, judge: &mut Judge, step: Step<'_>) {
        match step {
            Step::Accept => drop(self.accept()),
            Step::Meet { life, place, is_evidence } => self.meet(life, place, is_evidence),
            Step::Dialled { which, answer } => self.answer_dial(which, answer),
            Step::Say { who, said, share } => self.say_so(who, &said, share),
            Step::Burst { who, count, of } => self.burst(who, count, of),
            Step::Raw { who, bytes } => self.say(who, bytes.to_vec(), 0),
            Step::Read { who } => self.read(who),
            Step::Close { who } => {
                if let Some(conn) = self.open(who).map(|it| it.conn) {
                    self.ended(Side::Own, conn, "reset");
                }
            }
            Step::Wait(length) => self.run(length),
            Step::Pause(length) => self.pause(length),
            Step::Hold => self.holds = true,
            Step::Apply => {
                self.holds = false;
                self.apply_all();
            }
            Step::HonestFlush { count } => (0..count).for_each(|_| judge.honest_flush(self)),
            Step::OwnFlush { count, awaited } => {
                (1..count).for_each(|_| judge.own_flush(self, None));
                judge.own_flush(self, awaited);
            }
            Step::List { source, places, is_complete, is_one } => {
                self.list_places(source, places, is_complete, is_one);
            }
            Step::Break => self.break_wires(),
            Step::Mend => self.is_broken = false,
            Step::Leave => unreachable!("it is the last step"),
        }
    }

    /// Applies all that was heard, over connections that are about to end, too.
    fn apply_all(&mut self) {
        self.apply_rest(Side::Own);
        while !self.given_out.is_empty() {
            self.apply_next();
        }
    }

    /// A stranger that is connected.
    fn open(&mut self, who: usize) -> Option<&mut Stranger> {
        self.strangers.get_mut(who).filter(|it| it.dialled.is_none())
    }

    fn meet(&mut self, number: usize, place: usize, is_evidence: bool) {
        let Some(who) = self.accept() else { return };
        let hello = words::hello(words::said_to_be(number), vec![address(place)]);
        self.say_frame(who, &Frame::Hello(hello), 0);
        self.read(who);
        self.say_frame(who, &Frame::Go { resume: Seq::START, is_evidence }, 0);
    }

    fn answer_dial(&mut self, which: usize, answer: Answer) {
        let dials: Vec<_> = self.strangers.iter().filter(|it| it.dialled.is_some()).collect();
        let Some(conn) = dials.get(which % dials.len().max(1)).map(|it| it.conn) else { return };
        let why = match answer {
            Answer::Refused => Reason::Refused,
            Answer::Foreign => Reason::Foreign("another program".to_owned()),
            Answer::Unreachable => Reason::Unreachable("no route".to_owned()),
            Answer::Connected { knows_local } => {
                let dialled = self.strangers.iter_mut().find(|it| it.conn == conn);
                dialled.into_iter().for_each(|it| it.dialled = None);
                let local = knows_local.then(|| SocketAddr::from(([10, 0, 0, 5], 50_002)));
                return self.feed(Side::Own, Input::Connected { conn, local });
            }
        };
        self.dial_failed(conn, why);
    }

    /// The numbers that words are about.
    fn number(&mut self, who: usize, which: usize) -> u64 {
        let own = self.own.node.head().0;
        let honest = self.honest.node.head().0;
        let Some(stranger) = self.open(who) else { return 0 };
        match which {
            0 => stranger.told + 1,
            1 => stranger.told,
            2 => stranger.nonce,
            3 => own,
            4 => own + 1,
            5 => honest,
            6 => honest + 1,
            7..11 => which as u64 - 7,
            11 => 7,
            12 => 1_000_000_000,
            13 => LARGEST,
            14 => LARGEST + 1,
            _ => u64::MAX,
        }
    }

    fn say_so(&mut self, who: usize, said: &Said, share: usize) {
        let numbers = said.numbers.map(|it| self.number(who, it));
        // An answer is mostly one to the last question, and an entry of a log mostly the next one.
        let [first, ..] = numbers;
        let first = match said.kind {
            9 | 10 => self.number(who, 2),
            13..15 => self.number(who, 0),
            _ => first,
        };
        let frame = words::frame(said, [first, numbers[1], numbers[2]]);
        if let (Frame::Flush(flush), Some(it)) = (&frame, self.open(who)) {
            it.told = it.told.max(flush.seq.0.min(LARGEST));
        }
        if let (Frame::Over { seq, .. } | Frame::Reset { head: seq }, Some(it)) =
            (&frame, self.open(who))
        {
            it.told = it.told.max(seq.0.min(LARGEST));
        }
        self.say_frame(who, &frame, share);
    }

    fn say_frame(&mut self, who: usize, frame: &Frame<'_>, share: usize) {
        let mut bytes = Vec::new();
        // Lists of most entries, of the largest numbers, are too long for one.
        if wire::encode(frame, &mut bytes).is_ok() {
            self.say(who, bytes, share);
        }
    }

    /// Says bytes, behind what was cut off before; so many 64ths of them later.
    fn say(&mut self, who: usize, mut bytes: Vec<u8>, share: usize) {
        let Some(conn) = self.open(who).map(|it| it.conn) else { return };
        if !self.reads(conn) {
            return;
        }
        let Some(it) = self.open(who) else { return };
        let cut = if share < 8 { bytes.len() * share / 8 } else { 0 };
        let rest = bytes.split_off(bytes.len() - cut);
        let said = [std::mem::replace(&mut it.rest, rest), bytes].concat();
        self.hear(conn, &said);
    }

    fn burst(&mut self, who: usize, count: usize, of: Option<(usize, usize)>) {
        let of = of.map(|(number, which)| (life(number), self.number(who, which).min(LARGEST)));
        let Some(it) = self.open(who) else { return };
        let first = it.told + 1;
        it.told += count as u64;
        let mut bytes = Vec::new();
        for at in 0..count as u64 {
            let of = of.map(|(life, from)| Position { life, seq: Seq(from + at) });
            let _ = wire::encode(&words::flush(first + at, of), &mut bytes);
        }
        self.say(who, bytes, 0);
    }

    fn list_places(&mut self, source: usize, places: u8, is_complete: bool, is_one: bool) {
        let named = (0..8).filter(|number| places >> number & 1 == 1).map(address);
        let addresses: Vec<_> = named.collect();
        let source = if source == 0 { "a" } else { "b" };
        if !is_one {
            return self.list(Side::Own, source, &addresses, is_complete);
        }
        let listed = vec![Listed { name: "one:7400".into(), addresses }];
        let complete = is_complete;
        self.feed(Side::Own, Input::Members { source: source.into(), listed, complete });
    }

    /// The node leaves; its last words go out, and what is linked with it does not matter any more.
    fn leave(&mut self, judge: &mut Judge) {
        self.feed(Side::Own, Input::Leave);
        self.apply_all();
        self.run(Duration::from_secs(1));
        assert!(!self.are_linked(), "the honest one was not told");
        judge.look(self);
        assert_eq!(self.own.node.held().conns, self.conns());
    }

    /// All strangers go, nobody is where they said to be, and the honest node is reached again.
    fn heal(&mut self) {
        self.is_broken = false;
        for conn in self.strangers.iter().map(|it| it.conn).collect::<Vec<_>>() {
            match self.strangers.iter().any(|it| it.conn == conn && it.dialled.is_some()) {
                true => self.dial_failed(conn, Reason::Refused),
                false => self.ended(Side::Own, conn, "reset"),
            }
        }
        self.list(Side::Own, "a", &[address(HONEST)], true);
        self.list(Side::Own, "b", &[], true);
        let end = self.now + HEALS_WITHIN;
        while self.now < end {
            self.run(Duration::from_millis(50));
            for conn in self.strangers.iter().map(|it| it.conn).collect::<Vec<_>>() {
                self.dial_failed(conn, Reason::Refused);
            }
        }
    }
}
