//! Pages of long lists: each looks at little more than it shows.

use serde_json::json;

use super::serve;
use crate::support::kind;

/// What a page looked at is told; that it was quick is for the benches.
#[test]
fn a_page_looks_at_no_more_than_it_must() {
    let (server, api) = serve(&["--store", "memory"]);
    let mut peer = server.connect();
    for index in 0..20_000 {
        peer.send(kind::SUBMIT_JOB_BG, &[b"many", b"", format!("{index}").as_bytes()]);
    }
    let few = (0..3).map(|_| peer.send(kind::SUBMIT_JOB_BG, &[b"few", b"", b""])).count();
    for _ in 0..20_003 {
        peer.created();
    }
    let looked = |filter: &str| api.look(&format!("/api/v1/jobs{filter}"))["looked_at"].as_u64().unwrap();
    assert_eq!(few, 3);
    assert_eq!(looked(""), 100);
    assert_eq!(looked("?limit=1000"), 1000);
    assert_eq!(looked("?function=many&state=queued"), 100);
    assert!(looked("?function=few") < 10);
    assert!(looked("?state=running") < 10);
    assert!(looked("?state=scheduled") < 10);
    assert!(looked("?function=many&state=queued&priority=high") < 10);
    // A search must look at all.
    let page = api.look("/api/v1/jobs?payload=19999");
    assert_eq!((page["items"].as_array().map(Vec::len), &page["next"]), (Some(1), &json!(null)));
    assert_eq!(page["looked_at"], 20_003);
}
