use super::*;

async fn open() -> Blob {
    Blob::open(&"memory:///settings.json".parse().unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_new_blob_starts_with_plausible_settings_as_version_1() {
    let snapshot = open().await.load().await.unwrap();
    assert_eq!(snapshot.version, 1);
    assert_eq!(snapshot.settings[0].name, "Site title");
}

#[tokio::test]
async fn a_save_is_read_back_and_one_from_an_old_version_changes_nothing() {
    let blob = open().await;
    let settings = vec![Setting::new("z", "1"), Setting::new("a", "two\nlines")];
    let saved = blob.save(1, settings.clone()).await.unwrap();
    let expected = Snapshot { version: 2, date: saved.date, settings };
    assert_eq!(blob.load().await.unwrap(), expected);
    for old in [0, 1, 3, u64::MAX] {
        match blob.save(old, vec![]).await {
            Err(SaveError::Conflict { newest: 2, .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(blob.load().await.unwrap(), expected);
}

#[tokio::test]
async fn of_two_writers_from_one_version_the_second_is_told_even_in_the_last_moment() {
    let blob = open().await;
    let (_, read) = blob.read().await.unwrap();
    blob.save(1, vec![Setting::new("by", "the first")]).await.unwrap();
    let late = Content::new(2, vec![]).0;
    let error = blob.write(&late, PutMode::Update(read)).await.unwrap_err();
    assert!(matches!(error, object_store::Error::Precondition { .. }), "{error}");
}

#[tokio::test]
async fn a_blob_that_is_something_else_is_refused_and_left_alone() {
    let blob = open().await;
    blob.store.put(&blob.place.blob, "{}".into()).await.unwrap();
    let error = blob.load().await.unwrap_err();
    assert!(matches!(error, ReadError::Malformed(_)), "{error}");
    assert!(matches!(blob.save(1, vec![]).await, Err(SaveError::Read(ReadError::Malformed(_)))));
}
