use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::*;

/// A system whose answers are set. A name without one hangs until it has one.
#[derive(Debug, Clone, Default)]
struct Fake(Arc<State>);

#[derive(Debug, Default)]
struct State {
    answers: Mutex<BTreeMap<String, Result<Vec<SocketAddr>, String>>>,
    changed: Notify,
    looked_up: Mutex<Vec<String>>,
    /// Whether there is no route to addresses of IPv4, and of IPv6.
    unrouted: Mutex<[bool; 2]>,
}

impl Fake {
    fn resolves(&self, host: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        self.answers(host, Ok(addresses));
    }

    fn fails(&self, host: &str) {
        self.answers(host, Err("no such name".into()));
    }

    fn answers(&self, host: &str, answer: Result<Vec<SocketAddr>, String>) {
        self.0.answers.lock().insert(host.into(), answer);
        self.0.changed.notify_waiters();
    }

    fn looked_up(&self) -> Vec<String> {
        std::mem::take(&mut self.0.looked_up.lock())
    }
}

impl System for Fake {
    async fn look_up(&self, name: Name) -> io::Result<Vec<SocketAddr>> {
        self.0.looked_up.lock().push(name.host.clone());
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let answer = self.0.answers.lock().get(&name.host).cloned();
            if let Some(answer) = answer {
                return answer.map_err(io::Error::other);
            }
            changed.await;
        }
    }

    fn has_route(&self, address: SocketAddr) -> bool {
        !self.0.unrouted.lock()[usize::from(address.is_ipv6())]
    }
}

fn names(system: &Fake, texts: &[&str]) -> Names<Fake> {
    let mut names = Names::new(system.clone());
    names.set(&texts.iter().map(ToString::to_string).collect::<Vec<_>>());
    names
}

fn headless(system: &Fake) -> Names<Fake> {
    Names::headless(system.clone(), Name { host: "shop".into(), port: 7400 }, REFRESH_EVERY)
}

async fn listed<S: System>(names: &mut Names<S>) -> List {
    names.ask();
    names.settled().await;
    names.list()
}

/// Asks again when it is due.
async fn listed_next(names: &mut Names<Fake>) -> List {
    sleep_until(names.next().unwrap()).await;
    listed(names).await
}

fn texts_of(list: &List) -> Vec<(String, Vec<String>)> {
    let text = |entry: &Listed| {
        let addresses = entry.addresses.iter().map(ToString::to_string).collect();
        (entry.name.to_string(), addresses)
    };
    list.listed.iter().map(text).collect()
}

fn entry(name: &str, addresses: &[&str]) -> (String, Vec<String>) {
    (name.into(), addresses.iter().map(ToString::to_string).collect())
}

