//! The claims of the locks: under the schedule explorer, which finds an order in which they break, and
//! with real threads, which find what a processor does to that order.

use std::sync::Arc;

use super::*;

/// Two halves that a writer changes one after the other: a reader that sees them differ was let in too
/// early, or a writer has lost what another wrote.
#[derive(Default)]
struct Halves(u64, u64);

impl Halves {
    fn are_one(&self, between: impl FnOnce()) -> bool {
        let first = std::hint::black_box(self.0);
        between();
        first == std::hint::black_box(self.1)
    }

    fn check(&self, between: impl FnOnce()) {
        assert!(self.are_one(between), "read while it was written");
    }

    fn add(&mut self, between: impl FnOnce()) {
        let sum = std::hint::black_box(self.0) + 1;
        self.0 = sum;
        between();
        self.1 = std::hint::black_box(self.1) + 1;
        assert_eq!(self.1, sum, "written twice at a time");
    }
}

fn row(len: usize) -> Arc<Locks<Halves>> {
    Arc::new(Locks::new((0..len).map(|_| Halves::default())))
}

#[cfg(flushcast_shuttle)]
mod explored {
    use shuttle::thread::{self, yield_now};

    use super::*;

    const SCHEDULES: usize = 20_000;

    fn check(round: impl Fn() + Send + Sync + Copy + 'static) {
        shuttle::check_random(round, SCHEDULES / 2);
        shuttle::check_pct(round, SCHEDULES / 2, 3);
    }

    /// Runs what each thread does. The first, which is this one, and the second have places of their own.
    fn together<const N: usize>(locks: &Arc<Locks<Halves>>, threads: [fn(&Locks<Halves>); N]) {
        let (first, others) = threads.split_first().unwrap();
        let others: Vec<_> = others
            .iter()
            .map(|&run| {
                let locks = Arc::clone(locks);
                thread::spawn(move || run(&locks))
            })
            .collect();
        first(locks);
        for other in others {
            other.join().unwrap();
        }
    }

    fn reads(locks: &Locks<Halves>) {
        for _ in 0..2 {
            locks.at(0).read().check(yield_now);
        }
    }

    fn writes(locks: &Locks<Halves>) {
        locks.at(0).write().add(yield_now);
    }

    #[test]
    fn a_writer_is_alone_beside_readers_with_and_without_a_place_of_their_own() {
        check(|| {
            let locks = row(1);
            together(&locks, [reads, reads, reads, writes, writes]);
            assert_eq!(locks.at(0).read().0, 2);
        });
    }

    #[test]
    fn a_writer_with_a_place_of_its_own_is_alone_too() {
        check(|| {
            let locks = row(1);
            together(&locks, [writes, |it| (writes(it), reads(it)).0, reads]);
            assert_eq!(locks.at(0).read().0, 2);
        });
    }

    #[test]
    fn a_thread_may_read_one_value_while_it_reads_another() {
        fn nests(locks: &Locks<Halves>) {
            let outer = locks.at(0).read();
            let inner = locks.at(1).read();
            outer.check(yield_now);
            // Whichever is given back first.
            drop(outer);
            inner.check(yield_now);
        }
        fn writes_each(locks: &Locks<Halves>) {
            for lock in locks.iter() {
                lock.write().add(yield_now);
            }
        }
        check(|| {
            let locks = row(2);
            together(&locks, [nests, nests, nests, writes_each]);
            assert_eq!((locks.at(0).read().0, locks.at(1).read().0), (1, 1));
        });
    }

    #[test]
    fn readers_of_one_value_are_there_together() {
        use crate::sync::atomic::AtomicUsize;
        static MOST: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        check(|| {
            let locks = row(1);
            let here = Arc::new(AtomicUsize::new(0));
            let reader = |locks: Arc<Locks<Halves>>, here: Arc<AtomicUsize>| {
                let _guard = locks.at(0).read();
                let now = here.fetch_add(1, Ordering::SeqCst) + 1;
                MOST.fetch_max(now, std::sync::atomic::Ordering::SeqCst);
                yield_now();
                here.fetch_sub(1, Ordering::SeqCst);
            };
            let others: Vec<_> = (0..3)
                .map(|_| {
                    let (locks, here) = (Arc::clone(&locks), Arc::clone(&here));
                    thread::spawn(move || reader(locks, here))
                })
                .collect();
            reader(locks, here);
            others.into_iter().for_each(|it| it.join().unwrap());
        });
        assert_eq!(MOST.load(std::sync::atomic::Ordering::SeqCst), 4);
    }
}

