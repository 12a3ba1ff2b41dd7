//! Keys whose text is not theirs alone: a flush of one drops more than is named, never less.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod cluster;

use std::hash::{Hash, Hasher};

use cluster::Cluster;
use flushcast::key::Json;
use flushcast::{Cache, FlushError};
use serde::{Deserialize, Serialize};

/// Of both variants, the text is the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
enum Id {
    Order(u32),
    Invoice(u32),
}

/// Equal if its bits are.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Float(f64);

impl PartialEq for Float {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Float {}

impl Hash for Float {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_reads_back_as_another_flushes_the_whole_cache_of_all_others() {
    let cluster = Cluster::of(2).await;
    let [here, there]: [Cache<Json<Id>, u64>; 2] =
        [0, 1].map(|at| cluster.nodes[at].cache("ids").build().unwrap());
    let [order, invoice, other] = [Id::Order(1), Id::Invoice(1), Id::Order(2)].map(Json);
    let fill = || {
        for cache in [&here, &there] {
            [order, invoice, other].iter().for_each(|key| cache.insert(key, 1).unwrap());
        }
    };
    let held = |cache: &Cache<_, _>| [order, invoice, other].map(|key| cache.get(&key).is_some());

    fill();
    assert!(here.flush(&order).await.unwrap().is_complete());
    assert_eq!(held(&there), [false, true, true], "this one is the text's own");
    assert_eq!(here.stats().widened, 0);

    fill();
    assert!(here.flush(&invoice).await.unwrap().is_complete());
    assert_eq!((held(&here), held(&there)), ([true, false, true], [false; 3]));
    fill();
    assert!(here.flush_keys([&other, &invoice]).await.unwrap().is_complete());
    assert_eq!((held(&here), held(&there)), ([true, false, false], [false; 3]));
    fill();
    let put = here.put(&invoice, async || Ok::<u64, std::io::Error>(2)).await.unwrap();
    assert!(put.await.unwrap().is_complete());
    assert_eq!((here.get(&invoice), held(&there)), (Some(2), [false; 3]));
    assert_eq!((here.stats().widened, there.stats().flushes_from_elsewhere.all), (3, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_float_is_flushed_alone_and_what_is_none_with_all() {
    let cluster = Cluster::of(2).await;
    let [here, there]: [Cache<Json<Float>, u64>; 2] =
        [0, 1].map(|at| cluster.nodes[at].cache("floats").build().unwrap());
    // Without care, one in nine reads back as its neighbour.
    let floats: Vec<_> = (1..1000).map(|number| Json(Float(f64::from(number).sqrt()))).collect();
    floats.iter().for_each(|key| there.insert(key, 1).unwrap());
    let keep = Json(Float(-0.0));
    there.insert(&keep, 1).unwrap();
    assert!(here.flush_keys(&floats).await.unwrap().is_complete());
    assert_eq!((there.len(), here.stats().widened), (1, 0));
    assert!(here.flush(&Json(Float(0.0))).await.unwrap().is_complete());
    assert_eq!(there.get(&keep), Some(1));

    let none = Json(Float(f64::NAN));
    there.insert(&none, 1).unwrap();
    assert!(here.flush(&none).await.unwrap().is_complete());
    assert_eq!((there.get(&none), here.stats().widened), (None, 1));
}

type Order = (String, u64);

#[tokio::test(flavor = "multi_thread")]
async fn a_tuple_of_str_looks_up_loads_and_flushes_what_is_under_a_tuple_of_string() {
    let cluster = Cluster::of(2).await;
    let [one, two] =
        [0, 1].map(|at| cluster.nodes[at].cache::<Order, u64>("orders").build().unwrap());
    let region = "eu".to_owned();
    for cache in [&one, &two] {
        let loader = async || Ok::<_, std::io::Error>(1);
        assert_eq!(cache.get_or_load(&("eu", &7), loader).await.unwrap(), 1);
        // However the parts are held, and by the key itself.
        assert_eq!(cache.get(&(&region, &7)), Some(1));
        assert_eq!(cache.get(&(region.clone(), 7)), Some(1));
        assert_eq!(cache.with(&("eu", &7), |value| value + 1), Some(2));
        assert_eq!(cache.get(&("eu", &8)), None);
        assert_eq!(cache.get(&("us", &7)), None);
    }
    assert_eq!(one.flush(&("eu", &7)).await.unwrap().applied_by(), ["n1"]);
    assert_eq!((one.len(), two.len()), (0, 0));

    let orders = one.with_loader(|_: Order| async { Ok::<_, std::io::Error>(2) });
    assert_eq!(orders.load(&("eu", &7)).await.unwrap(), 2);
    orders.evict(&("eu", &7));
    assert!(orders.load_or_expired(&("eu", &7)).await.is_ok());
    orders.flush_keys([&("eu", &7), &("us", &7)]).await.unwrap();
    assert!(one.is_empty());

    let shared: Cache<std::sync::Arc<str>, u64> = cluster.nodes[0].cache("shared").build().unwrap();
    let loader = async || Ok::<_, std::io::Error>(3);
    assert_eq!(shared.get_or_load("k", loader).await.unwrap(), 3);
    assert_eq!(shared.get("k"), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typed_prefix_names_no_key_that_merely_shares_the_text_and_one_of_nothing_is_an_error() {
    let cluster = Cluster::of(2).await;
    let [one, two] =
        [0, 1].map(|at| cluster.nodes[at].cache::<Order, u64>("orders").build().unwrap());
    let fill = || {
        for region in ["eu", "europe", "e/u"] {
            two.insert(&(region.to_owned(), 7), 1).unwrap();
        }
    };
    let held = || ["eu", "europe", "e/u"].map(|region| two.get(&(region, &7)).is_some());
    fill();
    assert_eq!(one.flush_prefix(("eu",)).await.unwrap().applied_by(), ["n1"]);
    assert_eq!(held(), [false, true, true]);
    one.flush_prefix(("e/u",)).await.unwrap();
    assert_eq!(held(), [false, true, false], "its parts are escaped");
    fill();
    one.flush_prefix("eu").await.unwrap();
    assert_eq!(held(), [false, false, true], "as text");
    one.expire_prefix(("e/u",)).await.unwrap();
    assert_eq!(held(), [false; 3]);

    fill();
    let error = one.flush_prefix("eu/seven").await.unwrap_err();
    assert_eq!(error.to_string(), "\"eu/seven\" is no beginning of a key of this cache");
    assert!(matches!(one.expire_prefix("eu/7/1").await, Err(FlushError::BadPrefix(_))));
    assert_eq!(held(), [true; 3]);
}