#[tokio::test(start_paused = true)]
async fn a_name_is_one_node_at_all_its_addresses_and_is_looked_up_for_ever() {
    let system = Fake::default();
    system.resolves("db", &["[::1]:1", "[::ffff:127.0.0.1]:1", "127.0.0.1:1"]);
    let mut names = names(&system, &["db:1", "10.0.0.7:1", "db:1"]);
    let list = listed(&mut names).await;
    let whole = [entry("db:1", &["127.0.0.1:1", "[::1]:1"]), entry("10.0.0.7:1", &["10.0.0.7:1"])];
    assert_eq!(texts_of(&list), whole);
    assert_eq!((list.partly, list.problem()), (false, None));

    system.resolves("db", &["10.0.0.9:1"]);
    let before = Instant::now();
    let list = listed_next(&mut names).await;
    assert_eq!(before.elapsed(), REFRESH_EVERY);
    assert_eq!(texts_of(&list)[0], entry("db:1", &["10.0.0.9:1"]));
    assert_eq!(system.looked_up(), ["db", "db"]);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_stops_resolving_keeps_its_addresses_and_says_so() {
    let system = Fake::default();
    system.resolves("db", &["10.0.0.9:1"]);
    let mut names = names(&system, &["db:1"]);
    listed(&mut names).await;
    for answer in [Err("gone".to_owned()), Ok(vec![]), Ok(vec!["0.0.0.0:1".parse().unwrap()])] {
        system.answers("db", answer);
        let list = listed_next(&mut names).await;
        assert_eq!(texts_of(&list), [entry("db:1", &["10.0.0.9:1"])]);
        assert!(!list.partly);
        assert!(list.problem().unwrap().contains("stays in use"), "{list:?}");
    }
    system.resolves("db", &["10.0.0.8:1"]);
    let before = Instant::now();
    let list = listed_next(&mut names).await;
    assert_eq!(before.elapsed(), AFTER_FAILURE);
    assert_eq!((texts_of(&list), list.problem()), (vec![entry("db:1", &["10.0.0.8:1"])], None));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_never_resolved_makes_the_list_a_part_and_the_rest_is_told() {
    let system = Fake::default();
    system.fails("db");
    let mut names = names(&system, &["db:1", "nonsense", "10.0.0.7:1"]);
    let list = listed(&mut names).await;
    assert_eq!(texts_of(&list), [entry("10.0.0.7:1", &["10.0.0.7:1"])]);
    assert!(list.partly);
    let problem = list.problem().unwrap();
    assert!(problem.contains("does not resolve (no such name)"), "{problem}");
    assert!(problem.contains("\"nonsense\" is malformed"), "{problem}");
    assert!(!problem.contains("stays in use"), "{problem}");
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_hangs_is_said_and_holds_up_nothing() {
    let system = Fake::default();
    system.resolves("db", &["10.0.0.9:1"]);
    let mut names = names(&system, &["hangs:1", "db:1"]);
    let before = Instant::now();
    let list = listed(&mut names).await;
    assert_eq!(before.elapsed(), LOOKUP_WITHIN);
    assert_eq!(texts_of(&list), [entry("db:1", &["10.0.0.9:1"])]);
    assert!(
        list.partly && list.problem().unwrap().contains("\"hangs:1\" takes over 5s"),
        "{list:?}"
    );

    // It is not waited for again, nor started again while it runs.
    for _ in 0..10 {
        sleep_until(names.next().unwrap()).await;
        let before = Instant::now();
        let list = listed(&mut names).await;
        assert_eq!(before.elapsed(), Duration::ZERO);
        assert!(list.problem().is_some());
    }
    assert_eq!(system.looked_up().iter().filter(|host| *host == "hangs").count(), 1);

    system.resolves("hangs", &["10.0.0.8:1"]);
    tokio::task::yield_now().await;
    let list = listed_next(&mut names).await;
    assert_eq!((list.listed.len(), list.problem()), (2, None));
}

#[tokio::test(start_paused = true)]
async fn as_many_hanging_lookups_as_there_may_be_cost_no_more_than_time() {
    let system = Fake::default();
    system.resolves("db", &["10.0.0.9:1"]);
    let mut texts: Vec<_> = (0..LOOKUPS_AT_ONCE).map(|number| format!("a{number}:1")).collect();
    texts.push("db:1".into());
    let mut names = names(&system, &texts.iter().map(String::as_str).collect::<Vec<_>>());
    let list = listed(&mut names).await;
    assert!(list.problems.iter().any(|why| why.contains("\"db:1\" is not looked up yet")));
    let before = Instant::now();
    for _ in 0..10 {
        assert!(listed_next(&mut names).await.partly);
    }
    assert!(before.elapsed() >= 10 * MIN_REFRESH);
    // When they end, the queue goes on.
    for number in 0..LOOKUPS_AT_ONCE {
        system.fails(&format!("a{number}"));
    }
    tokio::task::yield_now().await;
    let mut list = listed_next(&mut names).await;
    if list.listed.is_empty() {
        list = listed_next(&mut names).await;
    }
    assert_eq!(texts_of(&list), [entry("db:1", &["10.0.0.9:1"])]);
}

#[tokio::test(start_paused = true)]
async fn two_thousand_names_are_all_looked_up() {
    let system = Fake::default();
    let texts: Vec<_> = (0..2000).map(|number| format!("n{number}:1")).collect();
    for number in 0..2000 {
        system.resolves(
            &format!("n{number}"),
            &[&format!("10.0.{}.{}:1", number / 250, number % 250)],
        );
    }
    let mut names = names(&system, &texts.iter().map(String::as_str).collect::<Vec<_>>());
    let list = listed(&mut names).await;
    assert_eq!((list.listed.len(), list.problem(), list.partly), (2000, None, false));
}

#[tokio::test(start_paused = true)]
async fn a_headless_name_is_a_node_at_each_of_any_number_of_addresses() {
    let system = Fake::default();
    let addresses: Vec<_> =
        (0..300).map(|it| format!("10.0.{}.{}:7400", it / 250, it % 250)).collect();
    system.resolves("shop", &addresses.iter().map(String::as_str).collect::<Vec<_>>());
    let mut names = headless(&system);
    let list = listed(&mut names).await.check();
    assert_eq!((list.listed.len(), list.problem(), list.partly), (300, None, false));
    assert_eq!(texts_of(&list)[0], entry("10.0.0.0:7400", &["10.0.0.0:7400"]));
    // As one node it has too many.
    let mut names = self::names(&system, &["shop:7400"]);
    let list = listed(&mut names).await.check();
    assert_eq!((list.listed.len(), list.partly), (1, true));
    assert!(list.problem().unwrap().contains("discovery::Dns"), "{list:?}");
}

#[tokio::test(start_paused = true)]
async fn a_family_without_a_route_is_left_out_if_there_is_another() {
    let system = Fake::default();
    let (four, six) = ("10.0.0.7:7400", "[fd00::7]:7400");
    *system.0.unrouted.lock() = [false, true];
    system.resolves("shop", &[four, six]);
    let mut pods = headless(&system);
    assert_eq!(texts_of(&listed(&mut pods).await), [entry(four, &[four])]);
    let mut node = names(&system, &["shop:7400"]);
    assert_eq!(texts_of(&listed(&mut node).await), [entry("shop:7400", &[four])]);

    // It is taken in when the route comes, and kept when the route goes again.
    *system.0.unrouted.lock() = [false, false];
    assert_eq!(listed_next(&mut pods).await.listed.len(), 2);
    *system.0.unrouted.lock() = [false, true];
    assert_eq!(listed_next(&mut pods).await.listed.len(), 2);

    // Without another it stays, to be seen as not reached.
    *system.0.unrouted.lock() = [true, true];
    system.resolves("shop", &[six]);
    let mut pods = headless(&system);
    assert_eq!(texts_of(&listed(&mut pods).await), [entry(six, &[six])]);
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_a_name_outlives_a_change_of_the_list() {
    let system = Fake::default();
    system.resolves("db", &["10.0.0.9:1"]);
    let mut names = names(&system, &["db:1"]);
    listed(&mut names).await;
    system.fails("db");
    names.set(&["10.0.0.7:1".to_owned(), "db:1".to_owned()]);
    assert_eq!(listed(&mut names).await.listed.len(), 2);
    names.set(&["10.0.0.7:1".to_owned()]);
    assert_eq!((listed(&mut names).await.listed.len(), names.next()), (1, None));
}

#[tokio::test(start_paused = true)]
async fn a_list_of_addresses_is_told_once_and_one_with_names_for_ever() {
    let system = Fake::default();
    let mut told = 0;
    tell_for_ever(names(&system, &["10.0.0.7:1", "[fe80::1%3]:1"]), |list| {
        assert_eq!(list.listed.len(), 2);
        told += 1;
    })
    .await;
    assert_eq!(told, 1);

    system.resolves("db", &["10.0.0.9:1"]);
    told = 0;
    let telling = tell_for_ever(names(&system, &["db:1"]), |_| told += 1);
    let hour = Duration::from_secs(3600);
    tokio::time::timeout(hour, telling).await.unwrap_err();
    assert!(told >= 700, "{told}");
}

/// The real system, whatever it has for this name.
#[tokio::test]
async fn all_addresses_of_localhost_are_listed() {
    use super::super::system::Os;
    let name = Name { host: "localhost".into(), port: 7400 };
    let found: BTreeSet<_> = Os.look_up(name).await.unwrap().into_iter().collect();
    let routed: BTreeSet<_> = found.iter().copied().filter(|it| Os.has_route(*it)).collect();
    let mut names = Names::new(Os);
    names.set(&["localhost:7400".to_owned()]);
    let list = listed(&mut names).await;
    assert_eq!(list.listed[0].addresses, routed.into_iter().collect::<Vec<_>>());
}