#[cfg(not(flushcast_shuttle))]
mod real {
    use std::thread;

    use super::*;
    use crate::sync::stripe::STRIPES;

    /// Lets two threads go on when both are here, as nearly at once as can be.
    #[derive(Default)]
    struct Gate(AtomicUsize);

    impl Gate {
        /// For the `turn`-th time, from 1 on.
        fn pass(&self, turn: usize) {
            self.0.fetch_add(1, Ordering::SeqCst);
            let mut waits = 0;
            while self.0.load(Ordering::SeqCst) < 2 * turn {
                // Where there are cores for both, the other one is about to come.
                if waits < 1000 {
                    std::hint::spin_loop()
                } else {
                    thread::yield_now()
                }
                waits += 1;
            }
        }
    }

    /// So long that a processor has sent on what it wrote by the end of it.
    fn linger() {
        (0..20).for_each(|_| std::hint::spin_loop());
    }

    /// A moment that is another one each time, so that now this thread is first and now the other.
    fn saunter(steps: usize) {
        for step in 0..steps {
            std::hint::black_box(step);
        }
    }

    #[test]
    fn a_processor_that_sends_late_what_it_writes_lets_no_reader_in() {
        // Where it is slow, a processor has sent everything in time.
        const TURNS: usize = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
        let (locks, gate) = (row(1), Gate::default());
        // Told at the end: who panics leaves the other one at the gate.
        let mut torn = 0;
        thread::scope(|scope| {
            scope.spawn(|| {
                for turn in 1..=TURNS {
                    gate.pass(turn);
                    saunter(turn % 97);
                    torn += usize::from(!locks.at(0).read().are_one(linger));
                }
            });
            scope.spawn(|| {
                for turn in 1..=TURNS {
                    gate.pass(turn);
                    saunter(turn % 89);
                    locks.at(0).write().add(linger);
                }
            });
        });
        assert_eq!(torn, 0, "of {TURNS} reads were let in beside a writer");
    }

    #[test]
    fn more_threads_than_there_are_places_read_and_tally_and_write() {
        const EACH: u64 = 100;
        let locks = row(3);
        thread::scope(|scope| {
            for _ in 0..2 * STRIPES {
                scope.spawn(|| {
                    for turn in 0..EACH {
                        for lock in locks.iter() {
                            let read = lock.read();
                            read.check(thread::yield_now);
                            read.add_to_tally();
                            drop(read);
                            if turn % 10 == 0 {
                                lock.write().add(|| ());
                            }
                        }
                    }
                });
            }
        });
        let written = 2 * STRIPES as u64 * EACH / 10;
        assert!(locks.iter().all(|lock| lock.read().0 == written));
        assert_eq!(locks.tally(), 2 * STRIPES as u64 * EACH * 3);
    }

    #[test]
    fn readers_announce_themselves_again_behind_a_write() {
        let locks = row(1);
        locks.at(0).write().add(|| ());
        let announces = || {
            if stripe::own() == SHARED {
                return false;
            }
            let read = locks.at(0).read();
            assert!(read.place.is_some());
            let nested = locks.at(0).read();
            assert!(nested.place.is_none(), "its place is taken");
            [&read, &nested].into_iter().for_each(Reading::add_to_tally);
            true
        };
        // Other tests may have all places: until there is one left.
        while !thread::scope(|scope| scope.spawn(announces).join().unwrap()) {
            thread::yield_now();
        }
        assert_eq!(locks.tally(), 2);
    }

    #[test]
    fn a_panic_gives_back_what_was_lent() {
        let locks = row(1);
        for _ in 0..2 {
            let reader = thread::scope(|scope| {
                scope
                    .spawn(|| {
                        let _read = locks.at(0).read();
                        panic!("while it reads");
                    })
                    .join()
            });
            assert!(reader.is_err());
            let writer = thread::scope(|scope| {
                scope
                    .spawn(|| {
                        let _written = locks.at(0).write();
                        panic!("while it writes");
                    })
                    .join()
            });
            assert!(writer.is_err());
        }
        locks.at(0).write().add(|| ());
        locks.at(0).read().check(|| ());
    }
}
