//! Keys whose text is not theirs alone: a flush of one drops more than is named, never less.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod cluster;

use std::hash::{Hash, Hasher};

use cluster::Cluster;
use flushcast::Cache;
use flushcast::key::Json;
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
