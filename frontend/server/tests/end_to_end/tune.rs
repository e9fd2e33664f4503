//! `skysail tune` against a front end.

use crate::harness::{Frontend, stderr, until};

#[test]
fn advice_is_given_once_something_is_known_and_is_simulated() {
    let folder = tempfile::tempdir().unwrap();
    let frontend = Frontend::start(folder.path());
    frontend.register("10s");
    let unknown = frontend.cli(&["tune", "app"]);
    assert!(unknown.contains("nothing is known yet"), "{unknown}");

    let _container = frontend.container("sum", "m", "1");
    frontend.predict_in_the_end(r#"{"input":[1.0,2.0]}"#);
    let mut number = 0.0;
    until("a profile", || {
        number += 1.0; // the cache knows the others
        frontend.predict(&format!(r#"{{"input":[{number:?}]}}"#));
        let advice = frontend.json_cli(&["tune", "app"]);
        let version = &advice["versions"][0];
        let bears = version["advice"]["capacity"]["queries_per_second"].as_f64()?;
        assert!(bears > 0.0, "{advice}");
        let simulated = version["simulated"]["in_time"].as_f64();
        assert!(simulated.is_some_and(|share| share > 0.0), "{advice}");
        Some(())
    });
    let text = frontend.cli(&["tune", "app", "--seed", "2"]);
    for said in [
        "application app, SLO 10.0s",
        "binding",
        "simulated",
        "WHAT IF",
        "2 replicas",
    ] {
        assert!(text.contains(said), "{said} in\n{text}");
    }
}

#[test]
fn who_is_unknown_gets_no_advice() {
    let folder = tempfile::tempdir().unwrap();
    let frontend = Frontend::start(folder.path());
    let output = frontend.try_cli(&["tune", "nobody"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("nobody"), "{}", stderr(&output));
}
