use std::sync::Barrier;

use super::*;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn file(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("settings.db")
}

#[test]
fn a_new_database_starts_with_plausible_settings_as_version_1() {
    let folder = folder();
    let snapshot = Database::open(&file(&folder)).unwrap().load().unwrap();
    assert_eq!(snapshot.version, 1);
    assert_eq!(snapshot.settings[0].name, "Site title");
    crate::limits::validate(&snapshot.settings).unwrap();
}

#[test]
fn dates_are_utc_with_milliseconds() {
    let date = now();
    assert_eq!(date.len(), "2026-01-31T12:00:00.000Z".len(), "{date}");
    assert!(date.ends_with('Z'), "{date}");
    assert_eq!(&date[19..20], ".", "{date}");
}

#[test]
fn a_save_is_read_back_in_its_order_by_another_connection() {
    let folder = folder();
    let (one, two) =
        (Database::open(&file(&folder)).unwrap(), Database::open(&file(&folder)).unwrap());
    let settings =
        vec![Setting::new("z", "1"), Setting::new("a", "two\nlines"), Setting::new("m", "")];
    let saved = one.save(1, &settings).unwrap();
    assert_eq!(saved.version, 2);
    let expected = Snapshot { version: 2, date: saved.date, settings };
    assert_eq!(two.load().unwrap(), expected);
}

#[test]
fn a_save_from_an_old_version_names_the_newest_and_changes_nothing() {
    let folder = folder();
    let store = Database::open(&file(&folder)).unwrap();
    store.save(1, &[Setting::new("kept", "yes")]).unwrap();
    let before = store.load().unwrap();
    for expected in [0, 1, 3, u64::MAX] {
        match store.save(expected, &[Setting::new("lost", "yes")]) {
            Err(SaveError::Conflict { newest: 2, .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(store.load().unwrap(), before);
}

#[test]
fn of_two_saves_at_once_one_wins_and_the_other_learns_the_newest_version() {
    const ROUNDS: u64 = 100;
    let folder = folder();
    let stores = [Database::open(&file(&folder)).unwrap(), Database::open(&file(&folder)).unwrap()];
    for version in 1..=ROUNDS {
        let start = Barrier::new(2);
        let save = |me: usize| {
            start.wait();
            stores[me].save(version, &[Setting::new("saved by", me.to_string())])
        };
        let saves = std::thread::scope(|scope| {
            [0, 1].map(|me| scope.spawn(move || save(me))).map(|save| save.join().unwrap())
        });
        let winner = match &saves {
            [Ok(_), Err(SaveError::Conflict { newest, .. })] if *newest == version + 1 => "0",
            [Err(SaveError::Conflict { newest, .. }), Ok(_)] if *newest == version + 1 => "1",
            other => panic!("round {version}: {other:?}"),
        };
        let newest = stores[0].load().unwrap();
        assert_eq!(newest.version, version + 1);
        assert_eq!(newest.settings, [Setting::new("saved by", winner)]);
    }
}

#[test]
fn many_openers_of_a_new_database_all_succeed_and_seed_it_once() {
    const OPENERS: usize = 8;
    let folder = folder();
    let start = Barrier::new(OPENERS);
    std::thread::scope(|scope| {
        for _ in 0..OPENERS {
            scope.spawn(|| {
                start.wait();
                let store = Database::open(&file(&folder)).unwrap();
                assert_eq!(store.load().unwrap().version, 1);
            });
        }
    });
}

#[test]
fn a_reopened_database_keeps_what_was_saved() {
    let folder = folder();
    let settings = [Setting::new("kept", "yes")];
    Database::open(&file(&folder)).unwrap().save(1, &settings).unwrap();
    let snapshot = Database::open(&file(&folder)).unwrap().load().unwrap();
    assert_eq!(snapshot.version, 2);
    assert_eq!(snapshot.settings, settings);
}

#[test]
fn a_save_that_fails_half_way_changes_nothing() {
    let folder = folder();
    let store = Database::open(&file(&folder)).unwrap();
    let before = store.load().unwrap();
    let doubled = [Setting::new("same", "1"), Setting::new("same", "2")];
    assert!(matches!(store.save(1, &doubled), Err(SaveError::Database(_))));
    assert_eq!(store.load().unwrap(), before);
    assert_eq!(store.save(1, &[]).unwrap().version, 2, "and the next save goes through");
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let folder = folder();
    let text = "this is a shopping list and not a database\n".repeat(100);
    std::fs::write(file(&folder), &text).unwrap();
    let error = Database::open(&file(&folder)).unwrap_err();
    assert!(matches!(error, OpenError::NotADatabase { .. }), "{error}");
    assert!(error.to_string().contains("settings.db"), "{error}");
    assert_eq!(std::fs::read_to_string(file(&folder)).unwrap(), text);
}

#[test]
fn a_database_of_another_program_or_schema_is_refused_and_left_alone() {
    let folder = folder();
    let other = Connection::open(file(&folder)).unwrap();
    other.execute_batch("CREATE TABLE invoices (id INTEGER)").unwrap();
    let error = Database::open(&file(&folder)).unwrap_err();
    assert!(matches!(error, OpenError::OtherSchema { application_id: 0, .. }), "{error}");

    let newer = folder.path().join("newer.db");
    drop(Database::open(&newer).unwrap());
    Connection::open(&newer).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = Database::open(&newer).unwrap_err();
    assert!(matches!(error, OpenError::OtherSchema { schema: 99, .. }), "{error}");
}

#[test]
fn a_path_that_cannot_be_written_is_named() {
    let folder = folder();
    let blocked = folder.path().join("a file");
    std::fs::write(&blocked, "").unwrap();
    let error = Database::open(&blocked.join("settings.db")).unwrap_err();
    assert!(matches!(error, OpenError::NotWritable { .. }), "{error}");
    assert!(error.to_string().contains("a file/settings.db"), "{error}");
}
